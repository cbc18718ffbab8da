"""What is going to be measured? The request, and everything that it names, read and found usable.

Bad options die before the checkpoint is opened, and a bad checkpoint before the data is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from sharpaudit.card import Preprocessing
from sharpaudit.checkpoints import LoadedModel, load
from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.layers import with_formula
from sharpaudit.curvature.linearity import piecewise_linear
from sharpaudit.data import ClassOrder, ImageSet, class_order, open_images, read_class_map, to_input
from sharpaudit.data.corrupted import CorruptedSet
from sharpaudit.data.image_files import MixedSizes
from sharpaudit.data.paired import clean_spec, is_stored, open_paired
from sharpaudit.device import available_device, useful_threads
from sharpaudit.disambiguation import by_clean_loss
from sharpaudit.errors import SharpauditError
from sharpaudit.plan import Step, plan
from sharpaudit.probes import Workload
from sharpaudit.request import BenchSettings, Request
from sharpaudit.signatures import read_keys
from sharpaudit.workbench import Need, NotApplicable, Workbench
from sharpaudit.workbench.settings import images_at_once

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction of the whole audit that is behind us."""


@dataclass(frozen=True)
class Prepared:
    """An audit that is ready to run: everything that can be refused has been looked at."""

    request: Request
    steps: list[Step]
    model: LoadedModel
    test: ImageSet
    train: ImageSet | None
    settings: BenchSettings
    corrupted: CorruptedSet | None = None
    """Stored corrupted images of the test set; None where they are made as they are needed."""

    def bench(self, on_progress: Callable[[float], None] = lambda fraction: None) -> Workbench:
        """A new workbench."""
        return Workbench(self.model, self.test, self.train, self.settings, on_progress, self.corrupted)

    @property
    def threads(self) -> int:
        """How many threads the network is worth; asked where it is, which a workbench may have moved to its device."""
        network = self.model.predictor
        first = next(network.parameters(), None) if isinstance(network, nn.Module) else None
        if not isinstance(network, nn.Module) or first is None:
            return torch.get_num_threads()
        example = to_input(torch.tensor(self.test.images[0:1], device=first.device), self.model.subject.preprocessing)
        batch = images_at_once(self.settings, self.model.subject.preprocessing.input_size)
        return useful_threads(network, example, min(batch, len(self.test)))

    @cached_property
    def workload(self) -> Workload:
        """What the costs of the steps depend on."""
        probe_set = min(self.settings.probe_examples, len((self.train or self.test).labels))
        return Workload(
            test=len(self.test.labels),
            train=0 if self.train is None else len(self.train.labels),
            probe_set=probe_set,
            classes=self.model.subject.num_classes,
            parameters=self.model.subject.num_parameters,
            **self._structure(probe_set),
        )

    def _structure(self, probe_set: int) -> dict[str, Any]:
        """What the network's structure spares; nothing where no probe asks, or the curvature probes will refuse it."""
        if not any(Need.OBJECTIVE in step.probe.needs for step in self.steps):
            return {}
        settings = replace(self.settings, probe_examples=1, precision="float32")
        try:
            objective = Workbench(self.model, self.test.limited(1), None, settings).objective
        except (SharpauditError, NotApplicable):
            return {}
        formulas_only = len(with_formula(objective)) == len(objective.theta)
        return {
            "piecewise_linear": piecewise_linear(objective),
            "formulas_only": formulas_only,
            "whole_ggn": Plan(objective, examples=probe_set).products,
        }


def prepare(request: Request, on_progress: Progress = lambda doing, fraction: None) -> Prepared:
    """The plan, the device, the model and the data of an audit; bad options die before the checkpoint is opened."""
    steps = plan(request.probes, request.options)
    settings = replace(request.bench, device=available_device(request.bench.device))
    trusted = read_keys(request.trusted_keys) if request.trusted_keys is not None else None
    on_progress("reading the checkpoint", 0.0)
    model = load(
        request.checkpoint,
        architecture=request.architecture,
        weights=request.weights,
        overrides=request.preprocessing,
        num_classes=request.num_classes,
        limits=request.limits,
        allow_code=request.allow_code,
        allow_inert=request.allow_inert,
        allow_nonfinite=request.allow_nonfinite,
        allow_missing=request.allow_missing,
        decide=by_clean_loss(lambda m: _open_test(request, m)[0], request.bench.seed),
        images=_TestImages(request),
        trusted=trusted,
    )
    on_progress("reading the data", 0.0)
    test, corrupted = _open_test(request, model)
    train = _open(request.train_data, request, model, limit=None) if request.train_data else None
    return Prepared(request, steps, model, test, train, settings, corrupted)


