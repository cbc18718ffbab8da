"""How much does the loss move when the weights are moved a little?

Why it matters
    It is what "sharp" means to the eye, and the measure that the main paper reports.

How it is computed
    Every loss is taken on the same frozen images in evaluation mode. `sharpness.random` is the paper's measure, the mean of
    |L(θ + ε) − L(θ)|/ρ over Gaussian ε with E‖ε‖² = ρ², drawn as ±ε pairs from seeds that do not depend on the checkpoint.
    `sharpness.random_antithetic` is ½(L(θ + ε) + L(θ − ε)) − L(θ) from the same passes: the gradient cancels, and what remains
    estimates ½ρ²·tr(H)/P where the loss is smooth. `sharpness.random_paper_protocol` repeats the published procedure, with a
    shuffled loader, means of batch means and perturbed BatchNorm statistics; `sharpness.random_null` is that procedure's
    reading with no perturbation at all, the part of it that is not sharpness. `sharpness.sam` is the rise after one normalised
    ascent step. Intervals are Student's with the skewness of the draws removed, over pairs of
    draws, or over examples for the ascent step.

When not to trust it
    At small radius `sharpness.random` is about sqrt(2/π)‖∇L‖/√P: a gradient meter, larger for models that have converged less.
    All of these change when layers are rescaled without changing the function. In ReLU networks the antithetic form also sees
    kinks that no Hessian has.

Sources
    Mason-Williams et al. (arXiv 2510.12451) and its released code; Foret et al. 2021 (SAM).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sharpaudit.card import Measured, Scalar, Skipped
from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.perturbations.perturbation import paper_protocol, random_sharpness, sam_sharpness
from sharpaudit.errors import UsageError
from sharpaudit.metrics.terms import Over
from sharpaudit.probes import Finding, Need, Passes, Terms, Workbench, Workload, measured, probe


@dataclass(frozen=True, kw_only=True)
class PerturbationOptions:
    """Settings of the perturbation probe."""

    radius: float = 0.005
    """ρ of the random perturbations: the root mean square of their length."""
    draws: int = 100
    """Random perturbations, in ± pairs."""
    paper_draws: int = 20
    """Random perturbations for the published protocol, which shares no forward pass with the frozen one."""
    paper_batch: int = 256
    """Batch size of the published protocol; its value depends on it."""
    sam_radius: float = 0.05
    """ρ of the ascent step."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.draws < 4 or self.draws % 2:
            raise UsageError(f"perturbation.draws: expected an even number of at least 4, got {self.draws}")
        if self.paper_draws < 2 or self.paper_batch < 1:
            raise UsageError("perturbation: expected paper_draws of at least 2 and paper_batch of at least 1")
        if not (0 < self.radius < float("inf") and 0 < self.sam_radius < float("inf")):
            raise UsageError("perturbation: expected positive radii")


def cost(workload: Workload, options: PerturbationOptions) -> Passes:
    """One forward pass of the probe set per draw, one gradient, and the unperturbed losses."""
    return Passes(
        forward=workload.probe_set * (options.draws + options.paper_draws + 5),
        backward=workload.probe_set,
    )


@probe(
    needs={Need.OBJECTIVE},
    version=1,
    cost=cost,
)
def perturbation(bench: Workbench, options: PerturbationOptions) -> Iterator[Finding]:
    """Yield random sharpness in its frozen, antithetic and published forms, the null reading, and one-step SAM sharpness."""
    objective = bench.objective
    frozen = random_sharpness(
        objective, radius=options.radius, draws=options.draws, seed=bench.seed_for("random"), on_progress=bench.progress(0.0, 0.8)
    )
    shared = {"radius": options.radius, "draws": options.draws, "examples": objective.num_examples}
    yield from _over_draws("sharpness.random", frozen.absolute, "mean |L(θ+ε) − L(θ)|/ρ, frozen images, ±ε pairs", shared)
    if frozen.resolved:
        method = "mean ½(L(θ+ε) + L(θ−ε)) − L(θ), frozen images"
        # unpaired: of near copies the second difference is made by the one image in hundreds that meets a kink of a ReLU
        yield from _over_draws("sharpness.random_antithetic", replace(frozen.antithetic, terms=None), method, shared)
    else:
        yield Skipped(
            name="sharpness.random_antithetic",
            reason=f"{frozen.antithetic.value:.1e} nats cannot be distinguished from rounding, of which three standard "
            f"deviations are {frozen.resolution:.1e} nats: use float64 or a larger radius",
        )
    published = paper_protocol(
        objective,
        radius=options.radius,
        draws=options.paper_draws,
        seed=bench.seed_for("paper protocol"),
        batch_size=options.paper_batch,
        on_progress=bench.progress(0.8, 1.0),
    )
    if published.null.standard_error:
        shuffled = "one shuffled pass is the reference of all draws, which makes them no independent readings"
        published = replace(
            published,
            sharpness=published.sharpness and replace(published.sharpness, reason=shuffled),
            null=replace(published.null, reason=shuffled),
        )
    shared = {
        "radius": options.radius,
        "draws": options.paper_draws,
        "batch": options.paper_batch,
        "examples": objective.num_examples,
    }
    lost = f"; {published.undefined} draws with an undefined loss left out" if published.undefined else ""
    if published.sharpness:
        yield from _over_draws(
            "sharpness.random_paper_protocol",
            published.sharpness,
            f"published procedure: shuffled batches, mean of batch means, BatchNorm statistics perturbed too{lost}",
            shared,
            "draws",
        )
    else:
        reason = (
            f"the loss is undefined in {published.undefined} of {options.paper_draws} draws: a running variance turned negative"
        )
        yield Skipped(name="sharpness.random_paper_protocol", reason=reason)
    method = "the published procedure with nothing perturbed"
    yield from _over_draws("sharpness.random_null", published.null, method, shared, "draws")
    if objective.num_examples < 2:
        yield Skipped(name="sharpness.sam", reason="of a single example there is no interval over examples")
        return
    yield from with_terms(
        "sharpness.sam",
        sam_sharpness(objective, radius=options.sam_radius),
        "L(θ + ρg/‖g‖) − L(θ), interval over examples for this direction",
        {"radius": options.sam_radius, "examples": objective.num_examples},
        "images",
    )


def _over_draws(
    name: str, found: Sampled, method: str, options: Mapping[str, Scalar], over: Over = "draws and images"
) -> Iterator[Finding]:
    return with_terms(name, found, f"{method}; n and interval over draws, not over images", options, over)


def with_terms(name: str, found: Sampled, method: str, options: Mapping[str, Scalar], over: Over) -> Iterator[Measured | Terms]:
    """The measurement of a mean over whatever `method` says, and the terms that it is the mean of."""
    yield measured(name, found.estimate, found.n, method, options)
    if found.terms is not None:
        yield Terms.around(name, found.value, found.terms, over)
