"""Terms: their mean is the number, and what two checkpoints have in common cancels."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from sharpaudit.metrics.terms import Over, Terms, terms_of, views_of
from sharpaudit.stats import Resamples, bootstrap, first_mean, t_interval_of
from tests.compare.cases import view

SHAPES: dict[Over, tuple[int, ...]] = {"images": (40,), "draws": (6,), "draws and images": (6, 40)}


def terms(over: Over, seed: int, value: float = 3.0, size: float = 1.0) -> Terms:
    return Terms.around("sharpness.x", value, size * np.random.default_rng(seed).normal(size=SHAPES[over]), over)


@pytest.mark.parametrize("over", get_args(Over))
@pytest.mark.parametrize("value", [0.0, -2.5, 1e-9, 4e7])
def test_their_mean_is_the_number(over: Over, value: float) -> None:
    found = terms(over, 0, value)
    assert found.value == pytest.approx(value, rel=1e-12, abs=1e-14)
    assert terms_of({"sharpness.x": found.columns()})["sharpness.x"].value == found.value


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_over_images_the_interval_is_that_of_the_differences(scale: float) -> None:
    a, b, resamples = terms("images", 1, size=scale), terms("images", 2, size=scale), Resamples(40, seed=0)
    found = b.difference(a, resamples)
    expected = bootstrap((b.values - a.values) / scale, first_mean, resamples).ci
    assert found is not None and found.ci is not None and expected is not None
    assert (found.ci.low / scale, found.ci.high / scale) == pytest.approx((expected.low, expected.high), rel=1e-2)


def test_over_draws_it_is_students() -> None:
    a, b = terms("draws", 1), terms("draws", 2)
    found = b.difference(a, Resamples(6, seed=0))
    assert found is not None and found.ci == t_interval_of(b.values - a.values)


@pytest.mark.parametrize("over", get_args(Over))
def test_what_both_have_in_common_cancels(over: Over) -> None:
    a, little = terms(over, 1), terms(over, 2, 0.0, 1e-6)
    b = Terms(a.name, over, a.values + little.values)
    found = b.difference(a, Resamples(a.values.shape[-1], seed=0))
    assert found is not None and found.ci is not None
    assert 1e-9 < found.ci.high - found.ci.low < 1e-5


@pytest.mark.parametrize("over", get_args(Over))
def test_one_difference_in_all_terms_says_nothing_of_its_error(over: Over) -> None:
    a = terms(over, 1)
    for shift in (0.0, 0.5):
        found = Terms(a.name, over, a.values + shift).difference(a, Resamples(a.values.shape[-1], seed=0))
        assert found is not None and found.ci is None and found.value == pytest.approx(shift)
        assert found.reason == f"the same difference in all {a.values.size} terms, over {over}"


def test_terms_of_other_units_are_not_paired() -> None:
    images, resamples = terms("images", 1), Resamples(40, seed=0)
    assert images.difference(terms("draws", 1), resamples) is None
    assert images.difference(Terms("sharpness.x", "images", images.values[:-1]), resamples) is None
    assert images.difference(Terms("sharpness.x", "draws", images.values), resamples) is None


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
