"""How curved is the loss: in its steepest direction, over all of them, and in how many?

Why it matters
    λ_max and the trace of the Hessian are the classical meanings of "sharp"; they were the measures that reviewers of the
    function-centric paper missed. The Frobenius norm sees saddles that the trace does not. The soft rank counts the directions
    that the data decide against weight decay, and over the number of training images it estimates the generalisation gap.

How it is computed
    Hessian-vector products by reverse mode twice through a kept graph of the gradient, on the frozen probe set, examples
    weighted equally. One Lanczos run with full re-orthogonalisation finds the five *algebraically* largest eigenvalues and the
    smallest; the residual ‖Hv − λv‖/λ of each bounds its numerical error. λ_max has an interval over images, for the value that
    this number of images gives on average: many give less, by a quarter where eight of 512 matter. Its error is that of the mean
    of vᵀHᵢv, v the leading eigenvectors of random halves of the images. Random starts in the complement of what converged give
    the density, ‖H‖_F = sqrt(Σλ²) and the negative mass, the share of Σλ² with λ < 0, by Lanczos quadrature, and take back
    `converged` from an eigenvalue beyond which they meet another. Where all P products cost no more, all eigenvalues are found.
    The trace of the Gauss–Newton matrix G is exact, from one backward pass a class, and so is each layer's share of it; of many
    classes twenty are drawn for each image. Formulas for layers are tried on a few images; what they do not fit, such as tied or
    reparametrised weights and attention, has its gradients formed. Where the
    network is piecewise linear in every weight (ReLU, convolutions, evaluation-mode BatchNorm) it is the Hessian's trace too;
    elsewhere, or with many classes, that is Hutchinson's estimate with random signs outside the Krylov space already known.
    Soft rank Σλ/(λ+d) and log-determinant Σ log(λ+d) are of G, at the damping d of the options: the weight decay of training, or
    5e-4, the usual one, for every checkpoint alike. All eigenvalues of G come from its Gram matrix where that is cheaper; else
    starts take steps until the Gauss and the Gauss–Radau rule, which bracket the value, agree to a tolerance.
    `converged` is about steps. Intervals of exact traces are over images, those of sampled traces Student's over draws. Sums by
    quadrature have theirs from the moments of the quadrature itself, on a power scale, from the lower end of the bracket to the
    upper: they cover 94 to 97% with four starts, and are half as wide as by the scatter of the starts.

When not to trust it
    All of these change when layers are rescaled without changing the function: α = 10 can turn 1.8 into 33.6. Compare them
    only between networks trained alike. An unconverged λ_max is a lower bound. Read `method` before comparing two traces: an
    interval over draws speaks of the estimator, one over images of the data. The interval of the difference of two λ_max, paired
    over images, is too narrow: at 512 it held 88 to 93% of probe sets for two networks, and 27 to 99% for near copies. Soft
    ranks at different damping are different measures.

Sources
    Pearlmutter 1994; Golub and Van Loan, ch. 10; Golub and Meurant 2010; Ubaru, Chen and Saad 2017; Hutchinson 1989;
    Botev et al. 2017 (equal traces); Shoham et al. 2025 (arXiv 2506.17809, soft rank); Tahmasebi et al. 2024 (arXiv 2406.03682,
    Frobenius norm, determinant); Dinh et al. 2017 (rescaling).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sharpaudit.card import Measured, Scalar, Skipped, Table
from sharpaudit.curvature.estimates import Eigenvalue, Sampled
from sharpaudit.curvature.gauss_newton.explicit import BACKWARD
from sharpaudit.curvature.gauss_newton.ggn_trace import DRAWS, GgnTrace, forwards, ggn_trace
from sharpaudit.curvature.gauss_newton.layers import DIRECTIONS, TRIED
from sharpaudit.curvature.gauss_newton.soft_rank import WEIGHT_DECAY
from sharpaudit.curvature.krylov.hessian import HessianSpectrum, bins, hessian_spectrum, negative_mass
from sharpaudit.curvature.krylov.lanczos import Outliers, shortfall
from sharpaudit.curvature.krylov.spectrum import Spectrum
from sharpaudit.curvature.krylov.trace import hutchinson
from sharpaudit.curvature.linearity import piecewise_linear
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.directional import AROUND, PRODUCTS, curvature_of_halves, over_examples
from sharpaudit.device import is_out_of_memory
from sharpaudit.errors import UsageError, clean
from sharpaudit.probes import Finding, NamedTable, Need, Passes, Terms, Workbench, Workload, measured, probe
from sharpaudit.stats import Estimate, bootstrap, first_mean
from sharpaudit.workbench.sums import share, soft_rank_of, sum_and_terms

PRODUCT = 6
"""Forward passes that take as long as a Hessian product: an exact trace may cost as much as the random products it replaces."""

OF_THE_PROBE_SET = "no interval over images; the residual bounds the numerical error on this probe set"


@dataclass(frozen=True, kw_only=True)
class SpectrumOptions:
    """Settings of the spectrum probe."""

    tolerance: float = 1e-3
    """Relative residual at which an eigenvalue counts as converged."""
    max_iterations: int = 100
    """Most Hessian-vector products spent on eigenvalues."""
    all_extremes: bool = True
    """Whether λ_min and the top five are wanted too: they cost three to five times the products that λ_max needs alone."""
    trace_probes: int = 60
    """Random sign vectors for the trace, where it is not exact."""
    density_starts: int = 4
    """Random starts for the density, the Frobenius norm and the negative mass; 0 leaves them out."""
    density_steps: int = 16
    """Most Hessian-vector products of each."""
    soft_rank_starts: int = 4
    """Random starts for the soft rank and the log-determinant; 0 leaves them out."""
    soft_rank_steps: int = 40
    """Most Gauss–Newton products of each."""
    sums_tolerance: float = 0.05
    """Relative error of too few steps at which a sum over the spectrum counts as converged."""
    damping: float = WEIGHT_DECAY
    """d of soft rank and log-determinant: the weight decay of training."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not 0 < self.tolerance < 1:
            raise UsageError(f"spectrum.tolerance: expected a number between 0 and 1, got {self.tolerance}")
        if self.max_iterations < 1 or self.trace_probes < 2:
            raise UsageError("spectrum: expected at least 1 iteration and 2 trace probes")
        if 1 in (self.density_starts, self.soft_rank_starts) or min(self.density_starts, self.soft_rank_starts) < 0:
            raise UsageError("spectrum: expected 0 or at least 2 density_starts and soft_rank_starts")
        if self.density_steps < 2 or self.soft_rank_steps < 2:
            raise UsageError("spectrum: expected at least 2 density_steps and soft_rank_steps")
        if not 0 < self.sums_tolerance < 1:
            raise UsageError(f"spectrum.sums_tolerance: expected a number between 0 and 1, got {self.sums_tolerance}")
        if not 0 < self.damping < float("inf"):
            raise UsageError(f"spectrum.damping: expected a positive number, got {self.damping}")


