"""Agreement of two models against scikit-learn, scipy and direct sums."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import cohen_kappa_score

from sharpaudit.metrics import accuracy, agreement
from sharpaudit.metrics.predictions import Predictions, softmax


def predicted(classes: NDArray[np.int64] | list[int], labels: NDArray[np.int64] | list[int], num_classes: int = 4) -> Predictions:
    return Predictions.from_logits(np.eye(num_classes)[np.asarray(classes)], labels)


def kappa(a: Predictions, b: Predictions) -> float:
    return float(agreement.error_consistency(agreement.consistency_columns(a, b).mean(axis=0)))


def test_error_consistency_golden() -> None:
    labels = [0] * 10
    a, b = predicted([1, 1] + [0] * 8, labels), predicted([1, 0, 1] + [0] * 7, labels)
    assert (a.correct.mean(), b.correct.mean()) == (0.8, 0.8)
    assert kappa(a, b) == pytest.approx(0.375, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=40))
def test_laws_of_two_models(rows: list[tuple[int, int, int]]) -> None:
    labels, of_a, of_b = (np.array(column) for column in zip(*rows, strict=True))
    a, b = predicted(of_a, labels), predicted(of_b, labels)
    rate = agreement.disagrees(a, b).mean()
    errors = 1 - a.correct.mean(), 1 - b.correct.mean()
    assert abs(errors[0] - errors[1]) - 1e-12 <= rate <= sum(errors) + 1e-12
    flips = agreement.positive_flips(a, b).mean() - agreement.negative_flips(a, b).mean()
    assert flips == pytest.approx(b.correct.mean() - a.correct.mean(), abs=1e-12)
    assert not agreement.disagrees(a, a).any()
    if a.correct.any() and not a.correct.all():
        assert kappa(a, b) == pytest.approx(cohen_kappa_score(a.correct, b.correct), abs=1e-12)


def test_always_right_is_perfectly_consistent() -> None:
    a = predicted([0, 1, 2], [0, 1, 2])
    assert kappa(a, a) == 1.0


def test_js_divergence_against_scipy() -> None:
    rng = np.random.default_rng(0)
    z, w = rng.normal(scale=3, size=(2, 30, 6))
    expected = [jensenshannon(p, q) ** 2 for p, q in zip(softmax(z), softmax(w), strict=True)]
    assert agreement.js_divergence(z, w) == pytest.approx(np.array(expected), abs=1e-12)
    assert agreement.js_divergence(z, z + 7) == pytest.approx(np.zeros(30), abs=1e-15)


def test_disjoint_certainties_are_as_far_as_can_be() -> None:
    a, b = np.array([[900.0, 0, 0]]), np.array([[0, 900.0, 0]])
    assert agreement.js_divergence(a, b) == pytest.approx([math.log(2)], abs=1e-12)
    assert agreement.softmax_l2(a, b) == pytest.approx([math.sqrt(2)], abs=1e-12)


def test_other_examples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"did not see the same examples \(2 and 3\)"):
        agreement.disagrees(predicted([0, 1], [0, 1]), predicted([0, 1, 1], [0, 1, 1]))
    with pytest.raises(ValueError, match="did not see the same examples"):
        agreement.negative_flips(predicted([0, 1], [0, 1]), predicted([0, 1], [1, 0]))


def test_class_accuracies() -> None:
    view = predicted([0, 0, 1, 1, 2, 0], [0, 0, 1, 2, 2, 2])
    means = accuracy.class_columns(view, 4).mean(axis=0)
    assert accuracy.class_accuracies(means) == pytest.approx(np.array([1, 1, 1 / 3, np.nan]), nan_ok=True)
    assert accuracy.worst_class(means) == pytest.approx(1 / 3) and accuracy.class_gap(means) == pytest.approx(2 / 3)
