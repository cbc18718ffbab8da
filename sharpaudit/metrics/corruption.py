"""How good is a model under corruption, as one number? Means over cells, and the mean corruption error against a reference.

A cell is a corruption at a severity. Every number here is the mean over images of a per-image number, so that one bootstrap over
images gives its interval: the same image stands in every cell, and cells are no independent samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

Cell = tuple[str, int]
"""A corruption's name and its severity, 1 to 5."""

FAMILY = {
    **dict.fromkeys(("gaussian_noise", "shot_noise", "impulse_noise"), "noise"),
    **dict.fromkeys(("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"), "blur"),
    **dict.fromkeys(("snow", "frost", "fog", "brightness"), "weather"),
    **dict.fromkeys(("contrast", "elastic_transform", "pixelate", "jpeg_compression"), "digital"),
    **{"speckle_noise": "noise", "gaussian_blur": "blur", "spatter": "weather", "saturate": "digital"},
}
"""All nineteen corruptions in the order of the published papers, each with its family."""

STANDARD15 = tuple(FAMILY)[:15]
"""The benchmark proper (Hendrycks and Dietterich 2019); the other four are its hold-out set."""


@dataclass(frozen=True)
class Reference:
    """A model whose errors are the unit of the mean corruption error."""

    name: str
    source: str
    """Which corrupted images its errors were measured on: ``imagenet-c``, ``synthetic-c``, …"""
    errors: dict[str, float]
    """Error by cell, ``fog/3``, or by corruption, ``fog``, where only its mean over the five severities is known."""

    def error(self, name: str, severities: Iterable[int]) -> float | None:
        """The sum of its errors over `severities`; None where it is not known."""
        levels = sorted(severities)
        if name in self.errors and levels == [1, 2, 3, 4, 5]:
            return 5 * self.errors[name]
        found = [self.errors.get(f"{name}/{level}") for level in levels]
        return sum(error for error in found if error is not None) if None not in found else None


ALEXNET = Reference(
    "alexnet",
    "imagenet-c",
    dict(
        zip(
            STANDARD15,
            (
                *(0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816),
                *(0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500),
            ),
            strict=True,
        )
    ),
)
"""Top-1 errors of AlexNet on ImageNet-C, mean over severities, which are the unit of the published mCE (Hendrycks and Dietterich
2019, github.com/hendrycks/robustness)."""


def mean_over_cells(columns: Iterable[ArrayLike]) -> Floats:
    """(n,): each image's mean over cells, all of equal weight."""
    mean: Floats = np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1).mean(axis=1)
    return mean


def mean_corruption_error(correct: Mapping[Cell, ArrayLike], reference: Reference) -> Floats:
    """(n,): numbers whose mean is the mCE, the mean over corruptions of Σ error / Σ error of the reference over severities.

    Hendrycks and Dietterich 2019, section 4. 1 is the reference's own; lower is better.

    Raises:
        ValueError: the reference's errors are not known for a cell, or are zero; the message lists for which corruptions.
    """
    names = list(dict.fromkeys(name for name, _ in correct))
    units = {name: reference.error(name, [level for other, level in correct if other == name]) for name in names}
    unknown = [name for name, unit in units.items() if unit is None]
    if unknown or not names:
        raise ValueError(f"{reference.name} has no errors for these severities of {', '.join(unknown) or 'anything'}")
    if 0 in units.values():
        perfect = ", ".join(name for name, unit in units.items() if unit == 0)
        raise ValueError(f"{reference.name} makes no error under {perfect}, which is no unit")
    wrong = {cell: 1 - np.asarray(column, dtype=np.float64) for cell, column in correct.items()}
    relative = [sum(wrong[cell] for cell in correct if cell[0] == name) / (units[name] or 1.0) for name in names]
    return mean_over_cells(relative)
