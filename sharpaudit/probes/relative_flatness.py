"""How curved is the loss in the last layer, in units of that layer's own weights?

Why it matters
    Relative flatness multiplies curvature by the squared weights it acts on, so that trading scale between layers leaves it
    alone. It comes with a generalisation bound for locally constant labels.

How it is computed
    κ_Tr = Σ_{s,t} ⟨w_s, w_t⟩ Tr H_{st} over the rows w of the last linear layer. For cross-entropy this is exactly the mean over
    examples of ‖φ‖² Var_{k∼p}(w_k), with φ the features the layer sees: one forward pass, no Hessian, no labels. The normalised
    variant measures every feature in units of its standard deviation over the probe set. κ_λ sums ‖w_s‖² λ_max(H_{ss}).
    Values are per-example means; the published code sums over batches, which multiplies by their number.
    Larger means sharper. Intervals are BCa over examples.

When not to trust it
    Plain κ moves when single features are rescaled; the normalised one does not. Where the last layer follows a residual sum or
    an average, rescaling arguments reach only as far as that layer. Networks that do not end in a linear layer have none.

Sources
    Petzka, Kamp, Adilova, Sminchisescu and Boley 2021 (arXiv 2001.00939); Mason-Williams et al. (arXiv 2510.12451).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.curvature.relative_flatness import normalised, normalised_influence, relative_lambda, relative_trace
from sharpaudit.probes import Finding, Need, Terms, Workbench, measured, probe
from sharpaudit.stats import Estimate, bootstrap, first_mean


@dataclass(frozen=True, kw_only=True)
class RelativeFlatnessOptions:
    """The probe has no settings."""


@probe(
    needs={Need.FEATURES, Need.RESAMPLES},
    version=1,
)
def relative_flatness(bench: Workbench, options: RelativeFlatnessOptions) -> Iterator[Finding]:
    """Yield κ_Tr plain and normalised, and κ_λ."""
    seen = bench.features
    resamples = bench.resamples(len(seen.values))
    features, weight = normalised(seen.values, seen.weight)
    plain = relative_trace(seen.values, seen.probabilities, seen.weight)
    variants = [
        ("flatness.relative_trace", plain, plain, "mean of ‖φ‖² Var_p(w)"),
        (
            "flatness.relative_trace_normalised",
            relative_trace(features, seen.probabilities, weight),
            normalised_influence(seen.values, seen.probabilities, seen.weight),
            "mean of ‖φ/σ‖² Var_p(σw); σ, the features' standard deviations, held fixed in the interval",
        ),
    ]
    for name, contributions, influence, method in variants:
        estimate = bootstrap(contributions, first_mean, resamples)
        yield measured(name, estimate, len(contributions), method)
        yield Terms.around(name, estimate.value, influence)
    along = relative_lambda(seen.values, seen.probabilities, seen.weight)
    mean = Estimate(float(along.mean()), None, "a sum of largest eigenvalues, which resampling biases upward")
    yield measured("flatness.relative_lambda", mean, len(seen.values), "Σ_s ‖w_s‖² λ_max(H_ss), dense eigenvalues")
    yield Terms.around("flatness.relative_lambda", float(along.mean()), along)
