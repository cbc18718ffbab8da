"""How much can the loss rise when every weight may move by a thousandth of its size?

Why it matters
    The debate about sharpness began with this number: Keskar et al. (2017) argued from it that large batches find sharp minima,
    which generalise worse. It is here so that the claim can be tried.

How it is computed
    100 · (max L(θ + δ) − L(θ)) / (1 + L(θ)) over the box |δ_i| ≤ ε(|θ_i| + 1), all images of the probe set sharing one δ. The
    authors searched with ten iterations of L-BFGS-B, in code that was not published; here it is three searches by Auto-PGD of
    `iterations` steps each, which may find more. The interval is Student's over images, for the perturbation found and L(θ) taken
    as known. `residual` is the share of the rise that only the last search found.

When not to trust it
    It is a lower bound. The + 1 in the box lets small weights move by as much as large ones, so the number changes when layers
    are rescaled without changing the function. Dividing by 1 + L(θ) makes networks with a higher loss look flatter.

Sources
    Keskar et al. 2017 (arXiv 1609.04836), metric 2.1 with A = I and ε = 0.001; Dinh et al. 2017 (rescaling).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.worst_case import ITERATIONS, SEARCHES
from sharpaudit.curvature.perturbations.worst_case import worst_case as search
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Terms, Workbench, Workload, measured, probe
from sharpaudit.probes.worst_case import with_search


@dataclass(frozen=True, kw_only=True)
class KeskarOptions:
    """Settings of the Keskar probe."""

    epsilon: float = 1e-3
    """ε of the box; 5e-4 is the paper's other choice."""
    iterations: int = ITERATIONS
    """Steps of each of the three searches."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not 0 < self.epsilon < float("inf") or self.iterations < 1:
            raise UsageError("keskar: expected a positive epsilon and at least 1 iteration")


def cost(workload: Workload, options: KeskarOptions) -> Passes:
    """Losses and gradient once a step and at the start of each search, the losses before and after, and L(θ)."""
    calls = SEARCHES * (options.iterations + 1)
    return Passes(forward=workload.probe_set * (calls + 3), backward=workload.probe_set * calls)


@probe(needs={Need.OBJECTIVE}, version=1, cost=cost)
def keskar(bench: Workbench, options: KeskarOptions) -> Iterator[Finding]:
    """Yield Keskar's sharpness."""
    objective = bench.objective
    found = search(
        objective,
        Ball.keskar(objective, options.epsilon),
        group=objective.num_examples,
        iterations=options.iterations,
        seed=bench.seed_for("start"),
        on_progress=bench.progress(0.0, 1.0),
    )
    losses = objective.losses().cpu().numpy()
    scale = 100 / (1 + float(losses.mean()))
    percent = replace(found.rise, value=scale * found.rise.value, standard_error=scale * found.rise.standard_error)
    value = measured(
        "sharpness.keskar",
        percent.estimate,
        percent.n,
        "100·(largest L found in the box − L(θ))/(1 + L(θ)), by Auto-PGD; n and interval over images, for the perturbation found",
        {"epsilon": options.epsilon, "examples": objective.num_examples},
    )
    yield with_search(value, found, options.iterations)
    yield Terms.around(value.name, value.value, scale * (found.terms - value.value / 100 * losses))
