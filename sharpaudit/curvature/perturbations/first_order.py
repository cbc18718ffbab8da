"""How steep can the loss get in a ball around the weights? The first-order flatness of gradient-norm-aware minimisation (GAM).

R⁽¹⁾ = ρ · max ‖∇L(θ + δ)‖ over ‖δ‖ ≤ ρ (Zhang et al. 2023, 2303.03108). It is at least the largest rise of the loss in the same
ball, and at a minimum about ρ² times the largest magnitude of an eigenvalue of H. The gradient of ‖g‖ is Hg/‖g‖, so the norm is
climbed with one Hessian product a step.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sharpaudit.ascent import climb, lengths
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.perturbation import Progress, silent
from sharpaudit.curvature.perturbations.worst_case import BESIDE, SETTLED


@dataclass(frozen=True)
class FirstOrder:
    """The steepest slope that was found, as a rise of the loss: a lower bound of the steepest there is."""

    value: float
    """R⁽¹⁾, nats."""
    curvature: float
    """R⁽¹⁾/ρ², to be read beside λ_max."""
    residual: float
    """The share of the value that only the last quarter of the steps found."""
    length: float
    """Distance from θ of the steepest point: at most ρ, but for rounding."""
    slopes: Tensor
    """ρ times the slope of each example's loss at that point, up the mean loss, (n,): their mean is the value."""

    @property
    def converged(self) -> bool:
        """Whether the last steps hardly helped."""
        return self.residual <= SETTLED


def first_order(
    objective: Objective, *, radius: float, iterations: int = 10, seed: int, on_progress: Progress = silent
) -> FirstOrder:
    """First-order flatness R⁽¹⁾ of the mean loss of all examples, by `iterations` steps of Auto-PGD from a point beside θ."""
    ball = Ball.around(objective, "l2", radius)

    def landscape(points: Tensor) -> tuple[Tensor, Tensor]:
        with objective.perturbed(points[0]):
            gradient = objective.gradient()
            norm = lengths(gradient[None], "l2")
            uphill = objective.hvp(gradient / norm.to(gradient.dtype).clamp_min(torch.finfo(gradient.dtype).tiny))
        return norm, uphill[None]

    start = BESIDE * ball.direction(seed, 0)[None]
    found = climb(landscape, start, norm="l2", radius=radius, iterations=iterations, on_progress=on_progress)
    with objective.perturbed(found.points[0]):
        slopes = radius * _slopes(objective)
    earlier = found.history[-1 - max(1, iterations // 4)]
    steepest, before, length = torch.cat([found.heights, earlier, lengths(found.points, "l2")]).tolist()
    return FirstOrder(
        value=radius * steepest,
        curvature=steepest / radius,
        residual=(steepest - before) / steepest if steepest else 0.0,
        length=length,
        slopes=slopes,
    )


def _slopes(objective: Objective) -> Tensor:
    """How fast each example's loss grows in the direction in which the mean loss grows fastest, (n,), float64."""
    gradient = objective.gradient().double()
    onehot = functional.one_hot(objective.labels, objective.num_classes)
    residual = objective.logits().double().softmax(1) - onehot
    speed = objective.logit_jvp(gradient / gradient.norm().clamp_min(torch.finfo(torch.float64).tiny)).double()
    return (residual * speed).sum(1)
