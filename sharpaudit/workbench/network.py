"""What does the network say about a set of images? One forward pass, batch by batch, with what memory there is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sharpaudit.card import Preprocessing
from sharpaudit.curvature.head import last_linear
from sharpaudit.data import ImageSet, to_input
from sharpaudit.device import is_out_of_memory
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.workbench.shelf import Shelf

Indices = NDArray[np.int64]

Corruption = Callable[[Tensor, Indices], Tensor]
"""(images, their places in the set) → corrupted images."""


@dataclass(frozen=True)
class Network:
    """The model on its device, with what stands between stored images and its input."""

    module: nn.Module
    preprocessing: Preprocessing
    device: str

    def pixels(self, images: ImageSet, start: int = 0, stop: int | None = None) -> Tensor:
        """Stored images on the device."""
        return torch.tensor(images.images[start:stop], device=self.device)

    def head(self, images: ImageSet) -> nn.Linear | None:
        """The last linear layer, found by one pass of the first image; None where the network ends otherwise."""
        return last_linear(self.module, to_input(self.pixels(images, 0, 1), self.preprocessing))

    def predictions(
        self,
        images: ImageSet,
        shelf: Shelf,
        corruption: Corruption = lambda batch, indices: batch,
        *,
        keep_logits: bool = False,
        on_batch: Callable[[Tensor, Indices], None] = lambda batch, indices: None,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Predictions:
        """Per-example columns of `images`, in batches of the size that `shelf` allows; passes are counted there.

        `on_batch` is told of every batch that went through, as it went in, with the places of its images.
        """
        parts: list[Predictions] = []
        n, start = len(images), 0
        while start < n:
            indices = np.arange(start, min(n, start + shelf.batch_size))
            try:
                batch = corruption(self.pixels(images, start, start + len(indices)), indices)
                logits = self._logits(batch)
            except Exception as error:
                if not (is_out_of_memory(error) and shelf.halve_batch()):
                    raise
                continue
            on_batch(batch, indices)
            parts.append(Predictions.from_logits(logits, images.labels[indices], keep_logits=keep_logits))
            shelf.own_passes["forward"] += len(indices)
            start += len(indices)
            on_progress(start / n)
        return Predictions.concatenate(parts)

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self.module(to_input(batch, self.preprocessing)).float().cpu().numpy()
        return logits
