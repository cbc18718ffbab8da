"""What may a probe ask for? Everything expensive, computed once and shared.

A forward pass over a view of the data gives per-example columns, and for the views that need them logits and penultimate
features; every number about predictions reads those. The curvature of the loss lives in one `Objective` over a frozen probe set.
A probe gets a bench narrowed to the `Need`s it declared, so what a probe touches is what it says it touches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sharpaudit.card import CorruptionSource, ProbeSet
from sharpaudit.checkpoints import LoadedModel
from sharpaudit.curvature.network.copies import copied
from sharpaudit.curvature.objective import Objective
from sharpaudit.data import ImageSet, to_input
from sharpaudit.data.corrupted import Cell, CorruptedSet
from sharpaudit.device import is_out_of_memory, sizes, with_float64
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.request import BenchSettings
from sharpaudit.stats import Resamples, evenly_spaced, seed_for
from sharpaudit.transfer import sent
from sharpaudit.workbench.computed import Computed
from sharpaudit.workbench.corrupted import Corrupted
from sharpaudit.workbench.features import Features, FeatureTap
from sharpaudit.workbench.needs import Need, NotApplicable, UndeclaredNeed
from sharpaudit.workbench.network import Network
from sharpaudit.workbench.settings import DEFAULT, curvature_precision, images_at_once

__all__ = ["Features", "Need", "NotApplicable", "UndeclaredNeed", "Workbench"]

log = logging.getLogger(__name__)

Result = TypeVar("Result")

CLEAN = "clean"
TRAIN = "train"


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
        settings: BenchSettings = DEFAULT,
        on_progress: Callable[[float], None] = lambda fraction: None,
        stored: CorruptedSet | None = None,
    ) -> None:
        self.settings = settings
        self.subject = model.subject
        predictor = model.predictor.to(settings.device) if isinstance(model.predictor, nn.Module) else model.predictor
        self._network = Network(predictor, model.subject.preprocessing, settings.device)
        self._test = test
        self._train = train
        self._corrupted = Corrupted(test, stored, settings.seed)
        self._on_progress = on_progress
        self._exact = with_float64(torch.device(settings.device))
        self._computed = Computed(images_at_once(settings, model.subject.preprocessing.input_size), sizes(self._exact))
        self._probe = "bench"
        self._needs = frozenset(Need)
        self.touched: set[Need] = set()
        self.viewed: set[str] = set()

    def narrowed(self, probe: str, needs: frozenset[Need]) -> Workbench:
        """The same bench as `probe` may use it: only `needs` can be touched, and `rng` is the probe's own."""
        bench = copy(self)
        bench._probe, bench._needs, bench.touched, bench.viewed = probe, needs, set(), set()
        return bench

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator seeded by (audit seed, probe, purpose), never by the checkpoint: audits stay paired."""
        return np.random.default_rng(self.seed_for(purpose))

    def seed_for(self, purpose: str) -> int:
        """A 63-bit seed derived from (audit seed, probe, purpose)."""
        return seed_for(self.settings.seed, self._probe, purpose)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class labels, in the order of the logits."""
        return self._test.classes

    @property
    def passes(self) -> Mapping[str, int]:
        """Examples sent through the model so far, by kind of pass."""
        return self._computed.passes

    @property
    def views(self) -> Mapping[str, Predictions]:
        """The columns of every view computed so far, by view name."""
        return self._computed.views

    @property
    def batch_size(self) -> int:
        """Images in one forward pass: what was set, halved whenever memory ran out."""
        return self._computed.batch_size

    def within_memory(self, work: Callable[[], Result]) -> Result:
        """What `work` gives; when memory runs out it is done again with half as much on the device at once."""
        while True:
            try:
                return work()
            except Exception as error:
                if not (is_out_of_memory(error) and self._computed.halve_batch()):
                    raise
            log.warning("memory ran out in %s: again with batches of %d", self._probe, self.batch_size)

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """What `compute` gives, which the first probe to ask pays for; equal keys must mean equal results, whoever asks."""
        if key not in self._computed.results:
            self._computed.results[key] = compute()
        found: Result = self._computed.results[key]
        return found

    def progress(self, start: float, stop: float) -> Callable[[float], None]:
        """A callback for a part of the probe's work: its fraction 0 to 1 becomes `start` to `stop` of the whole probe."""
        return lambda fraction: self._on_progress(start + (stop - start) * fraction)

    @property
    def predictions(self) -> Predictions:
        """Per-example columns of the clean test images, in data order."""
        self._touch(Need.PREDICTIONS)
        return self._view(CLEAN, self._test)

    @property
    def train_predictions(self) -> Predictions | None:
        """Per-example columns of the training images, un-augmented; None without training data."""
        self._touch(Need.TRAIN)
        return self._view(TRAIN, self._train) if self._train is not None else None

    @property
    def corruption_source(self) -> CorruptionSource:
        """Where the corrupted images come from; for the card, and for the words beside every number about them."""
        return self._corrupted.source

    @property
    def corruption_cells(self) -> list[Cell]:
        """The corruptions and severities there are.

        Raises:
            NotApplicable: the images have other channels than one or three, which nobody has defined corruptions for.
        """
        return self._corrupted.cells

    def corrupted(self, name: str, severity: int, limit: int | None = None) -> Predictions:
        """Per-example columns of test images under one corruption: of all, or of `limit` that are evenly spaced."""
        self._touch(Need.CORRUPTED)
        view = f"corruption/{name}/{severity}"
        self.viewed.add(view)
        if view not in self._computed.views:
            self._computed.views[view], self._computed.hashes[view] = self._corrupted.predictions(
                (name, severity), limit, self._network, self._computed, self._on_progress
            )
        return self._computed.views[view]

    def corrupted_hash(self, name: str, severity: int) -> str:
        """SHA-256 over the corrupted images that `corrupted` sent through, and their labels."""
        self._touch(Need.CORRUPTED)
        return self._computed.hashes[f"corruption/{name}/{severity}"]

    @property
    def features(self) -> Features:
        """Penultimate features of the probe set.

        Raises:
            NotApplicable: there is no network; it does not end in a linear layer, or in one that is held constant.
        """
        self._touch(Need.FEATURES)
        self._differentiable()
        head = self._network.head(self._probe_images) if self.settings.trainable_only else None
        if head is not None and not any(p.requires_grad for p in head.parameters()):
            raise NotApplicable("the last layer is frozen, and frozen parameters are held constant (--trainable-only)")
        self._view(CLEAN if self._train is None else TRAIN, self._probe_images)
        if self._computed.tap is None:
            raise NotApplicable("the network does not end in a linear layer")
        return self._computed.tap.features

    @property
    def objective(self) -> Objective:
        """The mean cross-entropy over the probe set, as a function of the parameters, in `precision`.

        Raises:
            NotApplicable: there is no network, or it has no parameters.
        """
        self._touch(Need.OBJECTIVE)
        module = self._differentiable()
        if self._computed.objective is None:
            dtype = getattr(torch, self.precision)
            images = self._probe_images.take(self.probe_rows)
            self._computed.objective = Objective(
                copied(module, dtype, self._exact),
                to_input(sent(torch.tensor(images.images[:]), self._exact), self.subject.preprocessing).to(dtype),
                sent(torch.tensor(images.labels), self._exact),
                batch_size=self._computed.batch_size,
                within=self._computed.within,
                trainable_only=self.settings.trainable_only,
            )
        return self._computed.objective

    def resamples(self, n: int) -> Resamples:
        """Bootstrap resamples of `n` examples; the same ones for every metric and every checkpoint of this seed."""
        self._touch(Need.RESAMPLES)
        if n not in self._computed.resamples:
            self._computed.resamples[n] = Resamples(n, seed=self.settings.seed)
        return self._computed.resamples[n]

    @contextmanager
    def beside(self, module: nn.Module, examples: int) -> Iterator[Workbench]:
        """A bench for another `module`, on `examples` images of the probe set, in float64; its passes count here too."""
        self._touch(Need.OBJECTIVE)
        rows = self.probe_rows[evenly_spaced(len(self.probe_rows), examples)]
        settings = replace(
            self.settings, precision="float64", probe_examples=examples, batch_size=self.batch_size, device=str(self._exact)
        )
        bench = Workbench(LoadedModel(module, subject=self.subject), self._probe_images.take(rows), settings=settings)
        bench._computed.within = self._computed.within
        try:
            yield bench
        finally:
            self._computed.own_passes.update(bench.passes)

    @property
    def probe_set(self) -> ProbeSet:
        """Which examples curvature is measured on; for the card."""
        images = self._probe_images.take(self.probe_rows)
        return ProbeSet(
            source="test" if self._train is None else "train",
            n=len(images),
            index_hash=images.index_hash,
            precision=self.precision,
            trainable_only=self.settings.trainable_only,
        )

    @property
    def probe_rows(self) -> NDArray[np.int64]:
        """Their places in the set they are of: evenly spaced, so that a set sorted by class still gives every class its share."""
        return evenly_spaced(len(self._probe_images), self.settings.probe_examples)

    @property
    def precision(self) -> str:
        """``float32`` or ``float64``: what curvature is computed in."""
        return curvature_precision(self.settings, self.subject.num_parameters * len(self.probe_rows))

    @property
    def _probe_images(self) -> ImageSet:
        return self._test if self._train is None else self._train

    def _differentiable(self) -> nn.Module:
        """The network, if its parameters can be moved and differentiated."""
        if not isinstance(self._network.predictor, nn.Module):
            raise NotApplicable("the checkpoint is a program that only answers: it has no parameters to move or differentiate")
        if next(self._network.predictor.parameters(), None) is None:
            raise NotApplicable("the network has no parameters")
        return self._network.predictor

    def _touch(self, need: Need) -> None:
        if need not in self._needs:
            raise UndeclaredNeed(f"probe '{self._probe}' touches {need.value}, which it does not declare")
        self.touched.add(need)

    def _view(self, view: str, images: ImageSet) -> Predictions:
        """The columns of a clean view; one pass gives columns, logits and, for the view it lies in, the probe set's features."""
        self.viewed.add(view)
        if view not in self._computed.views:
            head = self._network.head(images) if images is self._probe_images else None
            with FeatureTap(head, self.probe_rows) if head else nullcontext() as tap:
                self._computed.views[view] = self._network.predictions(
                    images,
                    self._computed,
                    keep_logits=view == CLEAN,
                    on_batch=lambda _, indices: tap.keep(indices) if tap else None,
                    on_progress=self._on_progress,
                )
            self._computed.tap = tap or self._computed.tap
        return self._computed.views[view]
