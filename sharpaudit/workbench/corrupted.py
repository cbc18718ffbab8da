"""Which corrupted images are there, and what does the network say about them?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sharpaudit.card import CorruptionSource
from sharpaudit.corruptions import NAMES, ON_HOST, SEVERITIES, VERSION, corrupt
from sharpaudit.data import ImageSet
from sharpaudit.data.corrupted import Cell, CorruptedSet
from sharpaudit.device import with_float64
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.stats import evenly_spaced
from sharpaudit.transfer import Aside
from sharpaudit.workbench.computed import Computed
from sharpaudit.workbench.needs import NotApplicable
from sharpaudit.workbench.network import Corruption, Indices, Network, unchanged


@dataclass(frozen=True)
class Corrupted:
    """The `stored` images, or the `test` images corrupted as they are needed."""

    test: ImageSet
    stored: CorruptedSet | None
    seed: int

    @property
    def source(self) -> CorruptionSource:
        """Where they come from."""
        return CorruptionSource(label="synthetic-c", version=VERSION) if self.stored is None else self.stored.record()

    @property
    def cells(self) -> list[Cell]:
        """The corruptions and severities there are.

        Raises:
            NotApplicable: the images have other channels than one or three, which nobody has defined corruptions for.
        """
        if self.stored is not None:
            return self.stored.cells
        if (channels := self.test.shape[2]) not in (1, 3):
            raise NotApplicable(f"corruptions are defined for grey and RGB images, these have {channels} channels")
        return [(name, severity) for name in NAMES for severity in SEVERITIES]

    def predictions(
        self, cell: Cell, limit: int | None, network: Network, computed: Computed, on_progress: Callable[[float], None]
    ) -> tuple[Predictions, str]:
        """Columns of the images of one cell, all or `limit` evenly spaced; and the SHA-256 of these images and their labels."""
        name, severity = cell
        images = self.test if self.stored is None else self.stored.cell(name, severity)
        rows = evenly_spaced(len(images), limit or len(images))
        images = images if len(rows) == len(images) else images.take(rows)

        def corruption(batch: Tensor, indices: Indices) -> Tensor:
            return corrupt(batch, name, severity, indices=torch.from_numpy(rows[indices]), seed=self.seed)

        change: Corruption = unchanged if self.stored is not None else corruption
        at_home = name in ON_HOST or with_float64(device := torch.device(network.device)) != device
        digest = hashlib.sha256(repr((len(images), *images.shape)).encode())
        with Aside(lambda pixels: digest.update(pixels.tobytes())) as aside:
            found = network.predictions(
                images,
                computed,
                on_host=change if at_home else unchanged,
                on_device=unchanged if at_home else change,
                on_batch=lambda batch, _: aside(batch),
                on_progress=on_progress,
            )
        digest.update(images.labels.astype("<i8").tobytes())
        return found, digest.hexdigest()
