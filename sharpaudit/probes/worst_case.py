"""How much can the loss rise when the weights are moved in the worst direction?

Why it matters
    It is what sharpness-aware training lowers, and the meaning of "sharp" that bounds every other within a radius. The adaptive
    form survives rescaling layers without changing the function.

How it is computed
    The probe set is dealt into groups of at most `group` images, all of nearly one size; for each the largest rise of its mean
    loss over ‖δ/c‖ ≤ ρ is searched, and the rises are averaged, every image counting once. c is 1, or |θ| elementwise where it
    says adaptive. All parameters move, BatchNorm's running statistics do not. Three searches by Auto-PGD of `iterations` steps
    each: one with long steps, one with short ones, one from the better of the two. `residual` is the share of the rise that
    only the last one found; `converged` says it was at most 5%. Intervals are Student's over groups, or over images for the
    perturbation found where there is a single group.
    The literature's radii are, for ResNets and for vision transformers: ℓ2 0.25 to 2 and 0.025 to 0.2; ℓ2 adaptive 0.25 to 2 and
    0.5 to 4; ℓ∞ 0.0005 to 0.004 and 0.00001 to 0.00008; ℓ∞ adaptive 0.001 to 0.008 and 0.0005 to 0.004, four in each, doubling.

When not to trust it
    It is a lower bound: a better search may find more, all the more at large radii, where the loss has many summits. Smaller
    groups give larger numbers, so compare only at one group size and one number of images. The standard forms move with every
    rescaling, and the adaptive ones with the scale of the outputs, unless logits are normalised.

Sources
    Foret et al. 2021 (SAM); Kwon et al. 2021 (ASAM); Andriushchenko et al. 2023 (arXiv 2302.07011); Croce and Hein 2020.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.card import Measured
from sharpaudit.curvature.perturbations.average_case import unit_logits
from sharpaudit.curvature.perturbations.ball import Radii
from sharpaudit.curvature.perturbations.worst_case import GROUP, ITERATIONS, SEARCHES, WorstCase
from sharpaudit.curvature.perturbations.worst_case import worst_case as search
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Terms, Workbench, Workload, measured, probe


@dataclass(frozen=True, kw_only=True)
class WorstCaseOptions(Radii):
    """Settings of the worst-case probe."""

    l2_adaptive: tuple[float, ...] = (0.5,)
    linf_adaptive: tuple[float, ...] = (0.002,)
    normalised: bool = False
    """Whether each radius is searched again with logits of length 1, at the same cost."""
    group: int = GROUP
    """Most images that share one perturbation; the value depends on it."""
    iterations: int = ITERATIONS
    """Steps of each of the three searches."""

    def __post_init__(self) -> None:
        """Validate the options."""
        self.check("worst_case")
        if self.group < 1 or self.iterations < 1:
            raise UsageError("worst_case: expected a group of at least 1 image and at least 1 iteration")


def cost(workload: Workload, options: WorstCaseOptions) -> Passes:
    """Losses and gradient once a step and at the start of each search, and the losses before and after."""
    searches = len(list(options.forms())) * (1 + options.normalised)
    calls = SEARCHES * (options.iterations + 1)
    return Passes(forward=workload.probe_set * searches * (calls + 2), backward=workload.probe_set * searches * calls)


@probe(needs={Need.OBJECTIVE}, version=1, cost=cost)
def worst_case(bench: Workbench, options: WorstCaseOptions) -> Iterator[Finding]:
    """Yield worst-case sharpness for each radius, and again with normalised logits if asked for."""
    objective = bench.objective
    cases = [(form, normalised) for form in options.forms() for normalised in (False, True)[: 1 + options.normalised]]
    for number, (form, normalised) in enumerate(cases):
        found = search(
            objective.variant(readout=unit_logits if normalised else None),
            form.around(objective),
            group=options.group,
            iterations=options.iterations,
            seed=bench.seed_for("start"),
            on_progress=bench.progress(number / len(cases), (number + 1) / len(cases)),
        )
        settings = {"radius": form.radius, "group": options.group, "groups": found.groups, "examples": objective.num_examples}
        over = "groups" if found.groups > 1 else "images, for the perturbation found"
        method = f"largest rise of the loss found in the ball by Auto-PGD, mean over groups; n and interval over {over}"
        name = f"sharpness.worst/{form.name(normalised=normalised)}"
        yield with_search(measured(name, found.rise.estimate, found.rise.n, method, settings), found, options.iterations)
        yield Terms.around(name, found.rise.value, found.terms)


def with_search(value: Measured, found: WorstCase, iterations: int) -> Measured:
    """`value` with how its search ended."""
    return value.model_copy(
        update={"converged": found.converged, "iterations": SEARCHES * iterations, "residual": found.residual}
    )
