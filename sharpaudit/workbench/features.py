"""What goes into the last linear layer, and what comes out of it? Seen on the way, while columns are computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn


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
    """Records what goes in and out of `layer` while it is open, and keeps the rows that are `wanted`."""

    def __init__(self, layer: nn.Linear, wanted: NDArray[np.int64]) -> None:
        self._layer = layer
        self._wanted = wanted
        self._kept: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def __enter__(self) -> FeatureTap:
        self._hook = self._layer.register_forward_hook(self._see)
        return self

    def __exit__(self, *exception: object) -> None:
        self._hook.remove()

    def _see(self, _layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._last = inputs[0].detach(), logits.detach()

    def keep(self, indices: NDArray[np.int64]) -> None:
        """Keep the wanted ones of the images `indices`, which just went through."""
        rows = np.isin(indices, self._wanted)
        if rows.any():
            values, logits = (tensor.cpu().double().numpy()[rows] for tensor in self._last)
            self._kept.append((values, softmax(logits, axis=1)))

    def features(self) -> Features:
        """The kept rows."""
        values, probabilities = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        return Features(values, probabilities, self._layer.weight.detach().cpu().double().numpy())
