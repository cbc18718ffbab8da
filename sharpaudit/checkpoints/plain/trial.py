"""Networks of the same weights, tried on the same labelled images: how well does each of them do?

Hypotheses mostly agree in their first layers, so these are computed once for all that share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sharpaudit.checkpoints.architectures import REFUSALS
from sharpaudit.checkpoints.plain.build import Bound, bind, keys, network, part
from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import Description

GROUPS = 32
"""Of images, between which gradients vary."""
MAX_GRADIENT = 1 << 20
"""Elements of the largest tensor whose gradient is looked at."""
CHUNK = 256
"""Images that go through a layer at once."""
SHARPNESS = np.geomspace(0.1, 30, 12)
"""Factors of the logits, in units of their spread, among which the best is taken before losses are compared."""


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

    @property
    def mean(self) -> float:
        """The mean loss: lower is better."""
        return float(self.loss.mean())


@dataclass(frozen=True, eq=False)
class Unrest:
    """How the gradient of the loss in the weights differs from zero, where training leaves it.

    The share of a mean gradient that does not come from which images were drawn: its squared length, without bias, in units of
    the variance between groups of images. A wrong padding or activation leaves accuracy and loss nearly as they are, or betters
    them by chance, and yet the weights are at rest only in the network in which they were trained.
    """

    products: NDArray[np.float64]
    """Of the gradients of all pairs of groups of images."""

    @property
    def value(self) -> float:
        """The estimate from all groups: about 0 at rest, and below that by chance."""
        return _unrest(self.products)

    def above(self, other: Unrest) -> float:
        """By how many standard errors it is above another one of the same images (jackknife over groups)."""
        count = len(self.products)
        kept = [np.delete(np.arange(count), group) for group in range(count)]
        left_out = np.array([_unrest(self.products[np.ix_(k, k)]) - _unrest(other.products[np.ix_(k, k)]) for k in kept])
        error = float(np.sqrt((count - 1) * left_out.var()))
        return (self.value - other.value) / error if error > 0 else 0.0


def _unrest(products: NDArray[np.float64]) -> float:
    count = len(products)
    own, all_pairs = float(np.trace(products)), float(products.sum())
    variance = (own - all_pairs / count) / (count - 1)
    return float((all_pairs - own) / (count - 1) / variance) if variance > 0 else 0.0


class Trial:
    """Scores of hypotheses; layers are built once and shared."""

    LARGEST = 4096
    """Images that are ever asked for."""

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
            return self._score([module((chunk - mean) / std) for chunk in torch.split(self._images[:n], CHUNK)])

    def scores(self, hypotheses: Sequence[Hypothesis], n: int) -> list[Score | None]:
        """What each makes of the first `n` images; None for those through which they do not go."""
        found: dict[Hypothesis, Score | None] = {}
        for normalisation in dict.fromkeys(hypothesis.normalisation for hypothesis in hypotheses):
            mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (normalisation.mean, normalisation.std))
            chunks = [(chunk - mean) / std for chunk in torch.split(self._images[:n], CHUNK)]
            mine = sorted({h for h in hypotheses if h.normalisation == normalisation}, key=lambda h: str(h.description))
            logits: dict[Hypothesis, list[Tensor | None]] = {hypothesis: [] for hypothesis in mine}
            for chunk in chunks:
                behind: list[tuple[object, Tensor]] = [(None, chunk)]
                for hypothesis in mine:
                    logits[hypothesis].append(self._through(bind(hypothesis.description, hypothesis.chain), behind))
            found |= {hypothesis: self._score(outputs) for hypothesis, outputs in logits.items()}
        return [found[hypothesis] for hypothesis in hypotheses]

    def unrest(self, hypothesis: Hypothesis, n: int) -> Unrest:
        """How far the weights are from where training of this network would leave them, from the first `n` images."""
        module = self.network(hypothesis)
        parameters = [parameter for parameter in module.parameters() if parameter.numel() <= MAX_GRADIENT]
        mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (hypothesis.normalisation.mean, hypothesis.normalisation.std))
        score = self.scores([hypothesis], n)[0]
        assert score, "a network that is asked again answers"
        gradients = []
        for images, labels in zip(self._images[:n].chunk(GROUPS), self._labels[:n].chunk(GROUPS), strict=True):
            loss = functional.cross_entropy(module((images - mean) / std) * score.sharpness, labels)
            gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
        stacked = torch.stack(gradients)
        return Unrest((stacked @ stacked.T).double().numpy())

    def network(self, hypothesis: Hypothesis) -> nn.Module:
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
        return module.eval()

    @torch.inference_mode()
    def _through(self, bound: list[Bound], behind: list[tuple[object, Tensor]]) -> Tensor | None:
        """The logits; `behind` holds what came out of each layer last time, and is used as far as the layers are the same."""
        depth = 1
        for each in bound:
            key = (each.layer, each.weighted and each.weighted.stem)
            if depth < len(behind) and behind[depth][0] == key:
                depth += 1
                continue
            del behind[depth:]
            images = behind[-1][1]
            try:
                if not each.spatial and images.dim() > 2:
                    images = images.flatten(1)
                behind.append((key, self._part(each)(images)))
            except REFUSALS:
                return None
            depth += 1
        return behind[depth - 1][1].flatten(1)

    def _part(self, bound: Bound) -> nn.Module:
        key = (bound.layer, bound.weighted and bound.weighted.stem, bound.spatial)
        if key not in self._parts:
            module = part(bound)
            if bound.weighted:
                module.load_state_dict(self._values[bound.weighted.stem], assign=True)
            self._parts[key] = module.eval()
        return self._parts[key]

    def _score(self, outputs: list[Tensor | None]) -> Score | None:
        parts = [output for output in outputs if output is not None]
        if len(parts) < len(outputs):
            return None
        logits = torch.cat(parts).double()
        labels = self._labels[: len(logits)]
        if logits.shape[1] <= int(labels.max()) or not torch.isfinite(logits).all():
            return None
        right = logits.argmax(1) == labels
        centred = logits - logits.mean(1, keepdim=True)
        spread = float(centred.std()) or 1.0
        losses = [functional.cross_entropy(logits * (s / spread), labels, reduction="none") for s in SHARPNESS]
        best = min(range(len(losses)), key=lambda index: float(losses[index].mean()))
        return Score(right.numpy(), losses[best].numpy(), centred.numpy(), float(SHARPNESS[best]) / spread)


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
