"""What does the loss look like along a line, or on a plane, through the weights?

Random Gaussian directions are scaled filter by filter to the length of the filter they move (Li et al. 2018, 1712.09913). A
filter is a slice of a weight along its first axis, such as the row of a linear layer. Tensors of one axis (biases, the scales and
shifts of norms) are not moved, and neither are BatchNorm's running statistics. Scaling a whole layer up and the next one down
leaves the picture as it is, and so does scaling single filters in front of BatchNorm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sharpaudit.curvature.draws import gaussian
from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.perturbation import Progress, silent
from sharpaudit.transfer import fetched, sent

TINY = 1e-10
"""Added to the length of a filter's direction before it is divided by."""


@dataclass(frozen=True)
class LossSlice:
    """The loss at equal steps along one direction, θ in the middle."""

    steps: tuple[float, ...]
    """α, in filter norms."""
    losses: tuple[Sampled, ...]
    """L(θ + αd), the mean over examples, in nats; at α = 0 it is L(θ) exactly."""
    curvature: Sampled
    """The second difference of the three middle losses over the squared step, over the same examples: dᵀHd where L is smooth."""


def loss_slice(objective: Objective, *, points: int, extent: float, seed: int, on_progress: Progress = silent) -> LossSlice:
    """The loss at `points` steps from −`extent` to `extent` along the first direction of `seed`."""
    steps = _steps(points, extent)
    d = direction(objective, seed, 0)
    losses = []
    for number, alpha in enumerate(steps):
        with objective.perturbed(alpha * d):
            losses.append(objective.losses())
        on_progress((number + 1) / points)
    centre = points // 2
    bend = (losses[centre + 1] + losses[centre - 1] - 2 * losses[centre]) / steps[centre + 1] ** 2
    *rows, bent = fetched([*losses, bend])
    return LossSlice(steps, tuple(map(Sampled.of, rows)), Sampled.of(bent))


@dataclass(frozen=True)
class LossPlane:
    """The loss on a square grid spanned by two directions, θ in the middle."""

    steps: tuple[float, ...]
    """α and β, in filter norms."""
    losses: tuple[tuple[float, ...], ...]
    """L(θ + αd + βe), a row an α."""


def loss_plane(objective: Objective, *, points: int, extent: float, seed: int, on_progress: Progress = silent) -> LossPlane:
    """The loss on `points` × `points` places; the first direction is that of `loss_slice`, the second orthogonal to it."""
    steps = _steps(points, extent)
    d = direction(objective, seed, 0)
    e = direction(objective, seed, 1, beside=d)
    rows = []
    for number, alpha in enumerate(steps):
        row = []
        for beta in steps:
            with objective.perturbed(alpha * d + beta * e):
                row.append(objective.losses().mean())
        rows.append(torch.stack(row))
        on_progress((number + 1) / points)
    return LossPlane(steps, tuple(map(tuple, torch.stack(rows).tolist())))


def direction(objective: Objective, seed: int, draw: int, beside: Tensor | None = None) -> Tensor:
    """A filter-normalised Gaussian direction (P,); in each filter orthogonal to `beside`, if given.

    A filter of a single weight has no second direction: there it is zero.
    """
    raw = objective.split(sent(gaussian(objective.num_parameters, seed, draw), objective.inputs))
    others = objective.split(torch.zeros_like(objective.parameters) if beside is None else beside)
    parts = [
        _filter_normalised(g, t.detach(), b) if t.ndim > 1 else torch.zeros_like(g)
        for g, t, b in zip(raw, objective.theta, others, strict=True)
    ]
    return torch.cat([part.reshape(-1) for part in parts])


def _filter_normalised(raw: Tensor, weight: Tensor, beside: Tensor) -> Tensor:
    rows, unit = raw.flatten(1), functional.normalize(beside.flatten(1), eps=TINY)
    rows = rows - (rows * unit).sum(1, keepdim=True) * unit if rows.shape[1] > 1 else rows * (unit == 0)
    wanted: Tensor = torch.linalg.vector_norm(weight.flatten(1), dim=1, keepdim=True)
    length: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return (rows * (wanted / (length + TINY))).view_as(weight)


def _steps(points: int, extent: float) -> tuple[float, ...]:
    """An odd number of steps, exactly symmetric, 0 in the middle."""
    if points < 3 or points % 2 == 0 or not 0 < extent < math.inf:
        raise ValueError(f"expected an odd number of at least 3 points and a positive extent, got {points} and {extent}")
    half = points // 2
    return tuple(extent * k / half for k in range(-half, half + 1))