@dataclass(frozen=True)
class _TestImages:
    """The test images before a network is known, for the loader."""

    request: Request

    @cached_property
    def _images(self) -> ImageSet:
        """As stored; those of mixed sizes at the size that the user states."""
        request = self.request
        size = request.preprocessing.input_size
        preprocessing = _unchanged(size) if size else None
        if is_stored(request.data, synthesise=request.synthesise):
            return open_paired(
                request.data,
                limit=request.limit,
                allow_partial=request.allow_partial,
                preprocessing=preprocessing,
                search=request.search,
                reading=request.reading,
            )[0]
        reading = replace(request.reading, allow_code=request.allow_code)
        spec = clean_spec(request.data)
        return open_images(spec, limit=request.limit, preprocessing=preprocessing, search=request.search, reading=reading)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width; None where the images are not of one size."""
        try:
            height, width, channels = self._images.shape
        except MixedSizes:
            return None
        return channels, height, width

    def sample(self, input_size: tuple[int, int, int], n: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Up to `n` images in a random order, in [0, 1] at `input_size`, and which of `num_classes` outputs is right."""
        images = self._images
        if num_classes:
            class_map = self.request.class_map
            images = class_order(images, num_classes, class_map=read_class_map(class_map) if class_map else None).applied(images)
        images = images.take(np.random.default_rng(self.request.bench.seed).permutation(len(images))[:n])
        pixels = [to_input(torch.tensor(batch), _unchanged(input_size)) for batch, _ in images.batches(256)]
        return torch.cat(pixels), torch.tensor(images.labels, dtype=torch.int64)


def _unchanged(input_size: tuple[int, int, int]) -> Preprocessing:
    """Pixels in [0, 1] at that size."""
    return Preprocessing(mean=[0.0] * input_size[0], std=[1.0] * input_size[0], input_size=list(input_size), origin="")


def _open_test(request: Request, model: LoadedModel) -> tuple[ImageSet, CorruptedSet | None]:
    """The clean test images and, where a stored set was asked for, its corrupted versions of them."""
    if not is_stored(request.data, synthesise=request.synthesise):
        return _open(clean_spec(request.data), request, model, limit=request.limit), None
    images, corrupted = open_paired(
        request.data,
        limit=request.limit,
        allow_partial=request.allow_partial,
        preprocessing=model.subject.preprocessing,
        search=request.search,
        reading=request.reading,
    )
    order = _order(images, request, model)
    return _fitted(images, order, model), corrupted.relabelled(order.applied)


def _open(spec: str, request: Request, model: LoadedModel, *, limit: int | None) -> ImageSet:
    images = open_images(
        spec,
        limit=limit,
        preprocessing=model.subject.preprocessing,
        search=request.search,
        reading=replace(request.reading, allow_code=request.allow_code),
    )
    return _fitted(images, _order(images, request, model), model)


def _order(images: ImageSet, request: Request, model: LoadedModel) -> ClassOrder:
    """Which output of the network each class of the images is."""
    return class_order(
        images,
        model.subject.num_classes,
        names=model.classes,
        names_origin=f"the checkpoint's {model.classes_origin}",
        class_map=read_class_map(request.class_map) if request.class_map else None,
    )


def _fitted(images: ImageSet, order: ClassOrder, model: LoadedModel) -> ImageSet:
    """The images as the network will see them: labelled by its outputs, and with a note on what is adapted."""
    if model.subject.preprocessing.input_size[0] in (1, 3):
        images = images.without_alpha()
    adapted = _adaptations(images, model.subject.preprocessing.input_size)
    images = order.applied(images)
    return replace(images, notes=(*images.notes, *adapted))


def _adaptations(images: ImageSet, input_size: Sequence[int]) -> list[str]:
    """What stands between the stored images and the network's input, for the notes on the card."""
    height, width, channels = images.shape
    notes = []
    if channels != input_size[0]:
        notes.append(f"{channels} channels become {input_size[0]}, as the network takes them")
    if [height, width] != [*input_size[1:]]:
        notes.append(f"images of {height}×{width} are resized to the network's {input_size[1]}×{input_size[2]}")
    return notes
