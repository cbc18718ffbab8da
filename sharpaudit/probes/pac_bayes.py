"""How much weight noise is tolerated before accuracy falls?

Why it matters
    PAC-Bayes bounds on generalisation are governed by the largest noise that leaves the predictions alone. In the large study of
    Jiang et al. (2020) sharpness measured this way went with generalisation more often than other measures did.

How it is computed
    σ is where accuracy on the frozen probe set has fallen by `target` on average over Gaussian noise N(0, σ²) on every parameter.
    With `magnitude` the variance for a weight w is σ²w² + 0.001², so noise follows size. The same noise vectors, in ± pairs, are
    scaled to every σ, from seeds that do not depend on the checkpoint; σ is found by bisection on a logarithmic scale between
    0.0001 and 2. *Larger is flatter*; the literature reports 1/σ². The interval is Student's for the drop over pairs of draws,
    carried over to σ by the slope of the drop. BatchNorm is not folded into the convolutions: its scales and shifts are noisy
    too, its running statistics are not.

When not to trust it
    Without `magnitude` it changes when layers are rescaled without changing the function. A network that is right on few images
    has little accuracy to lose. n counts pairs of draws: the interval says nothing about other images.

Sources
    Jiang et al. 2020 (arXiv 1912.02178); Dziugaite et al. 2020 (arXiv 2010.11924).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.card import Skipped
from sharpaudit.curvature.perturbations.pac_bayes import noise_tolerance
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Terms, Workbench, Workload, measured, probe
from sharpaudit.stats import Estimate


@dataclass(frozen=True, kw_only=True)
class PacBayesOptions:
    """Settings of the PAC-Bayes probe."""

    target: float = 0.1
    """Drop of accuracy that defines σ."""
    draws: int = 20
    """Noise vectors for each σ, in ± pairs."""
    steps: int = 8
    """Bisections."""
    magnitude: bool = False
    """Whether noise follows the size of each weight."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not 0 < self.target < 1:
            raise UsageError(f"pac_bayes.target: expected a drop of accuracy between 0 and 1, got {self.target}")
        if self.draws < 4 or self.draws % 2 or self.steps < 2:
            raise UsageError("pac_bayes: expected an even number of at least 4 draws, and at least 2 steps")


def cost(workload: Workload, options: PacBayesOptions) -> Passes:
    """A forward pass for each draw at each σ and at two beside the last, and one without noise."""
    return Passes(forward=workload.probe_set * (options.draws * (options.steps + 2) + 1))


@probe(needs={Need.OBJECTIVE}, version=1, cost=cost)
def pac_bayes(bench: Workbench, options: PacBayesOptions) -> Iterator[Finding]:
    """Yield σ of PAC-Bayes flatness."""
    objective = bench.objective
    found = noise_tolerance(
        objective,
        target=options.target,
        draws=options.draws,
        steps=options.steps,
        magnitude=options.magnitude,
        seed=bench.seed_for("noise"),
        on_progress=bench.progress(0.0, 1.0),
    )
    if found.sigma is None:
        yield Skipped(name="sharpness.pac_bayes_sigma", reason=found.reason or "")
        return
    form = "variance σ²w² + 0.001² for a weight w" if options.magnitude else "variance σ² for every weight"
    yield measured(
        "sharpness.pac_bayes_sigma",
        Estimate(found.sigma, found.interval, found.reason),
        found.pairs,
        f"noise at which mean accuracy is {options.target:g} lower, {form}; n and interval over ± pairs of draws",
        {
            "target": options.target,
            "draws": options.draws,
            "magnitude": options.magnitude,
            "examples": objective.num_examples,
        },
        unit="1" if options.magnitude else None,
        iterations=options.steps,
    )
    if found.influence is not None:
        yield Terms.around("sharpness.pac_bayes_sigma", found.sigma, found.influence, "draws and images")
