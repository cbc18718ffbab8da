"""Which images are looked at, and what does the network answer to them as they are, or as they might have been meant?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sharpaudit.card import Preprocessing
from sharpaudit.checkpoints import Predictor, named_layers
from sharpaudit.data import ImageSet, to_input
from sharpaudit.device import is_out_of_memory
from sharpaudit.metrics.calibration import fit_temperature
from sharpaudit.metrics.predictions import log_softmax, softmax

Floats = NDArray[np.float64]

SAMPLE = 512
"""Most images looked at: ten points of accuracy are then about seven standard errors of a typical paired difference."""

MOST_BYTES = 256 << 20
"""Of the sample as stored: photographs that are kept whole are looked at in smaller number."""

FEWEST = 16
"""Images looked at, however large they are."""

BATCH = 64

Pixels = Callable[[Tensor], Tensor]
"""8-bit images (b, h, w, c) → the same images as they might have been meant."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What the network says of some images, and how sure it is."""

    logits: Floats
    """(n, classes)."""
    labels: NDArray[np.int64]
    drift: float | None = None
    """How far the inputs of the first BatchNorm layer lie from the statistics it has stored; None where there is no such layer.

    The mean over channels of the squared shift in standard deviations, plus that of the squared log ratio of the variances."""

    def first(self, count: int) -> Answers:
        """Those to the first `count` images."""
        return Answers(self.logits[:count], self.labels[:count], self.drift)

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The class of each answer."""
        return np.asarray(self.logits.argmax(1), dtype=np.int64)

    @cached_property
    def hits(self) -> NDArray[np.bool_]:
        """Which are right."""
        return np.asarray(self.predicted == self.labels)

    @cached_property
    def nll(self) -> Floats:
        """−log p of each label; infinite where the logits are not finite."""
        return self._nll(1.0)

    @cached_property
    def temperature(self) -> float:
        """What the logits must be divided by for the least NLL: far from 1 where they are of another scale than in training."""
        return fit_temperature(self.logits, self.labels) if np.isfinite(self.logits).all() else 1.0

    @cached_property
    def tempered(self) -> Floats:
        """−log p of each label at that temperature: what the answers tell apart, whatever their scale."""
        return self._nll(self.temperature)

    @cached_property
    def confidence(self) -> Floats:
        """The probability of each answer."""
        p: Floats = softmax(self.logits).max(1)
        return p

    def _nll(self, temperature: float) -> Floats:
        if not np.isfinite(self.logits).all():
            return np.full(len(self.labels), np.inf)
        found: Floats = -log_softmax(self.logits / temperature)[np.arange(len(self.labels)), self.labels]
        return found


@dataclass
class Sample:
    """Some test images and the network that answers to them; counts what goes through it."""

    predictor: Predictor
    preprocessing: Preprocessing
    pixels: Tensor
    """(n, h, w, channels), as stored."""
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    beside: tuple[NDArray[np.int64], NDArray[np.int64]]
    """The labels of the images one row before and one row after each in the data set."""
    forward: int = 0
    """Images sent through the network so far."""

    def answers(
        self,
        pixels: Pixels = lambda pixels: pixels,
        preprocessing: Preprocessing | None = None,
        *,
        first: int = SAMPLE,
        predictor: Predictor | None = None,
    ) -> Answers:
        """What is said of the `first` images, each as `pixels` makes it, under another preprocessing or of another predictor."""
        batches = self.pixels[:first].tensor_split(max(1, round(min(first, len(self.pixels)) / BATCH)))
        with _drift_of(predictor or self.predictor) as drifts:
            found = [self.logits(pixels(batch), preprocessing, predictor) for batch in batches]
        drift = sum(drifts) / len(drifts) if drifts else None
        return Answers(torch.cat(found).cpu().double().numpy(), self.labels[:first], drift)

    @torch.inference_mode()
    def logits(self, images: Tensor, preprocessing: Preprocessing | None = None, predictor: Predictor | None = None) -> Tensor:
        """The logits of some 8-bit images, in float32; half of them at a time where memory runs out."""
        try:
            logits = (predictor or self.predictor)(to_input(images, preprocessing or self.preprocessing))
        except Exception as error:
            if not is_out_of_memory(error) or len(images) == 1:
                raise
            return torch.cat([self.logits(half, preprocessing, predictor) for half in images.tensor_split(2)])
        self.forward += len(images)
        return logits.float()


@contextmanager
def _drift_of(predictor: Predictor) -> Iterator[list[float]]:
    """Collects, for each batch, how far the inputs of the first BatchNorm layer lie from its stored statistics."""
    norms = (layer for _, layer in named_layers(predictor) if isinstance(layer, _BatchNorm) and not layer.training)
    first, found = next(norms, None), list[float]()
    if first is None or first.running_mean is None or first.running_var is None:
        yield found
        return
    mean, variance = first.running_mean.cpu().double(), first.running_var.cpu().double().clamp_min(1e-12)

    def see(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels = inputs[0].cpu().double().transpose(0, 1).flatten(1)
        if channels.shape[1] > 1:
            shift = ((channels.mean(1) - mean).square() / variance).mean()
            spread = (channels.var(1).clamp_min(1e-12) / variance).log().square().mean()
            found.append(float(shift + spread))

    handle = first.register_forward_pre_hook(see)
    try:
        yield found
    finally:
        handle.remove()


def size(images: ImageSet) -> int:
    """How many of `images` are looked at."""
    return min(len(images), SAMPLE, max(FEWEST, MOST_BYTES // math.prod(images.shape)))


def draw(predictor: Predictor, preprocessing: Preprocessing, images: ImageSet, *, device: str, seed: int) -> Sample:
    """Up to `SAMPLE` images in random order, the same for every checkpoint of a seed.

    Not evenly spaced: labels that come round every ten images would meet a spacing of ten.
    """
    rng = np.random.default_rng([seed, len(images)])
    rows = rng.permutation(len(images))[: size(images)]
    chosen = images.take(rows)
    pixels = torch.tensor(chosen.images[:], device=device)
    beside = (images.labels[rows - 1], images.labels[(rows + 1) % len(images)])
    return Sample(predictor, preprocessing, pixels, chosen.labels, chosen.classes, beside)
