"""What goes into the last linear layer, and what comes out of it? Seen on the way, while columns are computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from sharpaudit.transfer import fetched, sent


@dataclass(frozen=True)
class Features:
    """What the last linear layer sees and does on the probe set, in float64."""

    values: NDArray[np.float64]
    """Inputs of the last linear layer, (n, d)."""
    probabilities: NDArray[np.float64]
    """Softmax of the logits, (n, classes)."""
    weight: NDArray[np.float64]
    """The layer's weight, (classes, d)."""


class FeatureTap:
    """Records what goes in and out of `layer` while it is open, and keeps the rows that are `wanted`, where they are."""

    def __init__(self, layer: nn.Linear, wanted: NDArray[np.int64]) -> None:
        self._layer = layer
        self._wanted = wanted
        self._kept: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> FeatureTap:
        self._hook = self._layer.register_forward_hook(self._see)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hook.remove()

    def _see(self, _layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._last = inputs[0].detach(), logits.detach()

    def keep(self, indices: NDArray[np.int64]) -> None:
        """Keep the wanted ones of the images `indices`, which just went through."""
        rows = np.flatnonzero(np.isin(indices, self._wanted))
        if len(rows):
            values, logits = self._last
            at = sent(torch.from_numpy(rows), values.device)
            self._kept.append((values[at], logits[at]))

    @cached_property
    def features(self) -> Features:
        """The kept rows; the host waits for them when they are first asked for."""
        parts = map(torch.cat, zip(*self._kept, strict=True))
        values, logits, weight = (part.astype(np.float64) for part in fetched([*parts, self._layer.weight.detach()]))
        return Features(values, softmax(logits, axis=1), weight)
