"""How many directions does the Gauss-Newton matrix curve more than a damping does, and what is its damped log-determinant?

    rank_d(G) = Σᵢ λᵢ/(λᵢ + d),        logdet_d(G) = Σᵢ log(λᵢ + d)

with d the weight decay of training (loss + d/2‖θ‖²): what regularisation leaves of the parameters (Shoham et al. 2025, arXiv
2506.17809); in a linear model the degrees of freedom of ridge regression. G has no negative eigenvalues, so no pole is near.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sharpaudit.curvature.gauss_newton.matrix import GaussNewton
from sharpaudit.curvature.krylov.lanczos import shortfall
from sharpaudit.curvature.krylov.quadrature import Function
from sharpaudit.curvature.krylov.spectrum import Sum, spectrum
from sharpaudit.curvature.objective import Objective

WEIGHT_DECAY = 5e-4
"""The usual weight decay of CIFAR recipes, and of the main paper's: the damping where none is stated. One for all checkpoints,
because a damping that followed the spectrum would hide what it is to show."""


@dataclass(frozen=True)
class SoftRank:
    """Sums over the spectrum of G at one damping."""

    rank: Sum
    """rank_d(G), 0 to P."""
    logdet: Sum
    """logdet_d(G)."""
    steps: int
    """Gauss-Newton products spent; 0 where all eigenvalues are known without."""
    method: str


def soft_rank(damping: float) -> Function:
    """λ/(λ + d) for λ ≥ 0; rounding below zero counts as zero."""
    return lambda values: values.clip(min=0) / (values.clip(min=0) + damping)


def damped_log(damping: float) -> Function:
    """log(1 + λ/d) for λ ≥ 0: log(λ + d) less its value for a direction without curvature."""
    return lambda values: np.log1p(values.clip(min=0) / damping)


def ggn_soft_rank(
    objective: Objective,
    damping: float,
    *,
    whole: GaussNewton | None = None,
    starts: int,
    max_steps: int,
    tolerance: float,
    seed: int,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> SoftRank:
    """Soft rank and log-determinant of G: from all its eigenvalues where the `whole` of it is given, else by quadrature."""
    functions: dict[str, Function] = {"rank": soft_rank(damping), "log": damped_log(damping)}
    if whole is not None:
        values = whole.eigenvalues
        sums = {name: Sum.exact(float(function(values).sum())) for name, function in functions.items()}
        steps, method = 0, f"all eigenvalues of the Gauss–Newton matrix{', from its Gram matrix' if whole.by_gram else ''}"
    else:
        found = spectrum(
            objective.ggn_product,
            objective.num_parameters,
            functions,
            starts=starts,
            seed=seed,
            max_steps=max_steps,
            nonnegative=True,
            tolerance=tolerance,
            dtype=objective.dtype,
            device=objective.inputs.device,
            on_progress=on_progress,
        )
        sums, steps = dict(found.sums), found.products
        sampled = f"Lanczos quadrature of the Gauss–Newton matrix, {starts} starts; interval over starts and bracket of the steps"
        to_the_end = "all eigenvalues of the Gauss–Newton matrix, from Lanczos to the end"
        method = to_the_end if found.whole else sampled + shortfall(max_steps, found.allowed)
    offset = objective.num_parameters * float(np.log(damping))
    return SoftRank(sums["rank"], _shifted(sums["log"], offset), steps, method)


def _shifted(found: Sum, offset: float) -> Sum:
    """The same estimate of the sum plus a constant; the verdict stays that of the part that was estimated."""
    low, middle, high = (replace(part, value=part.value + offset) for part in (found.low, found.sampled, found.high))
    ci = found.interval
    moved = ci and ci.model_copy(update={"low": ci.low + offset, "high": ci.high + offset})
    return replace(found, sampled=middle, low=low, high=high, interval=moved)
