"""How much does the loss rise on average when the weights are moved at random, by as much as a ball allows?

Average-case sharpness (Andriushchenko et al. 2023, 2302.07011) is E[L(θ + δ) − L(θ)] with independent δ_i ~ N(0, ρ²c_i²) for ℓ2
and δ_i uniform on [−ρc_i, ρc_i] for ℓ∞; c is 1, or |θ_i| in the adaptive form. To second order it is ½ρ² Σ H_ii c_i², and a third
of that for ℓ∞. Every δ is used with both signs, which removes the gradient from each pair.

The logits can be divided by their ℓ2 norm before the loss is taken: then the scale of the outputs plays no part. One forward
pass gives the losses of both forms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.perturbation import Progress, silent

FLOOR = 1e-10
"""Shortest length that logits are divided by."""


def unit_logits(logits: Tensor) -> Tensor:
    """Each example's logits at length 1: the readout of logit-normalised sharpness."""
    unit: Tensor = logits / torch.linalg.vector_norm(logits, dim=1, keepdim=True).clamp_min(FLOOR)
    return unit


@dataclass(frozen=True)
class AverageCase:
    """The mean rise of the loss over the draws, in nats."""

    plain: Sampled
    """`n` counts ± pairs."""
    normalised: Sampled
    """The same with logits of length 1."""


def average_case(objective: Objective, ball: Ball, *, draws: int, seed: int, on_progress: Progress = silent) -> AverageCase:
    """Average-case sharpness in `ball` from `draws` / 2 pairs ±δ, one forward pass each; 0 at radius 0."""
    if draws < 4 or draws % 2:
        raise ValueError(f"expected an even number of at least 4 draws, got {draws}")
    base = _losses(objective)
    rises = []
    for pair in range(draws // 2):
        delta = ball.noise(seed, pair)
        rise = -base
        for sign in (1, -1):
            with objective.perturbed(sign * delta):
                rise = rise + _losses(objective) / 2
        rises.append(rise)
        on_progress(2 * (pair + 1) / draws)
    plain, normalised = torch.stack(rises, 1).cpu()
    return AverageCase(Sampled.crossed(plain), Sampled.crossed(normalised))


def _losses(objective: Objective) -> Tensor:
    """The losses of the logits as they are, and of their directions (2, n)."""
    logits = objective.logits()
    forms = (logits, unit_logits(logits))
    return torch.stack([functional.cross_entropy(z.double(), objective.labels, reduction="none") for z in forms])
