"""What may a probe ask for? Everything expensive, computed once and shared.

A forward pass over a view of the data gives per-example columns, and for the views that need them logits and penultimate
features; every number about predictions reads those. The curvature of the loss lives in one `Objective` over a frozen probe set.
A probe gets a bench narrowed to the `Need`s it declared, so what a probe touches is what it says it touches.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor, nn

from sharpaudit.card import CorruptionSource, ProbeSet
from sharpaudit.checkpoints import LoadedModel
from sharpaudit.corruptions import NAMES, SEVERITIES, VERSION, corrupt
from sharpaudit.curvature.head import last_linear
from sharpaudit.curvature.objective import Objective
from sharpaudit.data import ImageSet, to_input
from sharpaudit.data.corrupted import Cell, CorruptedSet
from sharpaudit.device import is_out_of_memory
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.stats import Resamples, evenly_spaced

Result = TypeVar("Result")

CLEAN = "clean"
TRAIN = "train"

Precision = Literal["auto", "float32", "float64"]

FLOAT64_BUDGET = 20_000_000
"""``auto`` computes curvature in float64 up to this many parameters × probe examples; see `Workbench.precision`."""

Corruption = Callable[[Tensor, Tensor], Tensor]
"""(images, their indices) → corrupted images."""


class Need(StrEnum):
    """The shared things a probe can ask the bench for."""

    PREDICTIONS = "predictions"
    """Per-example columns of the clean test view, with logits."""
    TRAIN = "train"
    """The same of the training view; None when no training data was given."""
    CORRUPTED = "corrupted"
    """Per-example columns of corrupted test views."""
    FEATURES = "features"
    """Penultimate features of the probe set, with the last layer's weight and the predicted probabilities."""
    OBJECTIVE = "objective"
    """The loss over the probe set as a function of the parameters: gradients, Hessian products, perturbed losses."""
    RESAMPLES = "resamples"
    """The bootstrap resamples that all metrics of an audit share."""


class UndeclaredNeed(RuntimeError):
    """A probe touched something that its declaration does not name: a defect of the probe."""


class NotApplicable(Exception):
    """The measurement makes no sense for this model or data; the message says why."""


@dataclass(frozen=True)
class Features:
    """What the last linear layer sees and does on the probe set, in float64."""

    values: NDArray[np.float64]
    """Inputs of the last linear layer, (n, d)."""
    probabilities: NDArray[np.float64]
    """Softmax of the logits, (n, classes)."""
    weight: NDArray[np.float64]
    """The layer's weight, (classes, d)."""


@dataclass(frozen=True)
class BenchSettings:
    """How the bench computes; none of it may change a number beyond the stated tolerance, except `seed` and `probe_examples`."""

    seed: int = 0
    batch_size: int = 256
    """Images in one forward pass; halved when memory runs out."""
    probe_examples: int = 512
    """Size of the frozen probe set; evenly spaced over the training images when given, else over the test images."""
    precision: Precision = "auto"
    device: str = "cpu"


@dataclass
class _Shelf:
    """What has been computed so far; shared by all narrowed benches of one audit."""

    views: dict[str, Predictions] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    """Of the corrupted images that were sent through, as `ImageSet.index_hash` is of clean ones; by view."""
    features: Features | None = None
    objective: Objective | None = None
    resamples: dict[int, Resamples] = field(default_factory=dict)
    results: dict[Hashable, Any] = field(default_factory=dict)
    passes: Counter[str] = field(default_factory=Counter)
    batch_size: int = 256


