"""How much worse will it do on new images than on those it was trained on, as its curvature tells?

Why it matters
    These criteria turn curvature into what it is said to predict: the generalisation gap, in nats. Where the measured gap is
    known too, they put the claim that flat minima generalise to the test.

How it is computed
    With G the Gauss–Newton matrix of the mean loss on the probe set, C the second moment of the examples' gradients, d the weight
    decay of training and N the number of training images: `estimate.tic` is Takeuchi's tr(C(G + dI)⁻¹)/N, the expected excess
    of the loss of new images over that of training images; `estimate.soft_rank_gap` is tr(G(G + dI)⁻¹)/N, the same for a model
    whose probabilities are right. N is that of the training data, or `train_examples`. TIC is exact, by dense linear algebra,
    where that costs no more than quadrature (small networks, few examples), with a BCa interval over images; else Lanczos
    quadrature from random combinations of the examples' gradients, bracketed from both sides. `method` can ask for the diagonal
    of G or for the last layer alone, and is always stated.
    `estimate.iic_gaussian_linearised` is log ‖θ‖² + (1/M) log det(DDᵀ) − log M with D the derivative of the M outputs on some
    training images: −2/M times the log evidence of the linearised network, up to a constant. Lower is better supported.

When not to trust it
    TIC assumes a minimum of the regularised loss, a quadratic loss around it and N well above the soft rank; overparametrised
    networks meet none of these. Where they interpolate, training gradients and C vanish, and TIC reads almost zero whatever the
    true gap; overconfident models need it most and satisfy it least. A damping that is not the training's changes both. The
    interpolating criterion is refused below 99.9% training accuracy, is not invariant to rescaling, and compares only networks
    of equal N and architecture.

Sources
    Takeuchi 1976; Thomas et al. 2020 (arXiv 1906.07774); Shoham, Mor-Yosef and Avron 2025 (arXiv 2506.17809); Hodgkinson et al.
    2023 (arXiv 2307.07785), in the Gaussian linearised form that follows from the marginal likelihood.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from sharpaudit.card import Interval, Measured, Skipped
from sharpaudit.curvature.gauss_newton import takeuchi
from sharpaudit.curvature.gauss_newton.explicit import BACKWARD
from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.interpolation import JITTER, affordable, interpolation
from sharpaudit.curvature.gauss_newton.soft_rank import WEIGHT_DECAY
from sharpaudit.curvature.krylov.spectrum import Sum
from sharpaudit.curvature.network.head import last_linear
from sharpaudit.curvature.objective import Objective
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Workbench, Workload, measured, probe
from sharpaudit.stats import Estimate, Resamples, bootstrap, first_mean
from sharpaudit.workbench.sums import ALL_KNOWN, gauss_newton_of, soft_rank_of

INTERPOLATES = 0.999
"""Training accuracy from which a network counts as fitting the training data."""

WORDS = {
    "auto": "exact, dense linear algebra",
    "exact": "exact, dense linear algebra",
    "diagonal": "diagonal of G alone",
    "last_layer": "exact for the last layer alone",
}


@dataclass(frozen=True, kw_only=True)
class InformationOptions:
    """Settings of the information probe."""

    damping: float = WEIGHT_DECAY
    """d: the weight decay of training."""
    train_examples: int = 0
    """N: images the network was trained on; 0 takes those of the training data."""
    method: Literal["auto", "exact", "quadrature", "diagonal", "last_layer"] = "auto"
    """How TIC is computed; auto is exact where that costs no more than quadrature."""
    soft_rank_starts: int = 4
    """Random starts of each quadrature."""
    soft_rank_steps: int = 40
    """Most Gauss–Newton products of each start."""
    sums_tolerance: float = 0.05
    """Relative error of too few steps at which a quadrature counts as converged."""
    iic_examples: int = 100
    """Most training images for the interpolating criterion."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not 0 < self.damping < float("inf"):
            raise UsageError(f"information.damping: expected a positive number, got {self.damping}")
        if self.train_examples < 0 or self.iic_examples < 1:
            raise UsageError("information: expected train_examples of at least 0 and iic_examples of at least 1")
        if self.soft_rank_starts < 2 or self.soft_rank_steps < 2:
            raise UsageError("information: expected at least 2 soft_rank_starts and soft_rank_steps")
        if not 0 < self.sums_tolerance < 1:
            raise UsageError(f"information.sums_tolerance: expected a number between 0 and 1, got {self.sums_tolerance}")


def cost(workload: Workload, options: InformationOptions) -> Passes:
    """At most, and less where the spectrum probe has run: all of G or two quadratures, and the rows of the diagonal and of IIC.

    A row costs as much as `BACKWARD` forward passes.
    """
    products = options.soft_rank_starts * options.soft_rank_steps
    whole = workload.whole_ggn
    of_tic = {"auto": 0 if whole <= products else products, "quadrature": products, "exact": whole if isfinite(whole) else 0}
    by_rows = BACKWARD // 2 * workload.classes
    rows = workload.probe_set if options.method == "diagonal" else 0
    rows += min(options.iic_examples, workload.probe_set)
    return Passes(
        forward=5 * workload.probe_set,
        backward=workload.probe_set * (2 + options.soft_rank_starts) + rows * by_rows,
        ggn=round(workload.probe_set * (min(products, whole) + of_tic.get(options.method, 0))),
    )


