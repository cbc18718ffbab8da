"""Numbers in sentences: golden cases."""

from __future__ import annotations

import pytest

from sharpaudit.card import Interval
from sharpaudit.card.prose import fixed, interval, signed


@pytest.mark.parametrize(
    ("number", "places", "words"),
    [(-0.04, 1, "0.0"), (-2.26, 1, "−2.3"), (0.25, 2, "0.25"), (12345.6, 0, "12,346"), (-1e-300, 2, "0.00")],
)
def test_fixed(number: float, places: int, words: str) -> None:
    assert fixed(number, places) == words


@pytest.mark.parametrize(("change", "words"), [(0.04, "0.0"), (0.06, "+0.1"), (-0.06, "−0.1"), (-0.04, "0.0")])
def test_signed(change: float, words: str) -> None:
    assert signed(change, 1) == words


def test_interval() -> None:
    ci = Interval(low=-0.022, high=0.012, method="t")
    assert interval(ci, 1, 100) == " [−2.2, 1.2]"
    assert interval(ci, 2) == " [−0.02, 0.01]"
    assert interval(None, 2) == ""
