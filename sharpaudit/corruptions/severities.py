"""How strong is each corruption at each severity, for small, middle and large images?

The constants of Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(ICLR 2019), as their generators of CIFAR-10-C (32), Tiny-ImageNet-C (64) and ImageNet-C (224) hold them. The tuples read:

    gaussian_noise, speckle_noise   standard deviation, of full scale
    shot_noise                      photons at full scale
    impulse_noise                   share of values replaced
    gaussian_blur                   standard deviation, pixels
    defocus_blur                    radius of the disc, standard deviation of its rim, pixels
    glass_blur                      standard deviation of the blur, reach of the shuffle (pixels), rounds
    motion_blur                     reach, standard deviation, pixels
    zoom_blur                       step, number of zooms
    snow                            mean, deviation, zoom and threshold of the flakes, reach and deviation of the fall, share kept
    frost                           weight of the image, weight of the frost
    fog                             thickness, decay of the roughness from scale to scale
    brightness                      added to the value
    spatter                         mean, deviation, blur and threshold of the liquid, strength (water) or blur (mud), is it mud
    contrast                        factor
    elastic_transform               amplitude, smoothing and corner jitter, in image sides
    pixelate                        side of the small image, of the large one
    jpeg_compression                quality
    saturate                        factor and offset of the saturation
"""

from __future__ import annotations

import math
from typing import Literal, get_args

Table = Literal[32, 64, 224]
Constants = tuple[float, ...]

CONSTANTS: dict[str, dict[Table, tuple[Constants, ...]]] = {
    "gaussian_noise": {
        32: ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        64: ((0.04,), (0.08,), (0.12,), (0.15,), (0.18,)),
        224: ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
    },
    "shot_noise": {
        32: ((500,), (250,), (100,), (75,), (50,)),
        64: ((250,), (100,), (50,), (30,), (15,)),
        224: ((60,), (25,), (12,), (5,), (3,)),
    },
    "impulse_noise": {
        32: ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        64: ((0.01,), (0.02,), (0.05,), (0.08,), (0.14,)),
        224: ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
    },
    "speckle_noise": {
        32: ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
        64: ((0.15,), (0.2,), (0.25,), (0.3,), (0.35,)),
        224: ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
    },
    "defocus_blur": {
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    },
    "glass_blur": {
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    },
    "motion_blur": {
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    },
    "zoom_blur": {
        32: ((0.01, 7), (0.01, 12), (0.01, 16), (0.01, 21), (0.01, 26)),
        64: ((0.01, 7), (0.01, 12), (0.01, 16), (0.01, 21), (0.01, 26)),
        224: ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)),
    },
    "gaussian_blur": {
        32: ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
        64: ((0.5,), (0.75,), (1,), (1.25,), (1.5,)),
        224: ((1,), (2,), (3,), (4,), (6,)),
    },
    "snow": {
        32: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        64: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        224: (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
    },
    "frost": {
        32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    },
    "fog": {
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    },
    "brightness": {
        32: ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
        64: ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
        224: ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,)),
    },
    "spatter": {
        32: (
            (0.62, 0.1, 0.7, 0.7, 0.5, False),
            (0.65, 0.1, 0.8, 0.7, 0.5, False),
            (0.65, 0.3, 1, 0.69, 0.5, False),
            (0.65, 0.1, 0.7, 0.69, 0.6, True),
            (0.65, 0.1, 0.5, 0.68, 0.6, True),
        ),
        64: (
            (0.62, 0.1, 0.7, 0.7, 0.6, False),
            (0.65, 0.1, 0.8, 0.7, 0.6, False),
            (0.65, 0.3, 1, 0.69, 0.6, False),
            (0.65, 0.1, 0.7, 0.68, 0.6, True),
            (0.65, 0.1, 0.5, 0.67, 0.6, True),
        ),
        224: (
            (0.65, 0.3, 4, 0.69, 0.6, False),
            (0.65, 0.3, 3, 0.68, 0.6, False),
            (0.65, 0.3, 2, 0.68, 0.5, False),
            (0.65, 0.3, 1, 0.65, 1.5, True),
            (0.67, 0.4, 1, 0.65, 1.5, True),
        ),
    },
    "contrast": {
        32: ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
        64: ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
        224: ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,)),
    },
    "elastic_transform": {
        32: ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
        64: ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        # The generator multiplies by 244, its author's slip for 224; the published images carry it.
        224: tuple(
            (a * 244 / 224, s * 244 / 224, j * 244 / 224)
            for a, s, j in ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))
        ),
    },
    "pixelate": {
        32: ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
        64: ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
        224: ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
    },
    "jpeg_compression": {
        32: ((80,), (65,), (58,), (50,), (40,)),
        64: ((65,), (58,), (50,), (40,), (25,)),
        224: ((25,), (18,), (15,), (10,), (7,)),
    },
    "saturate": {
        32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        224: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
    },
}


def table_for(size: int) -> Table:
    """The table for images whose shorter side is `size`: the one whose nominal size is nearest in ratio.

    The borders are the geometric means: 32 up to 45 pixels, 64 up to 119, 224 from 120 on.
    """
    return min(get_args(Table), key=lambda nominal: abs(math.log(size / nominal)))