@probe(
    needs={Need.OBJECTIVE, Need.TRAIN, Need.RESAMPLES},
    version=2,
    cost=cost,
)
def information(bench: Workbench, options: InformationOptions) -> Iterator[Finding]:
    """Yield Takeuchi's criterion, its value for a calibrated model, and the interpolating information criterion."""
    objective, train = bench.objective, bench.train_predictions
    resamples = bench.resamples(objective.num_examples)
    n = options.train_examples or (len(train) if train is not None else 0)
    if n == 0:
        for name in ("estimate.tic", "estimate.soft_rank_gap"):
            reason = "the number of training images is unknown: give training data or information.train_examples"
            yield Skipped(name=name, reason=reason)
    else:
        yield _takeuchi(bench, objective, options, n, resamples)
        yield _soft_rank_gap(bench, objective, options, n)
    yield _interpolation(bench, objective, options, None if train is None else float(train.correct.mean()))


def _takeuchi(
    bench: Workbench, objective: Objective, options: InformationOptions, n: int, resamples: Resamples
) -> Measured | Skipped:
    progress = bench.progress(0.0, 0.4)
    whole = None
    if options.method in ("auto", "exact"):
        products = options.soft_rank_starts * options.soft_rank_steps if options.method == "auto" else sys.maxsize
        whole = gauss_newton_of(bench, products, progress)
    if options.method == "exact" and whole is None:
        return Skipped(name="estimate.tic", reason="the Gauss–Newton matrix of this network and probe set takes too much memory")
    if options.method == "quadrature" or (options.method == "auto" and whole is None):
        found = takeuchi.quadrature(
            objective,
            options.damping,
            starts=options.soft_rank_starts,
            max_steps=options.soft_rank_steps,
            tolerance=options.sums_tolerance,
            seed=bench.seed_for("gradients"),
            on_progress=progress,
        )
        words = f"{options.soft_rank_starts} random combinations of gradients; interval over them and bracket of the steps"
        return _gap("estimate.tic", found, f"tr(C(G+dI)⁻¹)/N by Lanczos quadrature, {words}", objective, options, n)
    if options.method == "last_layer":
        head = last_linear(objective.module, objective.inputs[:1])
        if head is None:
            return Skipped(name="estimate.tic", reason="the network does not end in a linear layer")
        whole = Plan(objective, objective.leaves(head.parameters())).run(progress)
    norms = whole.damped_norms(options.damping) if whole else takeuchi.diagonal_norms(objective, options.damping, progress)
    estimate = bootstrap(norms / n, first_mean, resamples)
    return measured(
        "estimate.tic",
        estimate,
        objective.num_examples,
        f"tr(C(G+dI)⁻¹)/N, {WORDS[options.method]}; interval over images with G held fixed",
        {"damping": options.damping, "train_examples": n},
    )


def _soft_rank_gap(bench: Workbench, objective: Objective, options: InformationOptions, n: int) -> Measured:
    found = soft_rank_of(
        bench,
        options.damping,
        options.soft_rank_starts,
        options.soft_rank_steps,
        options.sums_tolerance,
        bench.progress(0.4, 0.8),
    )
    return _gap("estimate.soft_rank_gap", found.rank, f"soft rank of G over N; {found.method}", objective, options, n)


def _gap(name: str, found: Sum, method: str, objective: Objective, options: InformationOptions, n: int) -> Measured:
    """A sum over the spectrum, divided by the number of training images."""
    ends = found.interval
    ci = Interval(low=max(0.0, ends.low) / n, high=ends.high / n, level=ends.level, method=ends.method) if ends else None
    return measured(
        name,
        Estimate(found.sampled.value / n, ci, found.sampled.reason or ALL_KNOWN),
        objective.num_examples,
        method,
        {"damping": options.damping, "train_examples": n},
        converged=found.converged,
        residual=found.relative_error,
    )


def _interpolation(
    bench: Workbench, objective: Objective, options: InformationOptions, accuracy: float | None
) -> Measured | Skipped:
    name = "estimate.iic_gaussian_linearised"
    if accuracy is None:
        return Skipped(name=name, reason="it speaks of training images, and there are none: give training data")
    if accuracy < INTERPOLATES:
        reason = f"the network does not fit its training data: {accuracy:.2%} right, {INTERPOLATES:.1%} are needed"
        return Skipped(name=name, reason=reason)
    chosen = objective.variant(slice(None, None, -(-objective.num_examples // options.iic_examples)))
    if not affordable(chosen):
        return Skipped(name=name, reason=f"the derivative of the outputs on {chosen.num_examples} images takes too much memory")
    found = interpolation(chosen, bench.progress(0.8, 1.0))
    return measured(
        name,
        Estimate(found.value, None, "one network's evidence; nothing is sampled"),
        chosen.num_examples,
        f"log ‖θ‖² + (1/M) log det(DDᵀ) − log M, M = {found.num_outputs} outputs; converged: jitter does not decide",
        {"jitter": JITTER, "condition": found.condition},
        converged=found.condition < 0.1 / JITTER,
    )
