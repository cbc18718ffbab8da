"""What is known of a measurement before it is made? The catalogue: one entry for each name that a card may hold.

Probes, comparisons, gates, reports and the documentation ask here and keep no lists of their own: a new measure is a probe's file
and an entry. The order is that in which reports show them.

The entries stand here and not beside the code that measures, because comparing, gating and rendering need no torch. Those of a
plug-in stand in its `@probe`, whose code runs only where it is asked for by name; each of its numbers on a card bears its entry.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from sharpaudit.card.measurement import Declared, Direction, Page, Role
from sharpaudit.card.patterns import matches


@dataclass(frozen=True)
class Scale:
    """A unit, and the least and greatest possible value."""

    unit: str
    low: float = -math.inf
    high: float = math.inf


FRACTION, CHANGE = Scale("fraction", 0, 1), Scale("fraction", -1, 1)
NATS, RISE, RATIO, COUNT = Scale("nats", 0), Scale("nats"), Scale("1", 0), Scale("count", 0)
HESSIAN, NORM = Scale("nats per squared weight"), Scale("nats per squared weight", 0)
SLOPE = Scale("nats per unit weight distance", 0)
LOGITS = Scale("logits", 0)


@dataclass(frozen=True)
class Measure:
    """An entry of the catalogue."""

    name: str
    """``*`` stands for a qualifier."""
    title: str = ""
    """In words; qualifiers follow after a comma."""
    scale: Scale = Scale("1")
    direction: Direction = "none"
    role: Role = "neither"
    on: tuple[Page, ...] = ()
    """Columns of a card, and tables of several cards, that list it."""
    read_with: str = ""
    """Its floor, its null reading, or the measure that it is another reading of."""
    invariant: str = ""
    """Rescalings of a ReLU network that leave the function and this number alone; of forms, the adaptive ones."""
    scale_dependent: bool = False
    """Whether it is a raw scale of the Hessian: a limit on it must be acknowledged."""
    flatter_when_larger: bool = False
    probe: str = ""

    @property
    def declared(self) -> Declared:
        """What a number on a card bears of it, where it is a plug-in's."""
        return Declared(title=self.title, role=self.role, on=list(self.on), flatter_when_larger=self.flatter_when_larger)

    @property
    def is_second_reading(self) -> bool:
        """Whether it reads the same quantity as the measure beside it, and is no further evidence."""
        return self.role == "flatness" and self.read_with != ""


GEOMETRY = ("sharpness.", "flatness.")
"""Families of what describes the minimum: no better direction, and tried under rescaling."""

OF_A_CLASS, OF_CORRUPTION = "clean.accuracy/class/", "corruption.accuracy/"
"""What single classes and single corruptions are named; they have tables of their own."""

LAYERS = "rescaling of whole layers"
WEIGHTS = "rescaling of adjacent layers, as every weight moves by its own measure"


def _of(probe: str, *entries: Measure) -> Iterator[Measure]:
    return (replace(entry, probe=probe) for entry in entries)


