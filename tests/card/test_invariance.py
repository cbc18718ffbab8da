"""What was tried on the network is read from the card, and a card that lies about it says nothing."""

from __future__ import annotations

import pytest

from sharpaudit.card import Measured, Measurement, Scalar, Skipped, Table
from sharpaudit.card.invariance import COLUMNS, TABLE, ratios, verdicts
from sharpaudit.card.reading import reading


def number(name: str, **options: float) -> Measured:
    return Measured(name=name, value=2.0, unit="1", direction="none", n=9, reason="none", method="made up", options=dict(options))


def tables(*rows: list[Scalar]) -> dict[str, Table]:
    return {TABLE: Table(columns=list(COLUMNS), rows=list(rows))}


def row(name: str, verdict: str, ratio: float | None = 1.0) -> list[Scalar]:
    return [name, 1.0, ratio, ratio, None, verdict, ""]


NUMBERS: list[Measurement] = [
    number("clean.accuracy"),
    number("flatness.fisher_rao"),
    number("reparametrisation.pairs", alpha=10),
    number("sharpness.lambda_max"),
    number("sharpness.worst/l2/0.5"),
    Skipped(name="sharpness.trace", reason="none"),
]


def test_each_flatness_number_has_a_verdict_and_nothing_else_has() -> None:
    found = verdicts(NUMBERS, tables(row("flatness.fisher_rao", "invariant"), row("sharpness.trace", "not invariant")))
    assert found == {
        "flatness.fisher_rao": "invariant",
        "sharpness.lambda_max": "not tested",
        "sharpness.worst/l2/0.5": "not tested",
    }


def test_another_radius_of_the_same_measure_speaks_for_it_unless_they_differ() -> None:
    one, two = row("sharpness.worst/l2/0.1", "not invariant"), row("sharpness.worst/l2/0.2", "invariant")
    other = row("sharpness.worst/adaptive_l2/0.5", "invariant")
    assert verdicts(NUMBERS, tables(one, other))["sharpness.worst/l2/0.5"] == "not invariant"
    assert verdicts(NUMBERS, tables(one, two))["sharpness.worst/l2/0.5"] == "not tested"
    own = row("sharpness.worst/l2/0.5", "not tested")
    assert verdicts(NUMBERS, tables(one, own))["sharpness.worst/l2/0.5"] == "not tested"


def test_nothing_tried() -> None:
    assert verdicts(NUMBERS, {}) == {} and ratios({}) == {}


def test_rows_that_do_not_fit_say_nothing() -> None:
    false: list[list[Scalar]] = [
        ["flatness.fisher_rao"],
        row("flatness.fisher_rao", "certainly invariant"),
        [1, 2, 3, "x", 5, 6, 7],
    ]
    found = verdicts(NUMBERS, tables(*false))
    assert set(found.values()) == {"not tested"}
    assert ratios(tables(*false, [*row("sharpness.sam", "invariant")[:3], "many", None, "invariant", ""])) == {
        "flatness.fisher_rao": 1.0
    }


def rescaling(numbers: list[Measurement], *rows: list[Scalar]) -> list[str]:
    return [sentence for sentence in reading(numbers, tables(*rows)) if sentence.startswith("Rescaling")]


@pytest.mark.parametrize(("ratio", "times"), [(0.05, "20"), (18.71, "18.7"), (24_680.0, "24,700")])
def test_the_reading_counts_what_moved(ratio: float, times: str) -> None:
    moved, stayed = row("sharpness.lambda_max", "not invariant", ratio), row("flatness.fisher_rao", "invariant", 1e9)
    assert rescaling(NUMBERS, stayed, moved) == [
        f"Rescaling 2 pairs of layers by 10, no logit changed, moves 1 of 2 flatness numbers by up to {times} times: between "
        "networks they may differ by scale alone."
    ]
    assert rescaling(NUMBERS[1:2], stayed) == ["Rescaling layers, no logit changed, moves none of 1 flatness numbers."]


def test_the_reading_is_silent_where_rescaling_was_not_tried() -> None:
    assert not rescaling(NUMBERS) and not rescaling(NUMBERS, row("sharpness.lambda_max", "not tested"))
