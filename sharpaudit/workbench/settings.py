"""How does the bench compute? None of it may change a number beyond the stated tolerance, except the seed, the
probe set and which parameters count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from sharpaudit.device import batch_size

Precision = Literal["auto", "float32", "float64"]

FLOAT64_BUDGET = 20_000_000
"""``auto`` computes curvature in float64 up to this many parameters × probe examples."""


@dataclass(frozen=True)
class BenchSettings:
    """What decides how, not what, is computed."""

    seed: int = 0
    batch_size: int | None = None
    """Images in one forward pass, halved when memory runs out; None: what suits the device."""
    probe_examples: int = 512
    """Size of the frozen probe set; evenly spaced over the training images when given, else over the test images."""
    precision: Precision = "auto"
    trainable_only: bool = False
    """Hold frozen parameters constant in curvature and perturbations; else they count like all others."""
    device: str = "cpu"

    def images_at_once(self, input_size: Sequence[int]) -> int:
        """`batch_size`, or what suits the device and images of `input_size`."""
        return self.batch_size or batch_size(torch.device(self.device), input_size)

    def curvature_precision(self, size: int) -> Literal["float32", "float64"]:
        """What curvature is computed in, where parameters × probe examples are `size`."""
        if self.precision == "auto":
            return "float64" if size <= FLOAT64_BUDGET else "float32"
        return self.precision


DEFAULT = BenchSettings()