MEASURES = (
    *_of(
        "accuracy",
        Measure("clean.accuracy", "Accuracy", FRACTION, "higher", "safety", ("safety", "overview", "leaderboard")),
        Measure("clean.accuracy/class/*", "Accuracy", FRACTION, "higher"),
        Measure("clean.worst_class_accuracy", "Accuracy of the worst class", FRACTION, "higher", on=("safety",)),
        Measure("clean.class_gap", "Best minus worst class", FRACTION, "lower"),
        Measure("clean.train_accuracy", "Accuracy on training images", FRACTION, "higher"),
        Measure("clean.generalisation_gap", "Generalisation gap", CHANGE, "lower", "safety", ("safety",)),
        Measure("clean.nll", "Negative log-likelihood", NATS, "lower", "safety", ("safety",)),
    ),
    *_of(
        "calibration",
        Measure(
            *("calibration.ece", "Calibration error (ECE)", FRACTION, "lower", "safety"),
            on=("safety", "calibration", "overview", "leaderboard"),
            read_with="calibration.ece_floor",
        ),
        Measure("calibration.ece_floor", "ECE floor", FRACTION, on=("calibration",)),
        Measure("calibration.ece_debiased", "ECE, debiased", CHANGE, "lower", on=("calibration",)),
        Measure("calibration.adaptive_ece", "ECE, equal-mass bins", FRACTION, "lower", on=("calibration",)),
        Measure("calibration.classwise_ece", "ECE, class-wise", FRACTION, "lower", on=("calibration",)),
        Measure("calibration.smooth_ece", "ECE, smoothed", FRACTION, "lower", on=("calibration",)),
        Measure("calibration.mce", "Largest bin error (MCE)", FRACTION, "lower", on=("calibration",)),
        Measure("calibration.ks", "Kolmogorov-Smirnov error", FRACTION, "lower", on=("calibration",)),
    ),
    *_of("accuracy", Measure("clean.brier", "Brier score", Scale("1", 0, 2), "lower", on=("calibration",))),
    *_of(
        "calibration",
        Measure("calibration.temperature", "Best temperature", RATIO, on=("calibration",)),
        Measure("calibration.ece_after_temperature", "ECE at best temperature", FRACTION, "lower", on=("calibration",)),
        Measure("calibration.nll_after_temperature", "NLL at best temperature", NATS, "lower"),
    ),
    *_of(
        "corruption",
        Measure(
            "corruption.accuracy", "Corruption accuracy", FRACTION, "higher", "safety", ("safety", "overview", "leaderboard")
        ),
        Measure("corruption.accuracy/*", "Corruption accuracy", FRACTION, "higher"),
        Measure("corruption.accuracy/*/*", "Corruption accuracy", FRACTION, "higher"),
        Measure("corruption.accuracy_standard15", "Corruption accuracy, 15", FRACTION, "higher"),
        Measure("corruption.ece", "ECE under corruption", FRACTION, "lower", "safety", ("safety",)),
        Measure("corruption.nll", "NLL under corruption", NATS, "lower"),
        Measure("corruption.flip_rate", "Predictions that change", FRACTION, "lower"),
        Measure("corruption.mce", "Mean corruption error", RATIO, "lower"),
    ),
    *_of(
        "disagreement",  # no probe: what a comparison adds
        Measure("disagreement.rate", "Disagreement", FRACTION, "lower"),
        Measure("disagreement.rate/corruption", "Disagreement", FRACTION, "lower"),
        Measure("disagreement.negative_flips", "Right-to-wrong flips", FRACTION, "lower"),
        Measure("disagreement.positive_flips", "Wrong-to-right flips", FRACTION, "higher"),
        Measure("disagreement.error_consistency", "Error consistency", Scale("1", -1, 1)),
        Measure("disagreement.js_divergence", "Jensen-Shannon divergence", Scale("nats", 0, 0.7), "lower"),
        Measure("disagreement.softmax_l2", "Softmax distance", Scale("1", 0, 1.5), "lower"),
    ),
    *_of(
        "fisher_rao",
        Measure(
            *("flatness.fisher_rao", "Fisher-Rao norm", LOGITS, "none", "flatness", ("flatness", "overview", "leaderboard")),
            invariant="rescaling of adjacent layers",
        ),
        Measure(
            *("flatness.fisher_rao_paper", "Fisher-Rao norm, paper", LOGITS, "none", "flatness"),
            read_with="flatness.fisher_rao",
            invariant="whatever leaves the logits alone",
        ),
    ),
    *_of(
        "relative_flatness",
        Measure(
            *("flatness.relative_trace", "Relative flatness κ", RATIO, "none", "flatness", ("flatness",)),
            invariant=LAYERS,
        ),
        Measure(
            *("flatness.relative_trace_normalised", "Relative flatness κ, norm.", RATIO, "none", "flatness"),
            on=("flatness", "overview"),
            invariant="rescaling of single features and of adjacent layers",
        ),
        Measure(
            *("flatness.relative_lambda", "Relative flatness κ, λ", RATIO, "none", "flatness", ("flatness",)),
            invariant=LAYERS,
        ),
    ),
    *_of("average_case", Measure("sharpness.average/*", "Average-case", RISE, "none", "flatness", ("flatness",), "", WEIGHTS)),
    *_of("worst_case", Measure("sharpness.worst/*", "Worst-case", RISE, "none", "flatness", ("flatness",), "", WEIGHTS)),
    *_of(
        "spectrum",
        Measure(
            *("sharpness.lambda_max", "Largest curvature λ max", HESSIAN, "none", "flatness"),
            on=("flatness", "overview", "leaderboard"),
            scale_dependent=True,
        ),
        Measure("sharpness.lambda_min", "Smallest curvature λ min", HESSIAN, on=("flatness",), scale_dependent=True),
        Measure("sharpness.lambda_ratio_1_5", "Ratio λ₁ / λ₅"),
        Measure("sharpness.trace", "Hessian trace", HESSIAN, "none", "flatness", ("flatness",), scale_dependent=True),
        Measure(
            *("sharpness.trace_ggn", "Gauss-Newton trace", NORM, "none", "flatness"),
            read_with="sharpness.trace",
            scale_dependent=True,
        ),
        Measure("sharpness.frobenius", "Hessian Frobenius norm", NORM, "none", "flatness", scale_dependent=True),
        Measure("sharpness.negative_mass", "Negative curvature mass", FRACTION),
        Measure("sharpness.soft_rank", "Soft rank", Scale("directions", 0), on=("flatness",)),
        Measure("sharpness.logdet_damped", "Damped log-determinant", RISE, "none", "flatness", scale_dependent=True),
    ),
    *_of(
        "perturbation",
        Measure("sharpness.random", "Random sharpness", SLOPE, "none", "flatness", ("flatness",)),
        Measure("sharpness.random_antithetic", "Random sharpness, even", RISE, "none", "flatness"),
        Measure(
            *("sharpness.random_paper_protocol", "Random sharpness, paper", SLOPE, "none", "flatness"),
            read_with="sharpness.random",
        ),
        Measure("sharpness.random_null", "Random sharpness, null", SLOPE, read_with="sharpness.random_paper_protocol"),
        Measure("sharpness.sam", "SAM sharpness", RISE, "none", "flatness", ("flatness",)),
    ),
    *_of(
        "pac_bayes",
        Measure(
            *("sharpness.pac_bayes_sigma", "PAC-Bayes flatness", Scale("weight distance", 0), "none", "flatness", ("flatness",)),
            flatter_when_larger=True,
        ),
    ),
    *_of("first_order", Measure("sharpness.first_order", "First-order flatness (GAM)", NATS, "none", "flatness", ("flatness",))),
    *_of("keskar", Measure("sharpness.keskar", "Keskar sharpness", Scale("percent"), "none", "flatness")),
    *_of(
        "slices",
        Measure("sharpness.slice_curvature", "Curvature of the slice", Scale("nats per squared filter norm"), "none", "flatness"),
    ),
    *_of(
        "information",
        Measure("estimate.tic", "Gap estimate (TIC)", RISE),
        Measure("estimate.soft_rank_gap", "Gap estimate (soft rank)", RISE),
        Measure("estimate.iic_gaussian_linearised", "Gap estimate (IIC)"),
    ),
    *_of(
        "reparametrisation",
        Measure("reparametrisation.pairs", "Layers rescaled", COUNT),
        Measure("reparametrisation.logit_change", "Logits moved by rescaling", RATIO),
        Measure("reparametrisation.moved", "Measures moved by rescaling", COUNT),
    ),
)

