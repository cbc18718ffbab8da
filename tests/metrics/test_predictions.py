"""The per-example columns against scikit-learn and direct sums; laws of the softmax; ragged batches."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss

from sharpaudit.metrics.predictions import Predictions, log_softmax


def logits_and_labels(n: int, num_classes: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(scale=3, size=(n, num_classes)), rng.integers(num_classes, size=n)


def test_columns_are_the_textbook_values() -> None:
    z, y = logits_and_labels(40, 5)
    p = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in z]
    found = Predictions.from_logits(z, y)
    assert found.nll.mean() == pytest.approx(log_loss(y, p, labels=range(5)), abs=1e-12)
    for i in range(40):
        assert found.brier[i] == pytest.approx(sum((p[i][k] - (k == y[i])) ** 2 for k in range(5)), abs=1e-12)
        assert found.confidence[i] == pytest.approx(max(p[i]), abs=1e-12)
        assert found.prediction[i] == p[i].index(max(p[i]))
        assert found.margin[i] == pytest.approx(z[i, y[i]] - max(z[i, k] for k in range(5) if k != y[i]), abs=1e-12)
        assert found.correct[i] == (found.margin[i] > 0)


def test_uniform_predictor() -> None:
    found = Predictions.from_logits(np.zeros((3, 10)), [0, 4, 9])
    assert found.nll == pytest.approx(np.full(3, math.log(10)), abs=1e-15)
    assert found.brier == pytest.approx(np.full(3, 0.9), abs=1e-15)
    assert list(found.prediction) == [0, 0, 0] and list(found.margin) == [0, 0, 0]


def test_saturated_logits_stay_finite() -> None:
    found = Predictions.from_logits([[1e4, 0.0], [-1e4, 0.0]], [1, 1])
    assert list(found.nll) == [1e4, 0.0] and list(found.confidence) == [1.0, 1.0]


def test_a_shift_of_the_logits_changes_nothing() -> None:
    z, y = logits_and_labels(50, 7)
    base, shifted = Predictions.from_logits(z, y), Predictions.from_logits(z + 1000 * np.arange(50)[:, None], y)
    for name in ("prediction", "confidence", "nll", "brier", "margin"):
        assert getattr(shifted, name) == pytest.approx(getattr(base, name), abs=1e-9), name  # 1e-9: 50,000 + float64 rounding


@pytest.mark.parametrize("keep", [True, False])
def test_ragged_batches_are_the_whole(keep: bool) -> None:
    z, y = logits_and_labels(25, 4)
    whole = Predictions.from_logits(z, y, keep_logits=keep)
    cuts = [0, 1, 8, 15, 22, 25]
    parts = [Predictions.from_logits(z[a:b], y[a:b], keep_logits=keep) for a, b in pairwise(cuts)]
    joined = Predictions.concatenate(iter(parts))
    assert joined.columns().keys() == whole.columns().keys() and ("logits" in whole.columns()) == keep
    for name, column in whole.columns().items():
        assert np.array_equal(joined.columns()[name], column), name


def test_columns_round_trip() -> None:
    whole = Predictions.from_logits(*logits_and_labels(6, 3))
    back = Predictions.from_columns(whole.columns())
    assert all(np.array_equal(back.columns()[name], column) for name, column in whole.columns().items())
    assert len(back) == 6 and back.logits is not None and back.logits.dtype == np.float32


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected logits \(n, classes >= 2\) and labels \(n,\), got \(2, 1\) and \(2,\)"):
        Predictions.from_logits([[1.0], [2.0]], [0, 0])
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.2, got -1 to 3"):
        Predictions.from_logits(np.zeros((2, 3)), [-1, 3])
    with pytest.raises(ValueError, match="logits of 2 of 3 examples are not finite; first: example 1"):
        Predictions.from_logits(np.array([[0, 1], [0, math.nan], [math.inf, 0]]), [0, 0, 0])
    with pytest.raises(ValueError, match="no batches to concatenate"):
        Predictions.concatenate([])
    columns = Predictions.from_logits(*logits_and_labels(6, 3)).columns()
    with pytest.raises(ValueError, match="columns differ in length"):
        Predictions.from_columns(columns | {"nll": np.zeros(5)})
    with pytest.raises(ValueError, match="expected the columns"):
        Predictions.from_columns(columns | {"loss": np.zeros(6)})


def test_log_softmax_sums_to_one() -> None:
    z, _ = logits_and_labels(9, 6)
    assert np.exp(log_softmax(z)).sum(axis=1) == pytest.approx(np.ones(9), abs=1e-15)
