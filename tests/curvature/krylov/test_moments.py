"""What the moments of a quadrature say of its error, against the scatter of many starts and against how often it is right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sharpaudit.curvature.krylov.moments import Part, factors
from sharpaudit.curvature.krylov.quadrature import Rule

Floats = NDArray[np.float64]

SPECTRA = {
    "steep": np.concatenate([np.geomspace(1e-4, 1, 150), np.zeros(150)]),
    "dominated": np.concatenate([[1.0], np.full(199, 2e-3), np.zeros(200)]),
    "flat": np.concatenate([np.ones(100), np.zeros(100)]),
}


def rules(values: Floats, starts: int, rng: np.random.Generator, known: int = 0) -> list[Rule]:
    """What starts without error of steps see: every eigenvalue, and how much of the start lies along it; the first are known."""
    size = len(values)
    squares = rng.chisquare(1, (starts, size - known))
    shares = squares / squares.sum(axis=1, keepdims=True) * (1 - known / size)
    return [Rule(values, np.concatenate([np.full(known, 1 / size), share])) for share in shares]


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("known", [0, 3])
def test_the_cumulants_are_those_of_many_starts(name: str, known: int) -> None:
    values, rng = np.sort(SPECTRA[name])[::-1], np.random.default_rng(0)
    many = rules(values, 8_000, rng, known)
    part = Part.of(many, known, len(values), np.positive)
    each = np.array([len(values) * rule.integral(np.positive) for rule in many])
    assert part.certain == pytest.approx(values[:known].sum())
    assert part.total == pytest.approx(each.mean())
    assert len(many) * part.variance == pytest.approx(each.var(), rel=0.15)
    assert len(many) ** 2 * part.third == pytest.approx(((each - each.mean()) ** 3).mean(), rel=0.4, abs=0.03 * each.std() ** 3)


def test_starts_that_agree_by_luck_are_not_believed() -> None:
    """By scatter the error of two equal starts would be 0."""
    (rule,) = rules(SPECTRA["steep"], 1, np.random.default_rng(1))
    smaller, larger = factors(Part.of([rule, rule], 0, 300, np.positive))
    assert smaller < 0.8 and larger > 1.25


@pytest.mark.parametrize("name", SPECTRA)
def test_four_starts_give_intervals_that_cover_and_miss_evenly(name: str) -> None:
    values, rng = SPECTRA[name], np.random.default_rng(2)
    missed = np.zeros(2)
    for _ in range(2000):
        part = Part.of(rules(values, 4, rng), 0, len(values), np.positive)
        smaller, larger = factors(part)
        missed += np.array([larger * part.total < values.sum(), smaller * part.total > values.sum()])
    assert 0.93 < 1 - missed.sum() / 2000 < 0.98, missed
    assert missed.max() <= 2 * missed.min() + 3 * np.sqrt(missed.max() + 4 * missed.min()), missed


def test_the_odds_of_two_parts_are_covered_too() -> None:
    values, rng = (
        np.concatenate([np.geomspace(1e-3, 1, 100), -0.5 * np.geomspace(1e-3, 1, 60), np.zeros(140)]),
        np.random.default_rng(3),
    )
    truth = (values.clip(max=0) ** 2).sum() / (values.clip(min=0) ** 2).sum()
    missed = np.zeros(2)
    for _ in range(2000):
        seen = rules(values, 4, rng)
        below, above = (Part.of(seen, 0, 300, f) for f in (lambda x: x.clip(max=0) ** 2, lambda x: x.clip(min=0) ** 2))
        smaller, larger = factors(below, above)
        odds = below.total / above.total
        missed += np.array([larger * odds < truth, smaller * odds > truth])
    assert 0.93 < 1 - missed.sum() / 2000 < 0.98, missed
    assert missed.max() <= 2 * missed.min() + 3 * np.sqrt(missed.max() + 4 * missed.min()), missed
