"""Networks of the same weights, tried on the same labelled images: how well does each of them do?

Hypotheses mostly agree in their first layers, so these are computed once for all that share them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sharpaudit.checkpoints.architectures import REFUSALS
from sharpaudit.checkpoints.plain.build import Bound, bind, keys, network, part
from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import Description
from sharpaudit.checkpoints.plain.running import Moments, discrepancy, moments
from sharpaudit.checkpoints.plain.stationarity import Stationarity, stationarity

MOST_IMAGES, LEAST_IMAGES, MOST_NUMBERS = 10_000, 1024, 50_000_000
"""Images that are asked for, fewer of larger ones: so many numbers in all, but not less than a thousand images."""
CHUNK = 256
"""Images that go through a layer at once."""
SHARPNESS = (0.05, 50.0)
"""Least and largest factor of the logits, in units of their spread, before losses are compared."""
NEWTON, ENOUGH = 12, 1e-3
"""Steps to the best of them, in which the loss is convex, and the relative step below which no more is made."""


class LabelledImages(Protocol):
    """Labelled images as the loader needs them; what opens them stands above it."""

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width as stored; None where the images are not of one size."""

    def sample(self, input_size: tuple[int, int, int], n: int, num_classes: int) -> tuple[Tensor, Tensor]:
        """Up to `n` of them in a fixed random order, pixels in [0, 1] (n, channels, height, width), and their labels."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per channel, on pixels in [0, 1]."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    usual: bool = True
    """Whether somebody may have chosen just these numbers."""


@dataclass(frozen=True)
class Hypothesis:
    """A network that the weights may have been trained in, and how its images were normalised."""

    chain: Chain = field(compare=False, hash=False)
    description: Description
    normalisation: Normalisation


@dataclass(frozen=True, eq=False)
class Score:
    """What a hypothesis makes of the images."""

    right: NDArray[np.bool_]
    """Which are answered rightly."""
    loss: NDArray[np.float64]
    """Negative log-likelihood of each label, the logits scaled by the one factor that is best for all.

    Without it a wrong network may have the lower loss only because it is less sure of itself."""
    logits: NDArray[np.float64]
    sharpness: float = 1.0
    """That factor."""
    discrepancy: float = 0.0
    """How far what arrives at each BatchNorm is from what arrived in training; 0 without BatchNorm."""

    @property
    def mean(self) -> float:
        """The mean loss: lower is better."""
        return float(self.loss.mean())


class Passed(NamedTuple):
    """What came out of a layer."""

    key: object
    """Which layer it was."""
    images: Tensor
    arrived: Moments | None = None
    """What it saw, if it is a BatchNorm."""


class Outputs(NamedTuple):
    """What a network makes of some images."""

    logits: Tensor
    arrived: list[Moments] = []
    """What each BatchNorm saw."""


class Trial:
    """Scores of hypotheses; layers are built once and shared."""

    def __init__(self, values: dict[str, dict[str, Tensor]], images: Tensor, labels: Tensor) -> None:
        self._values = values
        """Tensors by the stem and the role of their names."""
        self._images = images
        self._labels = labels
        self._parts: dict[tuple[object, ...], nn.Module] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self, n: int) -> NDArray[np.int64]:
        """The labels of the first `n` images."""
        return self._labels[:n].numpy()

    def score_of(self, module: nn.Module, normalisation: Normalisation, n: int) -> Score | None:
        """What a finished network makes of the first `n` images."""
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (normalisation.mean, normalisation.std))
        with torch.inference_mode():
            return self._score([Outputs(module((chunk - mean) / std)) for chunk in torch.split(self._images[:n], CHUNK)])

    def scores(self, hypotheses: Sequence[Hypothesis], n: int) -> list[Score | None]:
        """What each makes of the first `n` images; None for those through which they do not go."""
        found: dict[Hypothesis, Score | None] = {}
        for normalisation in dict.fromkeys(hypothesis.normalisation for hypothesis in hypotheses):
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (normalisation.mean, normalisation.std))
            chunks = [(chunk - mean) / std for chunk in torch.split(self._images[:n], CHUNK)]
            mine = sorted({h for h in hypotheses if h.normalisation == normalisation}, key=lambda h: str(h.description))
            outputs: dict[Hypothesis, list[Outputs | None]] = {hypothesis: [] for hypothesis in mine}
            for chunk in chunks:
                behind = [Passed(None, chunk)]
                for hypothesis in mine:
                    outputs[hypothesis].append(self._through(bind(hypothesis.description, hypothesis.chain), behind))
            found |= {hypothesis: self._score(parts) for hypothesis, parts in outputs.items()}
        return [found[hypothesis] for hypothesis in hypotheses]

    def stationarity(self, hypothesis: Hypothesis, score: Score, n: int) -> Stationarity:
        """How far the weights are from where training of this network would leave them, from the first `n` images."""
        n = min(n, len(self))
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (hypothesis.normalisation.mean, hypothesis.normalisation.std))
        return stationarity(self.network(hypothesis), (self._images[:n] - mean) / std, self._labels[:n], score.sharpness)

    def network(self, hypothesis: Hypothesis) -> nn.Sequential:
        """The network with its weights."""
        bound = bind(hypothesis.description, hypothesis.chain)
        module = network(bound)
        state = {
            f"{key}.{role}": tensor
            for key, each in zip(keys(bound), bound, strict=True)
            if each.weighted
            for role, tensor in self._values[each.weighted.stem].items()
        }
        module.load_state_dict(state)
        module.eval()
        return module

    @torch.inference_mode()
    def _through(self, bound: list[Bound], behind: list[Passed]) -> Outputs | None:
        """What comes out; `behind` holds what came out of each layer last time, and is used as far as the layers are the same."""
        depth = 1
        for each in bound:
            key = (each.layer, each.weighted and each.weighted.stem)
            if depth < len(behind) and behind[depth].key == key:
                depth += 1
                continue
            del behind[depth:]
            images = behind[-1].images
            if not each.spatial and images.dim() > 2:
                images = images.flatten(1)
            module = self._part(each)
            try:
                output = module(images)
            except REFUSALS:
                return None
            seen = moments(module, images) if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) else None
            behind.append(Passed(key, output, seen))
            depth += 1
        arrived = [passed.arrived for passed in behind[:depth] if passed.arrived is not None]
        return Outputs(behind[depth - 1].images.flatten(1), arrived)

    def _part(self, bound: Bound) -> nn.Module:
        key = (bound.layer, bound.weighted and bound.weighted.stem, bound.spatial)
        if key not in self._parts:
            module = part(bound)
            if bound.weighted:
                module.load_state_dict(self._values[bound.weighted.stem], assign=True)
            self._parts[key] = module.eval()
        return self._parts[key]

    def _score(self, outputs: list[Outputs | None]) -> Score | None:
        parts = [output for output in outputs if output is not None]
        if len(parts) < len(outputs):
            return None
        logits = torch.cat([part.logits for part in parts]).double()
        labels = self._labels[: len(logits)]
        if logits.shape[1] <= int(labels.max()) or not torch.isfinite(logits).all():
            return None
        right = logits.argmax(1) == labels
        centred = logits - logits.mean(1, keepdim=True)
        sharpness = _sharpness(centred, labels)
        loss = functional.cross_entropy(centred * sharpness, labels, reduction="none")
        arrived = [torch.stack(seen).sum(0) for seen in zip(*(part.arrived for part in parts), strict=True)]
        return Score(right.numpy(), loss.numpy(), centred.numpy(), sharpness, discrepancy(arrived))


def _sharpness(logits: Tensor, labels: Tensor) -> float:
    """The factor of the logits at which their loss is least."""
    spread = float(logits.std()) or 1.0
    least, most = (bound / spread for bound in SHARPNESS)
    wanted, factor = logits[torch.arange(len(labels)), labels], 1 / spread
    for _ in range(NEWTON):
        shares = functional.softmax(logits * factor, 1)
        mean = (shares * logits).sum(1)
        slope = float((mean - wanted).mean())
        bend = float(((shares * logits**2).sum(1) - mean**2).mean())
        before, factor = factor, min(max(factor - slope / bend if bend > 0 else least, factor / 3, least), factor * 3, most)
        if abs(factor - before) < ENOUGH * factor:
            break
    return factor


def enough(size: tuple[int, int, int]) -> int:
    """How many images of that size to ask for."""
    return min(MOST_IMAGES, max(LEAST_IMAGES, MOST_NUMBERS // math.prod(size)))


def values_of(module: nn.Module, bound: list[Bound]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a filled network by the stem and the role of their names in the file."""
    state = module.state_dict()
    found: dict[str, dict[str, Tensor]] = {}
    for key, each in zip(keys(bound), bound, strict=True):
        if each.weighted:
            found[each.weighted.stem] = {
                name.removeprefix(f"{key}."): tensor for name, tensor in state.items() if name.startswith(f"{key}.")
            }
    return found
