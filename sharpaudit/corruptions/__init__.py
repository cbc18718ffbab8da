"""What does the world do to images on their way to a classifier? Nineteen corruptions, five severities each.

A batch of uint8 images goes in and a corrupted batch of the same shape comes out, on the images' device; what has no float64
gets them from the CPU. The definitions and
constants are those of CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C (Hendrycks and Dietterich, ICLR 2019), on anybody's images; the
results are a synthetic set of our own (``synthetic-c``), not the published files, whose random numbers and frost photographs
are not reproduced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import torch
from torch import Tensor

from sharpaudit.corruptions import blur, digital, noise, spatter, weather
from sharpaudit.corruptions.randomness import stream
from sharpaudit.corruptions.severities import CONSTANTS, Table, table_for
from sharpaudit.device import with_float64
from sharpaudit.errors import DataError, UnknownName, UsageError

__all__ = ["FAMILY", "MINIMUM_SIZE", "NAMES", "STANDARD15", "VERSION", "Table", "corrupt", "table_for"]

VERSION: Final = "sharpaudit-c/1"
"""Names the bytes: it changes whenever any output of `corrupt` does."""

MINIMUM_SIZE: Final = 8
"""Pixels of the shorter side below which a corruption has nothing left to act on."""

SEVERITIES: Final = (1, 2, 3, 4, 5)

Family = Literal["noise", "blur", "weather", "digital"]

_FUNCTIONS: Final[dict[str, tuple[Family, Callable[..., Tensor]]]] = {
    "gaussian_noise": ("noise", noise.gaussian_noise),
    "shot_noise": ("noise", noise.shot_noise),
    "impulse_noise": ("noise", noise.impulse_noise),
    "defocus_blur": ("blur", blur.defocus_blur),
    "glass_blur": ("blur", blur.glass_blur),
    "motion_blur": ("blur", blur.motion_blur),
    "zoom_blur": ("blur", blur.zoom_blur),
    "snow": ("weather", weather.snow),
    "frost": ("weather", weather.frost),
    "fog": ("weather", weather.fog),
    "brightness": ("weather", weather.brightness),
    "contrast": ("digital", digital.contrast),
    "elastic_transform": ("digital", digital.elastic_transform),
    "pixelate": ("digital", digital.pixelate),
    "jpeg_compression": ("digital", digital.jpeg_compression),
    "speckle_noise": ("noise", noise.speckle_noise),
    "gaussian_blur": ("blur", blur.gaussian_blur),
    "spatter": ("weather", spatter.spatter),
    "saturate": ("digital", digital.saturate),
}

NAMES: Final = tuple(_FUNCTIONS)
"""All nineteen, the standard fifteen first, in the order of the published papers."""

STANDARD15: Final = NAMES[:15]
"""The benchmark; the other four were meant for validation."""

FAMILY: Final[Mapping[str, Family]] = {name: family for name, (family, _) in _FUNCTIONS.items()}

VALUES_AT_ONCE = 400_000
"""How many values a CPU works on together: few enough to stay in a core's cache, which is worth a factor of two."""

ON_HOST: Final = frozenset({"pixelate", "jpeg_compression"})
"""What Pillow does to each image by itself, wherever the images are: best done before they are sent to a device."""


def corrupt(images: Tensor, name: str, severity: int, *, indices: Tensor, seed: int = 0, table: Table | None = None) -> Tensor:
    """The images under the corruption `name` at `severity`: uint8, the shape and device of `images`.

    Args:
        images: uint8 (b, h, w, c), c 1 or 3, at least `MINIMUM_SIZE` pixels a side.
        name: one of `NAMES`.
        severity: 1 to 5; 0 returns the images unchanged.
        indices: int64 (b,): where each image stands in its data set, best on the CPU. Random numbers are keyed by (seed, index,
            corruption, severity), so a result depends neither on the batch nor on the order nor on who computes it.
        seed: from 0 to 2⁶⁴ - 1.
        table: severity constants for images of 32, 64 or 224 pixels; by default `table_for` the shorter side.
    """
    if name not in _FUNCTIONS:
        raise UnknownName("corruption", name, NAMES)
    if severity not in (0, *SEVERITIES):
        raise UsageError(f"severity must be 0 (clean) or 1 to 5, got {severity}", hint="choose one of 0, 1, 2, 3, 4, 5")
    _check(images, indices)
    if severity == 0 or not len(images):
        return images.clone()
    height, width = images.shape[1:3]
    size = table or table_for(min(height, width))
    constants: tuple[Any, ...] = CONSTANTS[name][size][severity - 1]
    if name == "frost":
        constants = (*constants, weather.FROST_SCALE[size])
    corruption, cell = _FUNCTIONS[name][1], 8 * NAMES.index(name) + severity
    images, target = images.to(with_float64(images.device)), images.device
    whole = stream(seed, indices, cell, images.device)
    in_cache = images.device.type == "cpu" and name not in ON_HOST
    at_once = max(1, VALUES_AT_ONCE // images[0].numel()) if in_cache else len(images)
    parts = [slice(at, at + at_once) for at in range(0, len(images), at_once)]
    corrupted = [corruption(images[part], whole[part], *constants) for part in parts]
    return (corrupted[0] if len(parts) == 1 else torch.cat(corrupted)).to(target)


def _check(images: Tensor, indices: Tensor) -> None:
    if images.dtype != torch.uint8 or images.dim() != 4 or images.shape[-1] not in (1, 3):
        came = f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        raise DataError(f"corruptions act on uint8 images (n, height, width, 1 or 3), got {came}")
    if min(images.shape[1:3]) < MINIMUM_SIZE:
        raise DataError(
            f"corruptions need images of {MINIMUM_SIZE}x{MINIMUM_SIZE} pixels or more, got {images.shape[1]}x{images.shape[2]}",
            hint="resize the images or leave the corruption probe out",
        )
    if indices.dtype != torch.int64 or indices.shape != images.shape[:1]:
        came = f"{str(indices.dtype).removeprefix('torch.')} {tuple(indices.shape)}"
        raise DataError(f"corruptions need one int64 index an image ({len(images)}), got {came}")
