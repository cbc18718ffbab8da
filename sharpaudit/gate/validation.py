"""Can a card be believed, as far as that can be checked without a key?

It must be of a version that carries its digest, agree with itself, hold only values that its measures can have, and follow from
the predictions beside it. Someone who edits card and predictions together can forge all of that: only a signature helps then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from sharpaudit.card import Card, Measured, Measurement, codec
from sharpaudit.card.measures import MEASURES, OF_A_CLASS, find
from sharpaudit.errors import CardError, clean
from sharpaudit.gate.limits import LEVELS
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.terms import Terms
from sharpaudit.metrics.verification import contradictions

ROUNDING = 1e-9
"""By how much a value may lie outside its interval, relative to the value or to 1: the ends are computed another way."""

MAX_SHOWN = 3

WHOLE = ("accuracy", "calibration", "corruption")
"""Probes that put everything they measure on the card, with a value or with the reason why there is none."""


RECOMPUTED = ("accuracy", "calibration")
"""Probes whose options decide what is computed again; elsewhere a measurement may use a name of its own way."""


def require_credible(
    card: Card, views: Mapping[str, Predictions], terms: Mapping[str, Terms], judged: Collection[str] = ()
) -> None:
    """Refuse a card that contradicts itself or the predictions beside it.

    Args:
        card: as it was read.
        views: the predictions beside it; empty where only the card was kept.
        terms: what stands beside it of other numbers.
        judged: the names that rules are about.

    Raises:
        CardError: the first things that cannot be.
    """
    whose = clean(card.subject.file)
    if codec.is_first_version(card):
        raise CardError(f"{whose}: cards of version 1.0 do not seal their predictions and pass no gate", hint="measure again")
    for found in (faults(card), missing(card) if views else (), contradictions(card, views, terms, judged)):
        try:
            wrong = list(found)
        except ValueError as error:  # views with names or sizes that no audit gives them
            raise CardError(
                f"{whose}: the stored predictions cannot be used: {clean(str(error))}", hint="measure again"
            ) from error
        if wrong:
            more = f" and {len(wrong) - MAX_SHOWN} more" if len(wrong) > MAX_SHOWN else ""
            raise CardError(f"{whose}: the card cannot be right: {'; '.join(wrong[:MAX_SHOWN])}{more}", hint="measure again")


COUNTED = {"class", "corruption", "reliability"}
"""Tables of which every row is about a class, a cell or a bin of its own."""


def faults(card: Card) -> Iterator[str]:
    """What no audit puts on a card, in words."""
    names = Counter(m.name for m in card.measurements)
    yield from (f"{clean(name)} stands there {count} times" for name, count in names.items() if count > 1)
    if len(set(card.data.classes)) != len(card.data.classes):
        yield "a class stands there twice"
    for m in card.measurements:
        yield from (f"{clean(m.name)} {fault}" for fault in _of_origin(card, m))
        if isinstance(m, Measured):
            yield from (f"{clean(m.name)} {fault}" for fault in _of_number(m))
    for name, table in card.tables.items():
        if any(len(row) != len(table.columns) for row in table.rows):
            yield f"the table {clean(name)} has rows of another length than its heading"
        elif name in COUNTED and len(set(map(tuple, table.rows))) < len(table.rows):
            yield f"the table {clean(name)} has a row twice"


def missing(card: Card) -> Iterator[str]:
    """What an audit that keeps its predictions would have put on the card, in words."""
    names = {m.name for m in card.measurements}
    for known in MEASURES:
        if known.probe in WHOLE and known.probe in card.probes and "*" not in known.name and known.name not in names:
            yield f"{known.name} is missing"


def _of_number(m: Measured) -> Iterator[str]:
    low, high = _range(m)
    if not low - ROUNDING <= m.value <= high + ROUNDING:
        yield f"is {m.value:.6g}, outside {low:g} to {high:g}"
    if m.ci is not None:
        slack = ROUNDING * max(1.0, abs(m.value))
        if not LEVELS[0] <= m.ci.level <= LEVELS[1]:
            yield f"has an interval of level {m.ci.level:g}, outside {LEVELS[0]:g} to {LEVELS[1]:g}"
        if not m.ci.low - slack <= m.value <= m.ci.high + slack:
            yield f"is {m.value:.6g}, outside its own interval [{m.ci.low:.6g}, {m.ci.high:.6g}]"
    known = find(m.name)
    if known is not None and m.direction != known.direction:
        yield f"has direction {m.direction}, not {known.direction}"


def _range(m: Measured) -> tuple[float, float]:
    """The values that the measure, or else its unit, allows."""
    known = find(m.name)
    if known is not None:
        return known.scale.low, known.scale.high
    return (-1.0, 1.0) if m.unit == "fraction" else (-float("inf"), float("inf"))


def _of_origin(card: Card, m: Measurement) -> Iterator[str]:
    """Whether a measurement can come from the probes that the card says were run, with the options they had."""
    run = card.probes.get(m.probe)
    if run is None:
        yield f"was measured by '{clean(m.probe)}', which was not run"
    elif run.version != m.version:
        yield f"is of version {m.version} of the probe, which is {run.version}"
    elif isinstance(m, Measured) and m.probe in RECOMPUTED:
        other = [name for name, value in m.options.items() if run.options.get(name, value) != value]
        yield from (f"has the option {clean(name)} = {clean(str(m.options[name]))}, unlike its probe" for name in other)
    label = m.name.removeprefix(OF_A_CLASS)
    if label != m.name and label not in card.data.classes:
        yield "is about a class that the data lack"