def cost(workload: Workload, options: SpectrumOptions) -> Passes:
    """As usual: the graph, 40 iterations for the extremes, every step of the sums, and the way to the trace that is taken."""
    formulas_only = workload.formulas_only
    by_class = forwards(workload.classes, formulas_only=formulas_only) <= PRODUCT * options.trace_probes
    rows = (workload.classes if by_class else DRAWS) * (1 if formulas_only else 1 + BACKWARD // 2)
    tried = min(TRIED, workload.probe_set) * min(DIRECTIONS, workload.classes) * (1 + BACKWARD // 2)
    draws = 0 if workload.piecewise_linear else options.trace_probes
    hessian = PRODUCTS + min(40, options.max_iterations) + options.density_starts * options.density_steps + draws
    return Passes(
        forward=3 * workload.probe_set,
        backward=workload.probe_set * (1 + AROUND + rows) + tried,
        hvp=workload.probe_set * hessian,
        ggn=round(workload.probe_set * min(options.soft_rank_starts * options.soft_rank_steps, workload.whole_ggn)),
    )


@probe(
    needs={Need.OBJECTIVE, Need.RESAMPLES},
    version=8,
    cost=cost,
)
def spectrum(bench: Workbench, options: SpectrumOptions) -> Iterator[Finding]:
    """Yield the Hessian's extreme eigenvalues, density and sums, both traces, and soft rank and log-determinant of G."""
    objective = bench.objective
    found = hessian_spectrum(
        objective,
        top=5 if options.all_extremes else 1,
        bottom=1 if options.all_extremes else 0,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        starts=options.density_starts,
        max_steps=options.density_steps,
        sums_tolerance=options.sums_tolerance,
        seed=bench.seed_for("lanczos"),
        on_progress=bench.progress(0.0, 0.4),
    )
    yield from _eigenvalues(bench, found, objective, options)
    yield from _density(found.density, objective, options)
    yield from _sums_of_ggn(bench, objective, options)
    yield from _traces(bench, objective, options, found)


def _eigenvalues(bench: Workbench, found: HessianSpectrum, objective: Objective, options: SpectrumOptions) -> Iterator[Finding]:
    ends = found.extremes
    cut = "" if all(e.converged for e in ends.top + ends.bottom) else shortfall(options.max_iterations, found.allowed)
    method = f"Lanczos, {{}} algebraic eigenvalue of the Hessian of the mean loss{cut}"
    largest = _eigenvalue("sharpness.lambda_max", ends.top[0], method.format("largest"), objective, options)
    yield from _over_images(largest, found.space.leading(AROUND), bench, objective) if largest.converged else [largest]
    if not options.all_extremes:
        for name in ("sharpness.lambda_min", "sharpness.lambda_ratio_1_5"):
            yield Skipped(name=name, reason="not asked for: spectrum.all_extremes is off")
        return
    yield _eigenvalue("sharpness.lambda_min", ends.bottom[0], method.format("smallest"), objective, options)
    rows: list[list[Scalar]] = [
        [end, rank, e.value, e.residual, e.converged]
        for end, found in (("largest", ends.top), ("smallest", ends.bottom))
        for rank, e in enumerate(found, 1)
    ]
    yield NamedTable("eigenvalues", Table(columns=["end", "rank", "value", "residual", "converged"], rows=rows))
    if len(ends.top) == 5 and ends.top[4].value > 0:
        worst = max(ends.top, key=lambda e: e.residual)
        ratio = replace(worst, value=ends.top[0].value / ends.top[4].value, converged=all(e.converged for e in ends.top))
        method = "largest over fifth; worst residual of the five"
        yield _eigenvalue("sharpness.lambda_ratio_1_5", ratio, method, objective, options)
    else:
        yield Skipped(name="sharpness.lambda_ratio_1_5", reason="the fifth eigenvalue is not positive")


def _over_images(largest: Measured, leading: Outliers, bench: Workbench, objective: Objective) -> Iterator[Finding]:
    """The eigenvalue with an interval over images, by how far each moves that of half of them."""
    try:
        along = curvature_of_halves(objective, leading, seed=bench.seed_for("halves"))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        yield largest.model_copy(update={"reason": f"a layer without third derivative: {clean(str(error))}"})
        return
    found = over_examples(largest.value, along)
    method = f"{largest.method}; interval over images, from the eigenvectors of random halves of them"
    yield largest.model_copy(update={"ci": found.ci, "reason": found.reason, "method": method if found.ci else largest.method})
    yield Terms.around(largest.name, largest.value, along)


def _eigenvalue(name: str, found: Eigenvalue, method: str, objective: Objective, options: SpectrumOptions) -> Measured:
    return measured(
        name,
        Estimate(found.value, None, OF_THE_PROBE_SET),
        objective.num_examples,
        method,
        {"tolerance": options.tolerance},
        converged=found.converged,
        iterations=found.iterations,
        residual=found.residual,
    )


def _density(density: Spectrum | None, objective: Objective, options: SpectrumOptions) -> Iterator[Finding]:
    if density is None:
        for name in ("sharpness.frobenius", "sharpness.negative_mass"):
            yield Skipped(name=name, reason="not asked for: spectrum.density_starts is 0")
        return
    sampled = f"Lanczos quadrature, {options.density_starts} starts outside known eigenvectors; interval over them"
    method = "all eigenvalues" if density.whole else sampled + shortfall(options.density_steps, density.allowed)
    shared = {} if density.whole else {"starts": options.density_starts, "max_steps": options.density_steps}
    n, square, mass = objective.num_examples, density.sums["square"], negative_mass(density)
    yield from sum_and_terms("sharpness.frobenius", square, f"‖H‖_F; {method}", n, density.products, shared, np.sqrt)
    method = f"Σ_{{λ<0}}λ²/Σλ²; {method}"
    yield from sum_and_terms("sharpness.negative_mass", mass, method, n, density.products, shared, share)
    rows: list[list[Scalar]] = [[b.node, b.weight, b.low, b.high] for b in bins(density)]
    yield NamedTable("spectrum", Table(columns=["node", "weight", "low", "high"], rows=rows))


def _sums_of_ggn(bench: Workbench, objective: Objective, options: SpectrumOptions) -> Iterator[Finding]:
    if options.soft_rank_starts == 0:
        for name in ("sharpness.soft_rank", "sharpness.logdet_damped"):
            yield Skipped(name=name, reason="not asked for: spectrum.soft_rank_starts is 0")
        return
    starts, steps, tolerance = options.soft_rank_starts, options.soft_rank_steps, options.sums_tolerance
    found = soft_rank_of(bench, options.damping, starts, steps, tolerance, bench.progress(0.4, 0.9))
    n, shared = objective.num_examples, {"damping": options.damping, "parameters": objective.num_parameters}
    yield from sum_and_terms("sharpness.soft_rank", found.rank, f"Σλ/(λ+d); {found.method}", n, found.steps, shared)
    yield from sum_and_terms("sharpness.logdet_damped", found.logdet, f"Σ log(λ+d); {found.method}", n, found.steps, shared)


def _traces(bench: Workbench, objective: Objective, options: SpectrumOptions, found: HessianSpectrum) -> Iterator[Finding]:
    """Both traces, exactly where that is possible, and the layers' shares."""
    affordable, progress = PRODUCT * options.trace_probes, bench.progress(0.9, 0.95)
    ggn = ggn_trace(objective, affordable, seed=bench.seed_for("classes"), on_progress=progress)
    yield from _trace_of_ggn("sharpness.trace_ggn", ggn, "trace of the Gauss–Newton matrix", bench)
    yield _layers(ggn, objective)
    if piecewise_linear(objective):
        method = "Gauss–Newton trace, which equals the Hessian's, as the logits are piecewise linear in every weight"
        yield from _trace_of_ggn("sharpness.trace", ggn, method, bench)
    elif found.density is not None and found.density.whole:
        density = found.density
        n, total = objective.num_examples, density.sums["trace"]
        yield from sum_and_terms("sharpness.trace", total, "sum of all eigenvalues", n, density.products, {})
    else:
        yield from _sampled_trace(bench, objective, options, found)


def _trace_of_ggn(name: str, trace: GgnTrace, method: str, bench: Workbench) -> Iterator[Finding]:
    if trace.draws is None:
        estimate, how = bootstrap(trace.examples, first_mean, bench.resamples(len(trace.examples))), "exact; interval over images"
    else:
        drawn = Sampled.crossed(trace.draws)
        estimate = drawn.estimate
        how = f"from {drawn.n} classes drawn for each image, with its probabilities; interval over the draws"
    yield measured(name, replace(estimate, value=trace.value), len(trace.examples), f"{method}, {how}")
    if trace.draws is None:
        yield Terms.around(name, trace.value, trace.examples)
    else:
        yield Terms.around(name, trace.value, trace.draws, "draws and images")


def _layers(trace: GgnTrace, objective: Objective) -> NamedTable:
    """The trace of each layer's block of G, and its share of the whole."""
    sizes: Counter[str] = Counter()
    for name, leaf in zip(objective.names, objective.theta, strict=True):
        sizes[name.rpartition(".")[0]] += leaf.numel()
    total = trace.value or 1.0
    rows: list[list[Scalar]] = [[name, sizes[name], block, block / total] for name, block in trace.layers.items()]
    return NamedTable("layers", Table(columns=["layer", "parameters", "trace_ggn", "share"], rows=rows))


def _sampled_trace(bench: Workbench, objective: Objective, options: SpectrumOptions, found: HessianSpectrum) -> Iterator[Finding]:
    trace = hutchinson(
        objective.hvp,
        objective.num_parameters,
        draws=options.trace_probes,
        seed=bench.seed_for("trace"),
        known=found.space,
        device=objective.inputs.device,
        on_progress=bench.progress(0.95, 1.0),
    )
    method = f"Hutchinson, {trace.n} random sign vectors outside a known Krylov space; interval over them"
    estimate = Estimate(trace.value, trace.interval())
    yield measured("sharpness.trace", estimate, objective.num_examples, method, {"trace_probes": options.trace_probes})
    if trace.terms is not None:
        yield Terms.around("sharpness.trace", trace.value, trace.terms, "draws")
