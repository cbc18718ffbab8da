"""Terms: their mean is the number, and what two checkpoints have in common cancels."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from scipy.special import stdtrit

from sharpaudit.metrics.terms import Over, Terms, terms_of, views_of
from tests.comparison.cases import view

SHAPES: dict[Over, tuple[int, ...]] = {"images": (40,), "draws": (6,), "draws and images": (6, 40)}


def terms(over: Over, seed: int, value: float = 3.0, size: float = 1.0) -> Terms:
    return Terms.around("sharpness.x", value, size * np.random.default_rng(seed).normal(size=SHAPES[over]), over)


@pytest.mark.parametrize("over", get_args(Over))
@pytest.mark.parametrize("value", [0.0, -2.5, 1e-9, 4e7])
def test_their_mean_is_the_number(over: Over, value: float) -> None:
    found = terms(over, 0, value)
    assert found.value == pytest.approx(value, rel=1e-12, abs=1e-14)
    assert terms_of({"sharpness.x": found.columns()})["sharpness.x"].value == found.value


def satterthwaite(x: np.ndarray) -> float:
    """2 σ⁴ / var(s²), var(s²) = (μ₄ − σ⁴ (n − 3)/(n − 1))/n."""
    n, second, fourth = len(x), float(((x - x.mean()) ** 2).mean()), float(((x - x.mean()) ** 4).mean())
    return min(n - 1, 2 * second**2 / ((fourth - second**2 * (n - 3) / (n - 1)) / n))


def test_few_images_that_decide_are_no_sample_of_those_that_could() -> None:
    """All but four images differ by little: other probe sets would hold none of the four, or eight."""
    a = terms("images", 1)
    shapes: dict[Over, np.ndarray] = {"images": a.values, "draws and images": np.tile(a.values, (6, 1))}
    for over, values in shapes.items():
        first = Terms("x", over, values)
        for many, given in ((4, False), (12, True)):
            change = 1e-3 * np.random.default_rng(3).normal(size=40)
            change[:many] += np.where(np.arange(many) % 2, 1, -1)
            found = Terms("x", over, values + change + 1e-4 * np.random.default_rng(4).normal(size=values.shape)).difference(
                first
            )
            assert found is not None and (found.ci is not None) == given
            if not given:
                assert found.reason == "few images decide the difference: by the spread they cause, 40 are worth 4.0 equal ones"


@pytest.mark.parametrize("over", ["images", "draws"])
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_over_images_or_draws_it_is_students(over: Over, scale: float) -> None:
    a, b = terms(over, 1, size=scale), terms(over, 2, size=scale)
    change = b.values - a.values
    half = stdtrit(satterthwaite(change), 0.975) * change.std(ddof=1) / math.sqrt(len(change))
    found = b.difference(a)
    assert found is not None and found.ci is not None
    assert (found.ci.high - found.value, found.value - found.ci.low) == pytest.approx((half, half), rel=1e-2)


@pytest.mark.parametrize("over", get_args(Over))
def test_what_both_have_in_common_cancels(over: Over) -> None:
    a, little = terms(over, 1), terms(over, 2, 0.0, 1e-6)
    b = Terms(a.name, over, a.values + little.values)
    found = b.difference(a)
    assert found is not None and found.ci is not None
    assert 1e-9 < found.ci.high - found.ci.low < 1e-5


@pytest.mark.parametrize("over", get_args(Over))
def test_one_difference_in_all_terms_says_nothing_of_its_error(over: Over) -> None:
    a = terms(over, 1)
    for shift in (0.0, 0.5):
        found = Terms(a.name, over, a.values + shift).difference(a)
        assert found is not None and found.ci is None and found.value == pytest.approx(shift)
        assert found.reason == f"the same difference in all {a.values.size} terms, over {over}"


def test_terms_of_other_units_are_not_paired() -> None:
    images = terms("images", 1)
    assert images.difference(terms("draws", 1)) is None
    assert images.difference(Terms("sharpness.x", "images", images.values[:-1])) is None
    assert images.difference(Terms("sharpness.x", "draws", images.values)) is None


@pytest.mark.parametrize(
    ("over", "values"),
    [
        ("images", np.zeros((3, 3))),
        ("draws and images", np.zeros(3)),
        ("draws", np.array([1.0, np.nan])),
        ("images", np.zeros(0)),
    ],
)
def test_what_has_no_mean_is_refused(over: Over, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"the terms of x are not finite numbers over {over}"):
        Terms("x", over, values)


def test_a_run_keeps_them_beside_its_predictions() -> None:
    clean, kept = view(0, 2.0), terms("draws and images", 0)
    columns = {"clean": clean.columns(), kept.name: kept.columns()}
    assert list(views_of(columns)) == ["clean"]
    assert np.array_equal(terms_of(columns)[kept.name].values, kept.values)
