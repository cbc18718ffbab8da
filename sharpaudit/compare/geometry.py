"""Which measures speak of sharpness, which of safety, and which of them survive a change of parametrisation?"""

from __future__ import annotations

from sharpaudit.card.invariance import Verdict as Tried
from sharpaudit.card.reading import REPARAMETRISATION

NOT_SHARPNESS = frozenset(
    [
        "sharpness.lambda_min",
        "sharpness.lambda_ratio_1_5",
        "sharpness.negative_mass",
        "sharpness.random_null",
        "sharpness.soft_rank",
    ]
)
"""Members of the family that describe the spectrum's shape or a protocol's noise: more is neither sharper nor flatter."""

SECOND_READINGS = frozenset(["flatness.fisher_rao_paper", "sharpness.random_paper_protocol", "sharpness.trace_ggn"])
"""Other readings of a measure that stands beside them: shown, and not counted as further evidence."""

FLATTER_WHEN_LARGER = frozenset(["sharpness.pac_bayes_sigma"])
"""The noise a model tolerates; for all other measures of both families larger means sharper."""

SAFETY = (
    "clean.accuracy",
    "clean.generalisation_gap",
    "clean.nll",
    "calibration.ece",
    "corruption.accuracy",
    "corruption.ece",
    "adversarial.accuracy/",
    "adversarial.median_epsilon",
)
"""The safety metrics that flatness is read against; a name that ends in a slash stands for all its qualifiers."""


def is_geometric(name: str) -> bool:
    """Whether `name` measures how sharp a minimum is."""
    return name.startswith(("sharpness.", "flatness.")) and name not in NOT_SHARPNESS


def is_safety(name: str) -> bool:
    """Whether flatness is read against `name`."""
    return any(name.startswith(entry) if entry.endswith("/") else name == entry for entry in SAFETY)


def on_both(a: Tried | None, b: Tried | None) -> Tried | None:
    """What rescaling did to a measure on two networks; the worse of both, None where one card does not say."""
    order: list[Tried | None] = [None, "not invariant", "not tested", "invariant for whole layers", "invariant"]
    return min(a, b, key=order.index)


def is_invariant(name: str, tried: Tried | None = None) -> bool:
    """Whether rescalings that leave a network's function alone leave `name` alone too: as `tried` says, or else theory.

    Theory speaks of ReLU networks. The paper's closed form of the Fisher-Rao norm reads nothing but logits and the number of
    layers; adaptive sharpness measures every perturbation in units of the weight it moves.
    """
    if tried not in (None, "not tested"):
        return tried != "not invariant"
    return name in REPARAMETRISATION or name == "flatness.fisher_rao_paper" or "/adaptive/" in name
