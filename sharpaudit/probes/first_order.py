"""How steep can the loss get near the weights?

Why it matters
    A minimum can lie low and flat and have steep walls close by. First-order flatness sees the walls; the rise of the loss in the
    same ball is never larger.

How it is computed
    R⁽¹⁾ = ρ · max ‖∇L(θ + δ)‖ over ‖δ‖ ≤ ρ, the gradient of the mean loss of the frozen probe set, all parameters. The norm is
    climbed by Auto-PGD along its gradient Hg/‖g‖, a Hessian product a step, from a point a thousandth of the radius beside θ.
    `per_squared_radius` among the options is R⁽¹⁾/ρ², which at a minimum is about λ_max. `residual` is the share of the value
    that only the last quarter of the steps found; `converged` says it was at most 5%.

When not to trust it
    It is a lower bound. It changes when layers are rescaled without changing the function. In ReLU networks the gradient jumps at
    kinks, which Hg does not see, so the search may miss steeper walls.

Sources
    Zhang et al. 2023 (GAM, arXiv 2303.03108), with their ρ of 0.2; Croce and Hein 2020 (Auto-PGD).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.curvature.perturbations.first_order import first_order as steepest
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Terms, Workbench, Workload, measured, probe
from sharpaudit.stats import Estimate


@dataclass(frozen=True, kw_only=True)
class FirstOrderOptions:
    """Settings of the first-order probe."""

    radius: float = 0.2
    """ρ of the ball."""
    iterations: int = 10
    """Steps of the search."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not 0 < self.radius < float("inf") or self.iterations < 1:
            raise UsageError("first_order: expected a positive radius and at least 1 iteration")


def cost(workload: Workload, options: FirstOrderOptions) -> Passes:
    """A gradient, and a Hessian product on a graph of its own, once a step and at the start; the slopes of single images."""
    calls = options.iterations + 1
    passes = workload.probe_set * (2 * calls + 3)
    return Passes(forward=passes, backward=passes, hvp=workload.probe_set * calls)


@probe(needs={Need.OBJECTIVE}, version=1, cost=cost)
def first_order(bench: Workbench, options: FirstOrderOptions) -> Iterator[Finding]:
    """Yield first-order flatness."""
    objective = bench.objective
    found = steepest(
        objective,
        radius=options.radius,
        iterations=options.iterations,
        seed=bench.seed_for("start"),
        on_progress=bench.progress(0.0, 1.0),
    )
    yield measured(
        "sharpness.first_order",
        Estimate(found.value, None, "no interval over images: a maximum over the ball, on this probe set"),
        objective.num_examples,
        "ρ times the steepest slope found in the ℓ2 ball, by Auto-PGD on ‖∇L‖",
        {"radius": options.radius, "per_squared_radius": found.curvature, "examples": objective.num_examples},
        converged=found.converged,
        iterations=options.iterations,
        residual=found.residual,
    )
    yield Terms.around("sharpness.first_order", found.value, found.slopes.cpu())
