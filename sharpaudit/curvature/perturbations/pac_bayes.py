"""How much weight noise is tolerated before accuracy falls? The σ of PAC-Bayes flatness.

σ is where the mean drop of accuracy under independent Gaussian noise on every weight reaches a target (Jiang et al. 2020,
1912.02178, where 1/σ² is the sharpness). In the magnitude-aware form the noise of weight w has variance σ²w² + ε². The public
code hands these variances to a function that takes standard deviations; here they are variances.

The noise of all σ is the same few vectors, scaled, in ± pairs: the drop is then nearly monotone in σ, and σ is found by
bisection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpaudit.card import Interval
from sharpaudit.curvature.draws import gaussian
from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.perturbation import Progress, silent
from sharpaudit.transfer import fetched, sent

Floats = NDArray[np.float64]

RANGE = (1e-4, 2.0)
"""Where σ is looked for, on a logarithmic scale."""

FLOOR = 1e-3
"""ε of the magnitude-aware form."""

NEARBY = 1.25
"""The slope of the drop at σ is taken between σ divided by this and σ times this."""


@dataclass(frozen=True)
class NoiseTolerance:
    """The noise at which accuracy has fallen by the target."""

    sigma: float | None
    """None where no σ in `RANGE` does it."""
    interval: Interval | None
    """Over draws: Student's interval of the drop at σ, carried over to log σ by the slope."""
    reason: str | None
    """Why there is no σ, or no interval."""
    pairs: int
    """Independent pairs of draws."""
    influence: Floats | None = field(default=None, repr=False, compare=False)
    """How much each image in each pair moves σ (pairs, images): by its drop of accuracy, over the slope."""


def noise_tolerance(
    objective: Objective,
    *,
    target: float = 0.1,
    draws: int = 20,
    steps: int = 8,
    magnitude: bool = False,
    seed: int,
    on_progress: Progress = silent,
) -> NoiseTolerance:
    """σ at which the mean accuracy over `draws` / 2 pairs ±noise is lower by `target`, by `steps` bisections of the range.

    Eight steps place σ between two numbers 4% apart, where the mean drop is taken as linear.
    """
    if draws < 4 or draws % 2:
        raise ValueError(f"expected an even number of at least 4 draws, got {draws}")
    (base,), pairs = fetched([_correct(objective)]), draws // 2
    evaluated = 0

    def drop(sigma: float) -> Floats:
        """How much less often each image is right, for each pair (pairs, images)."""
        nonlocal evaluated
        scale = (sigma**2 * objective.parameters.square() + FLOOR**2).sqrt() if magnitude else sigma
        (under,) = fetched([torch.stack([_correct_under(objective, scale, seed, pair) for pair in range(pairs)])])
        found: Floats = base - under
        evaluated += 1
        on_progress(evaluated / (steps + 2))
        return found

    low, high = RANGE
    below = above = None
    for _ in range(steps):
        sigma = math.sqrt(low * high)
        drops = drop(sigma)
        if drops.mean() < target:
            low, below = sigma, drops
        else:
            high, above = sigma, drops
    if above is None:
        return NoiseTolerance(None, None, f"accuracy falls by less than {target:g} up to σ = {low:.2g}", pairs)
    if below is None:
        return NoiseTolerance(None, None, f"accuracy falls by {target:g} or more at σ = {high:.2g} already", pairs)
    sigma = low + (high - low) * float((target - below.mean()) / (above.mean() - below.mean()))
    slope = float(drop(sigma * NEARBY).mean() - drop(sigma / NEARBY).mean()) / (2 * math.log(NEARBY))
    if slope <= 0:
        return NoiseTolerance(sigma, None, "accuracy does not fall steadily around σ", pairs)
    seen = Sampled.crossed(above)
    band = seen.interval()
    lowest, highest = (sigma * math.exp((seen.value - end) / slope) for end in (band.high, band.low))
    interval = Interval(low=lowest, high=highest, level=band.level, method=f"{band.method}, by the slope of the drop")
    share = (sigma - low) / (high - low)
    return NoiseTolerance(sigma, interval, None, pairs, -sigma / slope * ((1 - share) * below + share * above))


def _correct_under(objective: Objective, scale: Tensor | float, seed: int, pair: int) -> Tensor:
    """How often each image is right at θ ± noise: never, once of twice or always."""
    noise = scale * sent(gaussian(objective.num_parameters, seed, pair), objective.inputs)
    correct = []
    for sign in (1, -1):
        with objective.perturbed(sign * noise):
            correct.append(_correct(objective))
    return (correct[0] + correct[1]) / 2


def _correct(objective: Objective) -> Tensor:
    """1 where an image is right, else 0."""
    return (objective.logits().argmax(1) == objective.labels).double()
