"""How much can the loss rise when the weights are moved in the worst direction, as far as a ball allows?

Worst-case sharpness (Foret et al. 2021; Andriushchenko et al. 2023, 2302.07011) is the mean over groups of m examples of the
largest L_group(θ + δ) − L_group(θ) over δ in the ball. The smaller the groups, the larger it is: m is part of the number. At a
minimum it is ½ρ² λ_max(CHC) in ℓ2 to second order; elsewhere it is ρ‖Cg‖ to first, in the dual norm.

The maximum is searched by Auto-PGD in u = δ/c, where steepest ascent and projection are those of a plain ball; in δ the ascent
is c²g/‖cg‖, not the c·g/‖g‖ of the public code. Searches begin a thousandth of the radius beside θ, for at a minimum there is no
slope to follow. One strides and one creeps, because on some networks the one finds a summit that the other passes by; a last
one sets out from the better of the two. They were held to the best of several plain 20-step searches, on the 12 demo networks
from which the first steps were also chosen: one striding search alone fell short by up to 47% (84 settings, 63 images), the
three together, at three times the steps, by up to 0.2% (72 settings, 40 images), and with 14 steps each by up to 0.8%.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpaudit.ascent import Summit, climb, lengths
from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.perturbation import Progress, silent
from sharpaudit.transfer import fetched

GROUP = 128
"""m of the literature."""

ITERATIONS = 20
"""Steps of one search; the literature's number."""

FIRST_STEPS = (2.0, 0.25)
"""First steps, in radii, of the searches that begin at θ."""

SEARCHES = 3
"""Those, and one that sets out from the better of them."""

BESIDE = 1e-3
"""Where searches begin, in radii from θ."""

SETTLED = 0.05
"""A search whose last search added no larger share of the rise counts as converged."""


@dataclass(frozen=True)
class WorstCase:
    """The largest rise that was found: a lower bound of the largest there is."""

    rise: Sampled
    """Mean over examples of their group's rise, in nats; `n` counts groups, or examples where there is one group only."""
    terms: NDArray[np.float64]
    """The rise of each example at its group's perturbation, which is stationary: to first order only this varies with images."""
    groups: int
    residual: float
    """The share of the rise that only the last search found."""
    length: float
    """Norm of the longest perturbation, in u: at most the radius, but for rounding."""

    @property
    def converged(self) -> bool:
        """Whether going on from the best point found hardly helped."""
        return self.residual <= SETTLED


def worst_case(
    objective: Objective,
    ball: Ball,
    *,
    group: int = GROUP,
    iterations: int = ITERATIONS,
    seed: int,
    on_progress: Progress = silent,
) -> WorstCase:
    """Worst-case sharpness in `ball`, by three searches of `iterations` steps in each group; 0 at radius 0.

    Groups have `group` examples or, where that does not divide their number, one size for all that is at most so large; a group
    takes examples at equal distances, so a probe set sorted by class gives mixed groups.
    """
    count = math.ceil(objective.num_examples / group)
    found = []
    for number in range(count):
        part = objective.variant(slice(number, None, count))
        found.append(_search(part, ball, iterations, seed, _part(on_progress, number, count)))
    weights = torch.tensor([len(peak.rises) for peak in found], dtype=torch.float64)
    rises = torch.stack([peak.rises.mean() for peak in found])
    before = torch.stack([peak.before for peak in found])
    total = (weights @ rises / weights.sum()).item()
    terms = np.empty(objective.num_examples)
    for number, peak in enumerate(found):
        terms[number::count] = peak.rises
    sampled = replace(Sampled.of(rises if count > 1 else found[0].rises), value=total)
    late = (weights @ (rises - before) / weights.sum()).item()
    return WorstCase(sampled, terms, count, late / total if total else 0.0, max(peak.length for peak in found))


@dataclass(frozen=True)
class _Peak:
    rises: Tensor
    """How much the loss of each example of the group rises, (n,)."""
    before: Tensor
    """Their mean before the last search."""
    length: float


def _search(part: Objective, ball: Ball, iterations: int, seed: int, on_progress: Progress) -> _Peak:
    """The best of three searches for the largest rise of the mean loss of `part`."""
    base = part.losses()

    def landscape(points: Tensor) -> tuple[Tensor, Tensor]:
        with part.perturbed(ball.perturbation(points[0])):
            losses, gradient = part.losses_and_gradient()
        return (losses.mean() - base.mean())[None], (ball.scale * gradient)[None]

    def search(start: Tensor, step: float, number: int) -> Summit:
        return climb(
            landscape,
            start,
            norm=ball.norm,
            radius=ball.radius,
            iterations=iterations,
            step=step,
            on_progress=_part(on_progress, number, SEARCHES),
        )

    beside = BESIDE * ball.direction(seed, 0)[None]
    one, other = (search(beside, step, i) for i, step in enumerate(FIRST_STEPS))
    better = other.heights > one.heights
    last = search(torch.where(better[:, None], other.points, one.points), FIRST_STEPS[0], SEARCHES - 1)
    with part.perturbed(ball.perturbation(last.points[0])):
        rises = part.losses() - base
    before = torch.where(better, other.heights, one.heights)
    found, height, length = (torch.from_numpy(part) for part in fetched([rises, before, lengths(last.points, ball.norm)]))
    return _Peak(found, height[0], length.item())


def _part(on_progress: Progress, number: int, count: int) -> Progress:
    """Progress of part `number` out of `count` as progress of the whole."""
    return lambda share: on_progress((number + share) / count)
