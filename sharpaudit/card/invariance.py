"""Which numbers of a card moved when its network was rescaled without changing its function?

The table ``reparametrisation`` of a card holds what was tried on that very network. A stored card is untrusted: rows that do not
fit count as not tested.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, cast, get_args

from sharpaudit.card import Measured, Measurement, Scalar, Table
from sharpaudit.card.measures import GEOMETRY, find

TABLE = "reparametrisation"
COLUMNS = ("measure", "before", "after", "ratio", "ratio_by_unit", "verdict", "reason")

Verdict = Literal["invariant", "invariant for whole layers", "not invariant", "not tested"]
"""Whole layers: it stayed when layers were rescaled and moved when each unit had a factor of its own."""


def verdicts(measurements: Sequence[Measurement], tables: Mapping[str, Table]) -> dict[str, Verdict]:
    """The verdict on every sharpness and flatness number of a card; empty for a card on which nothing was tried.

    A number stands in the table under its own name, or under the same with another radius: the last qualifier.
    """
    tried = _column(tables, "verdict")
    names = [m.name for m in measurements if isinstance(m, Measured) and m.name.startswith(GEOMETRY)]
    return {name: next(_found(name, tried), "not tested") for name in names} if tried else {}


def ratios(tables: Mapping[str, Table]) -> dict[str, float]:
    """How many times as large each measure reads after whole layers were rescaled, where it was tried."""
    return {name: float(ratio) for name, ratio in _column(tables, "ratio").items() if isinstance(ratio, int | float)}


def on_both(a: Verdict | None, b: Verdict | None) -> Verdict | None:
    """What rescaling did to a measure on two networks; the worse of both, None where one card does not say."""
    order: list[Verdict | None] = [None, "not invariant", "not tested", "invariant for whole layers", "invariant"]
    return min(a, b, key=order.index)


def is_invariant(name: str, tried: Verdict | None = None) -> bool:
    """Whether rescalings that leave a network's function alone leave `name` alone too: as `tried` says, or else theory."""
    if tried not in (None, "not tested"):
        return tried != "not invariant"
    known = find(name)
    return known is not None and known.invariant != "" and ("*" not in known.name or "/adaptive/" in name)


def _column(tables: Mapping[str, Table], name: str) -> dict[str, Scalar]:
    rows = tables[TABLE].rows if TABLE in tables else []
    return {row[0]: row[COLUMNS.index(name)] for row in rows if len(row) == len(COLUMNS) and isinstance(row[0], str)}


def _found(name: str, tried: Mapping[str, Scalar]) -> Iterator[Verdict]:
    """What was found for `name`, or else for all of its siblings alike."""
    siblings = {verdict for other, verdict in tried.items() if "/" in name and _stem(other) == _stem(name)}
    for verdict in (tried.get(name), *(siblings if len(siblings) == 1 else ())):
        if verdict in get_args(Verdict):
            yield cast(Verdict, verdict)


def _stem(name: str) -> str:
    return name.rpartition("/")[0]
