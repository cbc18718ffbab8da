"""How much does the loss rise on average when the weights are moved at random, each by its own measure?

Why it matters
    The adaptive form moves every weight in proportion to its size, so rescaling layers without changing the function leaves it
    alone: of the sharpness that eyes see, it is what belongs to the function. The form with normalised logits leaves out how
    confident the outputs are as well.

How it is computed
    The mean of ½(L(θ + δ) + L(θ − δ)) − L(θ) over random δ: Gaussian with standard deviation ρ·c for ℓ2, uniform on [−ρc, ρc] for
    ℓ∞; c is 1, or |θ| elementwise where it says adaptive. All parameters move, BatchNorm's running statistics do not. Every loss
    is taken on the same frozen images; the draws come from seeds that do not depend on the checkpoint. Each forward pass also
    gives the loss of the logits divided by their ℓ2 norm. Intervals are Student's with the skewness of the
    draws removed, over pairs of draws; none is given where a few draws decide the mean.
    The literature's radii are, for ResNets and for vision transformers: ℓ2 0.05 to 0.4 and 0.005 to 0.04; ℓ2 adaptive 0.05 to
    0.4 and 0.1 to 0.8; ℓ∞ 0.1 to 0.8 and 0.01 to 0.08; ℓ∞ adaptive 0.1 to 0.8, four in each, doubling.

When not to trust it
    Only at one radius for all networks compared. The standard forms move with every rescaling; the adaptive ones still move with
    the scale of the outputs. At large radii they measure how a broken network guesses. In ReLU networks kinks count that no
    Hessian sees. Its authors found that none of the forms goes well with generalisation; they follow settings of training.

Sources
    Andriushchenko et al. 2023 (arXiv 2302.07011); Kwon et al. 2021 (ASAM).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.curvature.perturbations.average_case import average_case as rise
from sharpaudit.curvature.perturbations.ball import Radii
from sharpaudit.errors import UsageError
from sharpaudit.probes import Finding, Need, Passes, Workbench, Workload, probe
from sharpaudit.probes.perturbation import with_terms


@dataclass(frozen=True, kw_only=True)
class AverageCaseOptions(Radii):
    """Settings of the average-case probe."""

    l2_adaptive: tuple[float, ...] = (0.1,)
    linf_adaptive: tuple[float, ...] = (0.1,)
    draws: int = 64
    """Random perturbations for each radius, in ± pairs."""

    def __post_init__(self) -> None:
        """Validate the options."""
        self.check("average_case")
        if self.draws < 4 or self.draws % 2:
            raise UsageError(f"average_case.draws: expected an even number of at least 4, got {self.draws}")


def cost(workload: Workload, options: AverageCaseOptions) -> Passes:
    """One forward pass of the probe set per draw and one without any."""
    return Passes(forward=workload.probe_set * (options.draws + 1) * len(list(options.forms())))


@probe(needs={Need.OBJECTIVE}, version=1, cost=cost)
def average_case(bench: Workbench, options: AverageCaseOptions) -> Iterator[Finding]:
    """Yield average-case sharpness for each radius, with the logits as they are and normalised."""
    objective, forms = bench.objective, list(options.forms())
    for number, form in enumerate(forms):
        found = rise(
            objective,
            form.around(objective),
            draws=options.draws,
            seed=bench.seed_for("draws"),
            on_progress=bench.progress(number / len(forms), (number + 1) / len(forms)),
        )
        for normalised, sampled in ((False, found.plain), (True, found.normalised)):
            yield from with_terms(
                f"sharpness.average/{form.name(normalised=normalised)}",
                sampled,
                "mean ½(L(θ+δ) + L(θ−δ)) − L(θ), frozen images; n and interval over ± pairs of draws, not over images",
                {"radius": form.radius, "draws": options.draws, "examples": objective.num_examples},
                "draws and images",
            )
