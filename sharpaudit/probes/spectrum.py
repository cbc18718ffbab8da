"""How curved is the loss in its steepest direction, and over all of them?

Why it matters
    λ_max and the trace of the Hessian are the classical meanings of "sharp". They were the measures that reviewers of the
    function-centric paper missed.

How it is computed
    Hessian-vector products by reverse mode twice through a kept graph of the gradient, on the frozen probe set, examples
    weighted equally. λ_max is the largest *algebraic* eigenvalue, by Lanczos iteration with full re-orthogonalisation; its
    residual ‖Hv − λv‖/λ bounds the numerical error, and `converged` says whether it met the tolerance. The same run gives λ_min
    and λ_1/λ_5, which tells one steep direction from many. The trace of the
    Gauss–Newton matrix is exact, from one backward pass a class. Where the network is piecewise linear in every weight (ReLU,
    convolutions, evaluation-mode BatchNorm) it is the Hessian's trace too; elsewhere, or with many classes, that is
    Hutchinson's estimate with random signs. Exact traces carry a BCa interval over images, estimates a Student interval over
    their draws.

When not to trust it
    All of these change when layers are rescaled without changing the function: α = 10 can turn 1.8 into 33.6. Compare them
    only between networks trained alike. An unconverged λ_max is a lower bound. Read `method` before comparing two traces: an
    interval over draws speaks of the estimator, one over images of the data.

Sources
    Pearlmutter 1994; Golub and Van Loan, ch. 10; Hutchinson 1989; Botev et al. 2017 (equal traces); Dinh et al. 2017 (rescaling).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sharpaudit.card import Measured, Skipped
from sharpaudit.curvature.ggn_trace import GgnTrace, ggn_trace
from sharpaudit.curvature.lanczos import extreme_eigenvalues
from sharpaudit.curvature.linearity import piecewise_linear
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.records import Eigenvalue
from sharpaudit.curvature.trace import hutchinson
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Workbench, Workload, probe
from sharpaudit.stats import Resamples, bootstrap, first_mean

UNIT = "nats per squared weight"
OF_THE_PROBE_SET = "no interval over images; the residual bounds the numerical error on this probe set"


@dataclass(frozen=True, kw_only=True)
class SpectrumOptions:
    """Settings of the spectrum probe."""

    tolerance: float = 1e-3
    """Relative residual at which an eigenvalue counts as converged."""
    max_iterations: int = 100
    """Most Hessian-vector products spent on eigenvalues."""
    all_extremes: bool = True
    """Whether λ_min and λ_1/λ_5 are wanted too: they cost three to five times the products that λ_max needs alone."""
    trace_probes: int = 60
    """Random sign vectors for the trace."""

    def __post_init__(self) -> None:
        """Refuse settings that no run could honour."""
        if not 0 < self.tolerance < 1:
            raise UsageError(f"spectrum.tolerance: expected a number between 0 and 1, got {self.tolerance}")
        if self.max_iterations < 1 or self.trace_probes < 2:
            raise UsageError("spectrum: expected at least 1 iteration and 2 trace probes")


def cost(workload: Workload, options: SpectrumOptions) -> Passes:
    """At most: the graph, a product per iteration (usually 30 to 60) and the dearer of the two ways to a trace."""
    by_class = 2 * workload.classes <= 6 * options.trace_probes
    return Passes(
        forward=2 * workload.probe_set,
        backward=workload.probe_set * (1 + (workload.classes if by_class else 0)),
        hvp=workload.probe_set * (min(60, options.max_iterations) + options.trace_probes),
    )


@probe(
    needs={Need.OBJECTIVE, Need.RESAMPLES},
    version=1,
    measures=[
        "sharpness.lambda_max",
        "sharpness.lambda_min",
        "sharpness.lambda_ratio_1_5",
        "sharpness.trace",
        "sharpness.trace_ggn",
    ],
    cost=cost,
)
def spectrum(bench: Workbench, options: SpectrumOptions) -> Iterator[Finding]:
    """Yield the extreme Hessian eigenvalues, and the traces of the Hessian and of the Gauss–Newton matrix."""
    objective = bench.objective
    yield from _eigenvalues(bench, objective, options)
    exact = ggn_trace(objective, bench.progress(0.3, 0.4)) if _cheaper(objective, options) else None
    resamples = bench.resamples(objective.num_examples)
    if exact is None:
        yield Skipped(name="sharpness.trace_ggn", reason="too many classes, or a layer whose gradient norms have no formula here")
        yield _sampled_trace(bench, objective, options)
        return
    yield _exact_trace("sharpness.trace_ggn", exact, "exact trace of the Gauss–Newton matrix", resamples)
    if piecewise_linear(objective):
        method = "exact: equals the Gauss–Newton trace, as the logits are piecewise linear in every weight"
        yield _exact_trace("sharpness.trace", exact, method, resamples)
    else:
        yield _sampled_trace(bench, objective, options)


def _cheaper(objective: Objective, options: SpectrumOptions) -> bool:
    """Whether a backward pass for each class (two forwards' cost) costs less than the random products (six) it may replace."""
    return 2 * objective.num_classes <= 6 * options.trace_probes


def _eigenvalues(bench: Workbench, objective: Objective, options: SpectrumOptions) -> Iterator[Finding]:
    """Both ends of the spectrum from one Lanczos run."""
    ends = extreme_eigenvalues(
        objective.hvp,
        objective.num_parameters,
        seed=bench.seed_for("lanczos"),
        top=5 if options.all_extremes else 1,
        bottom=1 if options.all_extremes else 0,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        dtype=objective.dtype,
        device=objective.inputs.device,
        on_progress=bench.progress(0.0, 0.3),
    )
    method = "Lanczos, {} algebraic eigenvalue of the Hessian of the mean loss"
    yield _eigenvalue("sharpness.lambda_max", ends.top[0], UNIT, method.format("largest"), objective, options)
    if not options.all_extremes:
        for name in ("sharpness.lambda_min", "sharpness.lambda_ratio_1_5"):
            yield Skipped(name=name, reason="not asked for: spectrum.all_extremes is off")
        return
    yield _eigenvalue("sharpness.lambda_min", ends.bottom[0], UNIT, method.format("smallest"), objective, options)
    if len(ends.top) == 5 and ends.top[4].value > 0:
        worst = max(ends.top, key=lambda e: e.residual)
        ratio = replace(worst, value=ends.top[0].value / ends.top[4].value, converged=all(e.converged for e in ends.top))
        yield _eigenvalue(
            "sharpness.lambda_ratio_1_5", ratio, "1", "largest over fifth; worst residual of the five", objective, options
        )
    else:
        yield Skipped(name="sharpness.lambda_ratio_1_5", reason="the fifth eigenvalue is not positive")


def _eigenvalue(name: str, found: Eigenvalue, unit: str, method: str, objective: Objective, options: SpectrumOptions) -> Measured:
    return Measured(
        name=name,
        value=found.value,
        unit=unit,
        direction="none",
        n=objective.num_examples,
        reason=OF_THE_PROBE_SET,
        method=method,
        options={"tolerance": options.tolerance},
        converged=found.converged,
        iterations=found.iterations,
        residual=found.residual,
    )


def _exact_trace(name: str, trace: GgnTrace, method: str, resamples: Resamples) -> Measured:
    found = bootstrap(trace.examples, first_mean, resamples)
    return Measured(
        name=name,
        value=trace.value,
        unit=UNIT,
        direction="none",
        n=len(trace.examples),
        ci=found.ci,
        reason=found.reason,
        method=f"{method}; interval over images",
    )


def _sampled_trace(bench: Workbench, objective: Objective, options: SpectrumOptions) -> Measured:
    trace = hutchinson(
        objective.hvp,
        objective.num_parameters,
        draws=options.trace_probes,
        seed=bench.seed_for("trace"),
        device=objective.inputs.device,
        on_progress=bench.progress(0.4, 1.0),
    )
    return Measured(
        name="sharpness.trace",
        value=trace.value,
        unit=UNIT,
        direction="none",
        n=objective.num_examples,
        ci=trace.interval(),
        method=f"Hutchinson, {trace.n} random sign vectors; interval over them",
        options={"trace_probes": options.trace_probes},
    )