class Workbench:
    """The model, the data and everything computed from them.

    Args:
        model: the checkpoint, loaded.
        test: the images the safety numbers are about.
        train: training images, or None.
        settings: seed, batch size, probe-set size, precision, device.
        on_progress: called with the fraction of the current view that is done.
        stored: corrupted test images; without them, images are corrupted as they are needed.
    """

    def __init__(
        self,
        model: LoadedModel,
        test: ImageSet,
        train: ImageSet | None = None,
        settings: BenchSettings = BenchSettings(),
        on_progress: Callable[[float], None] = lambda fraction: None,
        stored: CorruptedSet | None = None,
    ) -> None:
        self.settings = settings
        self._stored = stored
        self.subject = model.subject
        self._module = model.module.to(settings.device)
        self._test = test
        self._train = train
        self._on_progress = on_progress
        self._shelf = _Shelf(batch_size=settings.batch_size)
        self._probe = "bench"
        self._needs: frozenset[Need] | None = None
        self.touched: set[Need] = set()
        self.viewed: set[str] = set()

    def narrowed(self, probe: str, needs: frozenset[Need]) -> Workbench:
        """The same bench as `probe` may use it: only `needs` can be touched, and `rng` is the probe's own."""
        bench = Workbench.__new__(Workbench)
        bench.__dict__.update(self.__dict__)
        bench._probe, bench._needs, bench.touched, bench.viewed = probe, needs, set(), set()
        return bench

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator seeded by (audit seed, probe, purpose), never by the checkpoint: audits stay paired."""
        return np.random.default_rng(self.seed_for(purpose))

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed derived from (audit seed, probe, purpose)."""
        key = f"{self.settings.seed}/{self._probe}/{purpose}".encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1

    @property
    def classes(self) -> tuple[str, ...]:
        """Class labels, in the order of the logits."""
        return self._test.classes

    @property
    def passes(self) -> Mapping[str, int]:
        """Examples sent through the model so far, by kind of pass."""
        objective = self._shelf.objective
        return self._shelf.passes + (Counter(objective.passes) if objective else Counter())

    @property
    def views(self) -> Mapping[str, Predictions]:
        """The columns of every view computed so far, by view name."""
        return self._shelf.views

    @property
    def batch_size(self) -> int:
        """Images in one forward pass: what was set, halved whenever memory ran out."""
        return self._shelf.batch_size

    def halve_batch(self) -> bool:
        """Use half as much memory from now on; False when it is one image at a time already."""
        if self._shelf.batch_size == 1:
            return False
        self._shelf.batch_size //= 2
        if self._shelf.objective is not None:
            self._shelf.passes += self._shelf.objective.passes
            self._shelf.objective = None
        return True

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What `compute` gives, which the first probe to ask pays for; equal keys must mean equal results, whoever asks."""
        if key not in self._shelf.results:
            self._shelf.results[key] = compute()
        found: Result = self._shelf.results[key]
        return found

    def progress(self, start: float, stop: float) -> Callable[[float], None]:
        """A callback for a part of the probe's work: its fraction 0 to 1 becomes `start` to `stop` of the whole probe."""
        return lambda fraction: self._on_progress(start + (stop - start) * fraction)

    # ---- what probes ask for ---------------------------------------------------------------------------------------------

    @property
    def predictions(self) -> Predictions:
        """Per-example columns of the clean test images, in data order."""
        self._touch(Need.PREDICTIONS)
        return self._view(CLEAN)

    @property
    def train_predictions(self) -> Predictions | None:
        """Per-example columns of the training images, un-augmented; None without training data."""
        self._touch(Need.TRAIN)
        return self._view(TRAIN) if self._train is not None else None

    @property
    def corruption_source(self) -> CorruptionSource:
        """Where the corrupted images come from; for the card, and for the words beside every number about them."""
        return CorruptionSource(label="synthetic-c", version=VERSION) if self._stored is None else self._stored.record()

    @property
    def corruption_cells(self) -> list[Cell]:
        """The corruptions and severities there are."""
        if self._stored is not None:
            return self._stored.cells
        return [(name, severity) for name in NAMES for severity in SEVERITIES]

    def corrupted(self, name: str, severity: int, limit: int | None = None) -> Predictions:
        """Per-example columns of test images under one corruption: of all, or of `limit` that are evenly spaced."""
        self._touch(Need.CORRUPTED)
        view = f"corruption/{name}/{severity}"
        self.viewed.add(view)
        if view not in self._shelf.views:
            images = self._test if self._stored is None else self._stored.cell(name, severity)
            rows = evenly_spaced(len(images), limit or len(images))
            images = images if len(rows) == len(images) else images.take(rows)

            def corruption(batch: Tensor, indices: Tensor) -> Tensor:
                if self._stored is not None:
                    return batch
                return corrupt(batch, name, severity, indices=torch.from_numpy(rows)[indices.cpu()], seed=self.settings.seed)

            digest = hashlib.sha256(repr((len(images), *images.shape)).encode())
            self._shelf.views[view] = self._forward(
                images, corruption, on_batch=lambda batch: digest.update(batch.cpu().numpy().tobytes())
            )
            digest.update(images.labels.astype("<i8").tobytes())
            self._shelf.hashes[view] = digest.hexdigest()
        return self._shelf.views[view]

    def corrupted_hash(self, name: str, severity: int) -> str:
        """SHA-256 over the corrupted images that `corrupted` sent through, and their labels."""
        self._touch(Need.CORRUPTED)
        return self._shelf.hashes[f"corruption/{name}/{severity}"]

    @property
    def features(self) -> Features:
        """Penultimate features of the probe set.

        Raises:
            NotApplicable: the network does not end in a linear layer.
        """
        self._touch(Need.FEATURES)
        self._view(self._probe_view)
        if self._shelf.features is None:
            raise NotApplicable("the network does not end in a linear layer")
        return self._shelf.features

    @property
    def objective(self) -> Objective:
        """The mean cross-entropy over the probe set, as a function of the parameters, in `precision`."""
        self._touch(Need.OBJECTIVE)
        if self._shelf.objective is None:
            dtype = getattr(torch, self.precision)
            images = self._probe_images.take(self._probe_indices)
            batch = torch.tensor(images.images[:], device=self.settings.device)
            self._shelf.objective = Objective(
                deepcopy(self._module).to(dtype),
                to_input(batch, self.subject.preprocessing).to(dtype),
                torch.tensor(images.labels, device=self.settings.device),
                batch_size=self._shelf.batch_size,
            )
        return self._shelf.objective

    def resamples(self, n: int) -> Resamples:
        """Bootstrap resamples of `n` examples; the same ones for every metric and every checkpoint of this seed."""
        self._touch(Need.RESAMPLES)
        if n not in self._shelf.resamples:
            self._shelf.resamples[n] = Resamples(n, seed=self.settings.seed)
        return self._shelf.resamples[n]

    @contextmanager
    def beside(self, module: nn.Module, examples: int) -> Iterator[Workbench]:
        """A bench for another `module`, on `examples` images of the probe set, in float64; its passes count here too."""
        self._touch(Need.OBJECTIVE)
        rows = self._probe_indices[evenly_spaced(len(self._probe_indices), examples)]
        settings = replace(self.settings, precision="float64", probe_examples=examples)
        bench = Workbench(LoadedModel(module=module, subject=self.subject), self._probe_images.take(rows), settings=settings)
        try:
            yield bench
        finally:
            self._shelf.passes.update(bench.passes)

    # ---- the probe set ---------------------------------------------------------------------------------------------------

    @property
    def probe_set(self) -> ProbeSet:
        """Which examples curvature is measured on; for the card."""
        images = self._probe_images.take(self._probe_indices)
        return ProbeSet(
            source="test" if self._train is None else "train",
            n=len(images.labels),
            index_hash=images.index_hash,
            precision=self.precision,
        )

    @property
    def precision(self) -> str:
        """``float32`` or ``float64``: what curvature is computed in."""
        if self.settings.precision != "auto":
            return self.settings.precision
        return "float64" if self.subject.num_parameters * len(self._probe_indices) <= FLOAT64_BUDGET else "float32"

    @property
    def _probe_view(self) -> str:
        return CLEAN if self._train is None else TRAIN

    @property
    def _probe_images(self) -> ImageSet:
        return self._test if self._train is None else self._train

    @property
    def _probe_indices(self) -> NDArray[np.int64]:
        """Evenly spaced, so that a set sorted by class still gives every class its share."""
        n = len(self._probe_images.labels)
        count = min(n, self.settings.probe_examples)
        return np.arange(count, dtype=np.int64) * n // count

    # ---- forward passes --------------------------------------------------------------------------------------------------

    def _touch(self, need: Need) -> None:
        if self._needs is not None and need not in self._needs:
            raise UndeclaredNeed(f"probe '{self._probe}' touches {need.value}, which it does not declare")
        self.touched.add(need)

    def _view(self, view: str) -> Predictions:
        """The columns of a clean view; one pass gives columns, logits and, for the view it lies in, the probe set's features."""
        self.viewed.add(view)
        if view not in self._shelf.views:
            images = self._test if view == CLEAN else self._train
            assert images is not None
            with _FeatureTap(self._head if view == self._probe_view else None) as tap:
                self._shelf.views[view] = self._forward(images, keep_logits=view == CLEAN, tap=tap)
            self._shelf.features = tap.features() or self._shelf.features
        return self._shelf.views[view]

    @property
    def _head(self) -> nn.Linear | None:
        first = torch.tensor(self._test.images[0:1], device=self.settings.device)
        return last_linear(self._module, to_input(first, self.subject.preprocessing))

    def _forward(
        self,
        images: ImageSet,
        corruption: Corruption = lambda batch, indices: batch,
        *,
        keep_logits: bool = False,
        tap: _FeatureTap | None = None,
        on_batch: Callable[[Tensor], None] = lambda batch: None,
    ) -> Predictions:
        wanted = self._probe_indices
        parts = []
        n, start = len(images.labels), 0
        while start < n:
            indices = np.arange(start, min(n, start + self._shelf.batch_size))
            try:
                batch = torch.tensor(images.images[indices[0] : indices[-1] + 1], device=self.settings.device)
                batch = corruption(batch, torch.as_tensor(indices, device=self.settings.device))
                logits = self._logits(batch)
            except Exception as error:
                if not (is_out_of_memory(error) and self.halve_batch()):
                    raise
                continue
            on_batch(batch)
            if tap is not None:
                tap.keep(np.isin(indices, wanted))
            parts.append(Predictions.from_logits(logits, images.labels[indices], keep_logits=keep_logits))
            self._shelf.passes["forward"] += len(indices)
            start = int(indices[-1]) + 1
            self._on_progress(start / n)
        return Predictions.concatenate(parts)

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = self._module(to_input(batch, self.subject.preprocessing)).float().cpu().numpy()
        return logits


class _FeatureTap:
    """Records what goes in and out of the last linear layer while it is open; rows are kept or dropped batch by batch."""

    def __init__(self, layer: nn.Linear | None) -> None:
        self._layer = layer
        self._kept: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self._last: tuple[Tensor, Tensor] | None = None

    def __enter__(self) -> _FeatureTap:
        self._hook = self._layer.register_forward_hook(self._see) if self._layer is not None else None
        return self

    def __exit__(self, *exception: object) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _see(self, _layer: nn.Module, inputs: tuple[Tensor, ...], logits: Tensor) -> None:
        self._last = inputs[0].detach(), logits.detach()

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Keep these rows of the batch that just went through."""
        if self._last is not None and rows.any():
            values, logits = (tensor.cpu().double().numpy()[rows] for tensor in self._last)
            self._kept.append((values, softmax(logits, axis=1)))

    def features(self) -> Features | None:
        """The kept rows; None when there was no layer to look at."""
        if self._layer is None or not self._kept:
            return None
        values, probabilities = (np.concatenate(parts) for parts in zip(*self._kept, strict=True))
        return Features(values, probabilities, self._layer.weight.detach().cpu().double().numpy())
