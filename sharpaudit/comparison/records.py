"""What does a comparison say? Records; their JSON is byte-stable through `card.codec.dumps`, like a card's."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, FiniteFloat

from sharpaudit.card import Declared, Direction, Interval, Measured, Record
from sharpaudit.card.invariance import Verdict as Tried
from sharpaudit.card.measures import in_words
from sharpaudit.metrics.terms import Over

SCHEMA = "sharpaudit.comparison/1.0"

Verdict = Literal["better", "worse", "equivalent within margin", "sharper", "flatter", "identical", "undecided"]
"""What may be said of B against A. Sharper and flatter are said of geometry, and are neither better nor worse.

Identical: every example and every draw gave the same, so that the difference is 0 and no sample could show another.
"""

QuadrantName = Literal[
    "sharper and safer", "sharper and less safe", "flatter and safer", "flatter and less safe", "identical", "undecided"
]


class Model(Record):
    """One of the models compared."""

    label: str
    """Its file name, made unique."""
    file: str
    sha256: str
    architecture: str
    condition: str | None = None
    """How it was trained, when the caller knows."""
    suspicions: list[str] = []
    """What the set-up check of its card flagged."""


class Difference(Record):
    """One number of both models, side by side."""

    name: str
    unit: str
    direction: Direction
    a: FiniteFloat
    b: FiniteFloat
    difference: FiniteFloat
    """B − A."""
    ci: Interval | None
    """Of the difference."""
    reason: str | None = None
    """Why there is no interval."""
    paired: bool
    """Whether the interval uses that both models saw the same examples or draws."""
    over: Over | None = None
    """What it is paired over, and speaks of; None where it is not paired."""
    n: int
    margin: FiniteFloat | None = None
    """Differences inside ±margin do not matter."""
    p_value: FiniteFloat | None = None
    """Two-sided, of no difference, from the interval."""
    p_adjusted: FiniteFloat | None = None
    """Benjamini-Yekutieli, over the measurements of the same family; the verdict uses this one."""
    verdict: Verdict | None
    """None for a number that is neither good, bad, sharp nor flat."""
    declared: Declared | None = Field(default=None, exclude_if=lambda declared: declared is None)
    """What the plug-in that measures it says of it."""
    rescaling: Tried | None = None
    """What rescaling did to it on both networks; None where one of the cards does not say."""


class Change(Record):
    """An example on which the two models differ much."""

    index: int
    """Position in the data."""
    label: str
    prediction_a: str
    prediction_b: str
    confidence_a: FiniteFloat
    confidence_b: FiniteFloat
    nll_change: FiniteFloat
    """B − A, nats; positive: B finds the label less likely."""


class Quadrant(Record):
    """One flatness measure against one safety metric."""

    flatness: str
    safety: str
    quadrant: QuadrantName
    invariant: bool
    """Whether the flatness measure survives reparametrisations that leave the function alone."""


class ViewDisagreement(Record):
    """Disagreement on one view of the data."""

    view: str
    n: int
    disagreements: int
    negative_flips: int
    positive_flips: int


class Pair(Record):
    """What holds between exactly two models; B is read against A."""

    differences: list[Difference]
    disagreement: list[Measured]
    mcnemar_p: FiniteFloat | None
    """Exact, two-sided, of equal accuracy on the clean view; None without stored predictions."""
    views: list[ViewDisagreement]
    changed: list[Change]
    quadrants: list[Quadrant]


class Standing(Record):
    """A line of the leaderboard."""

    label: str
    values: dict[str, FiniteFloat]
    p_against_first: FiniteFloat | None
    """Exact McNemar against the most accurate model, Holm over the board; None for that model."""


class Association(Record):
    """Do models with a larger flatness measure have more of a safety metric?"""

    flatness: str
    safety: str
    n: int
    kendall: FiniteFloat | None = None
    kendall_ci: Interval | None = None
    kendall_p: FiniteFloat | None = None
    spearman: FiniteFloat | None = None
    spearman_ci: Interval | None = None
    spearman_p: FiniteFloat | None = None
    within: FiniteFloat | None = None
    """Kendall's tau-b over pairs of models of the same condition."""
    within_ci: Interval | None = None
    within_p: FiniteFloat | None = None
    p_adjusted: FiniteFloat | None = None
    """Benjamini-Yekutieli over all pooled Kendall p-values of the comparison."""
    simpson: bool = False
    """True where pooled and within-condition correlation have opposite signs."""
    reason: str | None = None
    """Why a correlation is missing."""


class Fleet(Record):
    """What holds among three or more models."""

    disagreement: list[list[FiniteFloat]] | None
    """Share of clean examples on which two models predict different classes; None without stored predictions."""
    error_consistency: list[list[FiniteFloat]] | None
    matrices_of: list[int] = []
    """Places in `models` of those in both matrices: all, or of very many the most accurate."""
    leaderboard: list[Standing]
    associations: list[Association]
    declared: dict[str, Declared] = Field(default={}, exclude_if=lambda declared: not declared)
    """What plug-ins say of their numbers among these."""

    def title(self, name: str) -> str:
        """The measurement called `name` in words."""
        said = self.declared.get(name)
        return said.title if said and said.title else in_words(name)


class Comparison(Record):
    """Two or more audits of the same data, side by side."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    data: str
    n: int
    index_hash: str
    seed: int
    models: list[Model]
    pair: Pair | None = None
    """For exactly two models."""
    fleet: Fleet | None = None
    """For three or more."""
    reading: list[str]
    """The comparison in sentences."""

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )
