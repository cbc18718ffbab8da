"""Which tables can a card hold, and what stands in their rows?

A card stores a table as columns and rows of scalars, so that new ones need no new schema. Here the known ones become typed
records; a stored card is untrusted input, so rows that do not fit are an error of the card, not of the renderer.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from sharpaudit.card import Card
from sharpaudit.errors import CardError, clean

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


class Row(BaseModel):
    """A row of a known table; further columns are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReliabilityBin(Row):
    """The examples whose confidence fell between `bin_low` and `bin_high`."""

    bin_low: FiniteFloat
    bin_high: FiniteFloat
    count: Count
    confidence: FiniteFloat | None
    """Mean confidence; None in an empty bin, as is `accuracy`."""
    accuracy: Share | None


class ClassAccuracy(Row):
    """The examples of one class."""

    label: str
    n: Count
    accuracy: Share | None
    low: FiniteFloat | None
    high: FiniteFloat | None


class CorruptionCell(Row):
    """One corruption at one severity."""

    corruption: str
    family: str
    severity: int
    n: Count
    accuracy: Share | None


class SpectrumNode(Row):
    """A Ritz value of the Hessian and the share of the spectrum it stands for."""

    node: FiniteFloat
    weight: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    """Interval of the weight over random starts."""


class SlicePoint(Row):
    """The loss at one step along a random direction."""

    alpha: FiniteFloat
    loss: FiniteFloat


class Rescaled(Row):
    """A measure before and after rescaling, on a few images."""

    measure: str
    before: FiniteFloat | None
    after: FiniteFloat | None
    ratio: FiniteFloat | None
    ratio_by_unit: FiniteFloat | None
    verdict: str
    reason: str


T = TypeVar("T", bound=Row)


def reliability(card: Card) -> list[ReliabilityBin]:
    """Confidence bins, in order; empty where the card has none. Raises `CardError` on rows that do not fit, as do the others."""
    return _rows(card, "reliability", ReliabilityBin)


def classes(card: Card) -> list[ClassAccuracy]:
    """Accuracy by class, in the order of the labels."""
    return _rows(card, "class", ClassAccuracy)


def corruption(card: Card) -> list[CorruptionCell]:
    """Accuracy by corruption and severity."""
    return _rows(card, "corruption", CorruptionCell)


def spectrum(card: Card) -> list[SpectrumNode]:
    """Spectral density as nodes and weights."""
    return _rows(card, "spectrum", SpectrumNode)


def loss_slice(card: Card) -> list[SlicePoint]:
    """Loss along a random, filter-normalised direction."""
    return _rows(card, "loss_slice", SlicePoint)


def reparametrisation(card: Card) -> list[Rescaled]:
    """What rescaling did to each flatness measure."""
    return _rows(card, "reparametrisation", Rescaled)


def _rows(card: Card, name: str, kind: type[T]) -> list[T]:
    if name not in card.tables:
        return []
    try:
        return TypeAdapter(list[kind]).validate_python(card.tables[name].records())  # type: ignore[valid-type]  # built at run time
    except ValidationError as error:
        first = error.errors()[0]
        where = " ".join(str(part) for part in first["loc"])
        raise CardError(f"table '{name}' of the card, row {clean(where)}: {clean(first['msg'])}") from error
    except ValueError as error:
        raise CardError(f"table '{name}' of the card: a row has not as many values as there are columns") from error
