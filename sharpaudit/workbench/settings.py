"""What do the settings of a bench amount to on this device, with this network?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from sharpaudit.device import batch_size
from sharpaudit.request import BenchSettings

FLOAT64_BUDGET = 20_000_000
"""``auto`` computes curvature in float64 up to this many parameters × probe examples."""


DEFAULT = BenchSettings()


def images_at_once(settings: BenchSettings, input_size: Sequence[int]) -> int:
    """The batch size that was set, or what suits the device and images of `input_size`."""
    return settings.batch_size or batch_size(torch.device(settings.device), input_size)


def curvature_precision(settings: BenchSettings, size: int) -> Literal["float32", "float64"]:
    """What curvature is computed in, where parameters × probe examples are `size`."""
    if settings.precision == "auto":
        return "float64" if size <= FLOAT64_BUDGET else "float32"
    return settings.precision