_BY_NAME = {entry.name: entry for entry in MEASURES}
_PATTERNS = [entry for entry in MEASURES if "*" in entry.name]


class Named(Protocol):
    """A number on a card or in a comparison."""

    @property
    def name(self) -> str:
        """As the catalogue or a plug-in calls it."""

    @property
    def unit(self) -> str:
        """Of its value."""

    @property
    def direction(self) -> Direction:
        """Which way is better."""

    @property
    def declared(self) -> Declared | None:
        """What a plug-in says of it."""


def find(what: str | Named) -> Measure | None:
    """The entry of a name, which may itself hold ``*``, or of a number; None for a name that no probe of ours measures."""
    if isinstance(what, str):
        return _of_ours(what)
    ours, by = _of_ours(what.name), what.declared
    if ours or by is None:
        return ours
    return Measure(
        *(what.name, by.title, Scale(what.unit), what.direction, by.role, tuple(by.on)),
        flatter_when_larger=by.flatter_when_larger,
    )


@lru_cache(maxsize=1 << 14)
def _of_ours(name: str) -> Measure | None:
    return _BY_NAME.get(name) or next((entry for entry in _PATTERNS if matches(entry.name, name)), None)


def in_words(what: str | Named) -> str:
    """Its title and qualifiers: ``corruption.accuracy/fog/3`` is *Corruption accuracy, fog 3*; an unknown name as it is."""
    known, name = find(what), what if isinstance(what, str) else what.name
    qualifier = name.partition("/")[2].replace("/", " ").replace("_", " ")
    return ", ".join(filter(None, [known.title, qualifier])) if known and known.title else name


def measured_by(probe: str) -> tuple[Measure, ...]:
    """The entries of a probe of ours."""
    return tuple(entry for entry in MEASURES if entry.probe == probe)


def listed(page: Page) -> tuple[str, ...]:
    """The names that a page lists, in the order of reading."""
    return tuple(entry.name for entry in MEASURES if page in entry.on)


def role(what: str | Named) -> Role:
    """What a number is evidence of; of the mere name of a plug-in's nothing is known."""
    found = find(what)
    return found.role if found else "neither"
