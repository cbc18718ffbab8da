"""What is the trace of the Gauss-Newton matrix, exactly or nearly so?

    tr G = (1/n) Σᵢ Σ_k p_ik ‖Jᵢᵀ(e_k − pᵢ)‖²

needs the norm of each example's gradient of each parameter, for each class. Most follow from the inputs of layers and the
gradients of their outputs (`layers`), and one backward pass for each class, down to the layers' outputs, gives all of them. On a
ResNet-20 with ten classes that costs about five Hessian products and has no sampling error; a hundred random probes leave 6%.

Parameters without a formula (tied and reparametrised ones, those of attention, scalars) have explicit gradients formed for every
example and class.

Where classes are too many for that, `DRAWS` of them are drawn for each example, with its probabilities p_i: the mean of
‖Jᵢᵀ(e_k − pᵢ)‖² over draws k has the right expectation, and averaged over examples it has little scatter left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpaudit.curvature.draws import generator
from sharpaudit.curvature.gauss_newton.explicit import BACKWARD, pulled_back
from sharpaudit.curvature.gauss_newton.layers import seen, with_formula
from sharpaudit.curvature.objective import Objective
from sharpaudit.transfer import fetched, sent

Progress = Callable[[float], None]

CHUNK = 16
"""Examples at a time; unfolded images of all layers are held for as many."""

DRAWS = 20
"""Classes drawn for each example where there are too many: on 512 examples they leave an error of 1% or so."""


@dataclass(frozen=True)
class GgnTrace:
    """The trace of G in parts."""

    examples: NDArray[np.float64]
    """What each example adds (n,); tr G is their mean."""
    layers: dict[str, float]
    """The trace of each layer's block, by the layer's name; tr G is their sum."""
    draws: NDArray[np.float64] | None = None
    """Where classes were drawn, what each example adds in each draw (draws, n); None for an exact trace."""

    @property
    def value(self) -> float:
        """The trace, in nats per squared weight."""
        return float(self.examples.mean())


def ggn_trace(
    objective: Objective, most: float = float("inf"), *, seed: int = 0, on_progress: Progress = lambda fraction: None
) -> GgnTrace:
    """The trace of G for each example and each layer: exact up to rounding where that takes the time of at most `most` forward
    passes for each example, else from classes that are drawn.
    """
    layered = with_formula(objective)
    drawn = None
    if forwards(objective.num_classes, formulas_only=len(layered) == len(objective.theta)) > most:
        p = objective.logits().double().softmax(1).cpu()
        drawn = torch.multinomial(p, DRAWS, replacement=True, generator=generator(seed, 0))
        drawn = sent(drawn, objective.inputs.device)
    found = _by_layers(objective, layered, drawn, lambda part: on_progress(part / 2))
    explicit = [index for index in range(len(objective.theta)) if index not in found]
    if explicit:
        found |= _by_gradients(objective, explicit, drawn, lambda part: on_progress((1 + part) / 2))
    draws, *means = fetched([torch.stack([*found.values()]).sum(0), *(found[index].mean() for index in range(len(found)))])
    layers: dict[str, float] = {}
    for name, mean in zip(objective.names, means, strict=True):
        layer = name.rpartition(".")[0]
        layers[layer] = layers.get(layer, 0.0) + float(mean)
    return GgnTrace(draws.mean(0), layers, None if drawn is None else draws)


def forwards(num_classes: int, *, formulas_only: bool) -> int:
    """Forward passes that take as long as the exact trace does, for each example."""
    return num_classes * (2 if formulas_only else 2 + BACKWARD)


def _directions(logits: Tensor, drawn: Tensor | None) -> Tensor:
    """What to pull back through `logits` (b, classes), (draws, parts, b, classes).

    What an example adds to the trace is the mean over draws of the sum over parts of the squared norms of what comes back: one
    draw with a part √p_k (e_k − p) for each class, or one part e_k − p for each of the classes `drawn` (b, draws).
    """
    p = logits.detach().double().softmax(1)
    onehots = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
    if drawn is None:
        return (p.T.sqrt()[:, :, None] * (onehots[:, None] - p))[None]
    return (onehots[drawn.T] - p)[:, None]


def _by_gradients(
    objective: Objective, chosen: list[int], drawn: Tensor | None, on_progress: Progress = lambda fraction: None
) -> dict[int, Tensor]:
    """What each example adds (draws, n) to the trace of the block of each `chosen` parameter, from explicit gradients."""
    leaves = [objective.theta[index] for index in chosen]
    sizes = [leaf.numel() for leaf in leaves]
    directions = _directions(objective.logits(), drawn)
    draws, parts, n, _ = directions.shape
    rows = []
    for gradients in pulled_back(objective, directions.flatten(0, 1).transpose(0, 1), leaves):
        blocks = torch.split(gradients.double(), sizes, dim=1)
        rows.append(torch.stack([block.square().sum(1).view(draws, parts).sum(1) for block in blocks]))
        on_progress(len(rows) / n)
    return dict(zip(chosen, torch.stack(rows, dim=2), strict=True))


def _by_layers(
    objective: Objective, chosen: set[int], drawn: Tensor | None, on_progress: Progress = lambda fraction: None
) -> dict[int, Tensor]:
    """The same from the formulas of layers; of those of the `chosen` parameters only that have one for every example."""
    parts: list[dict[int, Tensor]] = []
    for start in range(0, objective.num_examples, CHUNK):
        chunk = slice(start, start + CHUNK)
        parts.append(_batch(objective, objective.inputs[chunk], chosen, None if drawn is None else drawn[chunk]))
        on_progress(min(1.0, len(parts) * CHUNK / objective.num_examples))
    everywhere = sorted(set.intersection(*map(set, parts)))
    return {index: torch.cat([part[index] for part in parts], dim=1) for index in everywhere}


def _batch(objective: Objective, images: Tensor, chosen: set[int], drawn: Tensor | None) -> dict[int, Tensor]:
    """`_by_layers` of one batch."""
    passed = seen(objective, images, chosen)
    directions = _directions(passed.logits, drawn)
    totals = {index: directions.new_zeros(len(directions), len(images)) for index in [*passed.formulas, *passed.unused]}
    for draw, parts in enumerate(directions):
        for gradients in passed.backward(parts):
            objective.passes["backward"] += len(images)
            for index, gradient in gradients.items():
                if gradient is not None:
                    totals[index][draw] += passed.formulas[index][1].squared_norms(gradient)
    return totals
