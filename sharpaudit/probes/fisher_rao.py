"""How much does the loss react when every weight grows by the same factor?

Why it matters
    The Fisher–Rao norm measures the size of the learned function in the geometry of its own predictions. It does not move when a
    ReLU network is rescaled layer by layer without changing its function, so it can be compared between networks.

How it is computed
    ‖θ‖_fr = sqrt( (1/n) Σ_i ⟨p_i − e_{y_i}, J_i θ⟩² ), with one forward-mode derivative of the logits along θ itself: exact for
    any network. The labels are those of the data: this is the empirical Fisher. In logits. The paper's closed form, M + 1 times
    the root mean square of ⟨p, f⟩ − f_y with M the number of linear and convolutional layers, is given beside it; it is
    exact only for bias-free ReLU chains, and there its factor is one too large. Intervals are BCa over examples.

When not to trust it
    It grows with the scale of the logits, so an over-confident model reads larger. Between architectures the paper's form mostly
    compares their depths.

Sources
    Liang, Poggio, Rakhlin and Stokes 2019 (arXiv 1711.01530); Mason-Williams et al. (arXiv 2510.12451).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sharpaudit.curvature import fisher_rao as norm
from sharpaudit.probes import Finding, Need, Passes, Terms, Workbench, Workload, measured, probe
from sharpaudit.stats import Resamples, bootstrap, first_mean


@dataclass(frozen=True, kw_only=True)
class FisherRaoOptions:
    """The probe has no settings."""


def cost(workload: Workload, options: FisherRaoOptions) -> Passes:
    """The logits, and their derivative along θ through a graph of the gradient."""
    return Passes(forward=2 * workload.probe_set, backward=2 * workload.probe_set)


@probe(
    needs={Need.OBJECTIVE, Need.RESAMPLES},
    version=1,
    cost=cost,
)
def fisher_rao(bench: Workbench, options: FisherRaoOptions) -> Iterator[Finding]:
    """Yield the Fisher–Rao norm by its definition and by the paper's closed form."""
    objective = bench.objective
    resamples = bench.resamples(objective.num_examples)
    exact = norm.fisher_rao(objective)
    yield from _measured("flatness.fisher_rao", exact, "root mean square of ⟨p − e_y, Jθ⟩, by a derivative along θ", resamples)
    layers = norm.num_layers(objective.module)
    closed = norm.fisher_rao_paper(objective.logits(), objective.labels, layers)
    method = f"(M + 1) × root mean square of ⟨p, f⟩ − f_y, M = {layers} layers"
    yield from _measured("flatness.fisher_rao_paper", closed, method, resamples)


def _measured(name: str, found: norm.FisherRao, method: str, resamples: Resamples) -> Iterator[Finding]:
    estimate = bootstrap(found.squares, first_mean, resamples)
    ci = estimate.ci and estimate.ci.model_copy(
        update={"low": math.sqrt(max(0.0, estimate.ci.low)), "high": math.sqrt(estimate.ci.high)}
    )
    yield measured(name, replace(estimate, value=found.value, ci=ci), len(found.squares), method)
    yield Terms.around(name, found.value, found.squares / (2 * found.value or 1.0))
