"""What does the network say about a set of images? One forward pass, batch by batch, with what memory there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sharpaudit.card import Preprocessing
from sharpaudit.checkpoints import Predictor
from sharpaudit.curvature.network.head import last_linear
from sharpaudit.data import ImageSet, to_input
from sharpaudit.device import is_out_of_memory, with_float64
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.transfer import read_ahead, sent
from sharpaudit.workbench.columns import NUM_COLUMNS, columns, predictions
from sharpaudit.workbench.computed import Computed

Indices = NDArray[np.int64]

STORED_BYTES = 64 << 20
"""Of the stored images of one batch, unless one image has more."""

Corruption = Callable[[Tensor, Indices], Tensor]
"""(images, their places in the set) → corrupted images."""


def unchanged(batch: Tensor, _: Indices) -> Tensor:
    """The batch itself."""
    return batch


@dataclass(frozen=True)
class Network:
    """The model on its device, with what stands between stored images and its input."""

    predictor: Predictor
    preprocessing: Preprocessing
    device: str

    def pixels(self, images: ImageSet) -> Tensor:
        """Stored images on the device."""
        return sent(torch.tensor(images.images[:]), self.device)

    def head(self, images: ImageSet) -> nn.Linear | None:
        """The last linear layer, found by one pass of the first image; None where the network ends otherwise."""
        if not isinstance(self.predictor, nn.Module):
            return None
        return last_linear(self.predictor, to_input(self.pixels(images.limited(1)), self.preprocessing))

    def predictions(
        self,
        images: ImageSet,
        computed: Computed,
        *,
        on_host: Corruption = unchanged,
        on_device: Corruption = unchanged,
        keep_logits: bool = False,
        on_batch: Callable[[Tensor, Indices], None] = lambda batch, indices: None,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Predictions:
        """Per-example columns of `images`, in batches of the size that `computed` allows; passes are counted there.

        The host hands over one batch after the other and waits for the device once, at the end.

        Args:
            images: what goes through.
            computed: knows the size of a batch.
            on_host: what becomes of a batch on the host, beside the work of the device.
            on_device: what becomes of it when it has arrived.
            keep_logits: whether the logits are kept too.
            on_batch: told of every batch that went through, as it went in, with the places of its images.
            on_progress: told how much was handed over, which is at most a few batches ahead.
        """
        n, start = len(images), 0
        labels = sent(torch.tensor(images.labels), self._reduced_on)
        found = torch.empty(NUM_COLUMNS, n, dtype=torch.float64, device=self._reduced_on)
        logits: list[Tensor] = []

        def read(first: int, size: int) -> Iterator[Tensor]:
            size = max(1, min(size, STORED_BYTES // math.prod(images.shape)))
            for at in range(first, n, size):
                indices = np.arange(at, min(n, at + size))
                yield on_host(torch.tensor(images.images[at : at + size]), indices)

        while start < n:
            for batch in read_ahead(read(start, computed.batch_size), self.device):
                indices = np.arange(start, start + len(batch))
                try:
                    batch = on_device(batch, indices)
                    answer = self._logits(batch)
                    found[:, start : start + len(batch)] = columns(answer, labels[start : start + len(batch)])
                except Exception as error:
                    if not (is_out_of_memory(error) and computed.halve_batch()):
                        raise
                    break
                on_batch(batch, indices)
                logits += [answer] if keep_logits else []
                computed.own_passes["forward"] += len(indices)
                start += len(indices)
                on_progress(start / n)
                del batch, answer  # small tensors kept between large ones that are freed cost a small network half its speed
        return predictions([found], images.labels, logits)

    @cached_property
    def _reduced_on(self) -> torch.device:
        """Where logits become columns, in float64."""
        return with_float64(torch.device(self.device))

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> Tensor:
        logits: Tensor = self.predictor(to_input(batch, self.preprocessing)).float().to(self._reduced_on)
        return logits
