"""Do two models make the same predictions, and the same mistakes?

Both must have seen the same examples in the same order; who calls has compared the index hashes. None of these numbers depends
on how either network is parametrised, and the architectures may differ.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharpaudit.metrics.predictions import Predictions, log_softmax, softmax

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def disagrees(a: Predictions, b: Predictions) -> Bools:
    """Where the predicted classes differ; its mean is the disagreement rate (churn)."""
    _same_examples(a, b)
    return np.asarray(a.prediction != b.prediction)


def negative_flips(a: Predictions, b: Predictions) -> Bools:
    """Where A was right and B is wrong: what an update breaks."""
    _same_examples(a, b)
    return np.asarray(a.correct & ~b.correct)


def positive_flips(a: Predictions, b: Predictions) -> Bools:
    """Where A was wrong and B is right: what an update mends."""
    return negative_flips(b, a)


def consistency_columns(a: Predictions, b: Predictions) -> Floats:
    """(n, 3): A right, B right, both alike; their means go to `error_consistency`."""
    _same_examples(a, b)
    return np.stack([a.correct, b.correct, a.correct == b.correct], axis=1).astype(np.float64)


def error_consistency(means: ArrayLike) -> Floats:
    """Cohen's κ of being right: (observed − expected) / (1 − expected) agreement, −1 to 1 (Geirhos et al. 2020, eq. 3).

    0 is what two models of these accuracies show by chance, 1 the same mistakes. Two models that are right and wrong on the same
    examples have κ = 1, also where both are always right (where the quotient is 0/0).
    """
    m = np.asarray(means, dtype=np.float64)
    p, q, observed = m[..., 0], m[..., 1], m[..., 2]
    expected = p * q + (1 - p) * (1 - q)
    same = observed >= 1
    return np.asarray(np.where(same, 1.0, (observed - expected) / np.where(same, 1.0, 1 - expected)))


def js_divergence(logits_a: ArrayLike, logits_b: ArrayLike) -> Floats:
    """Jensen-Shannon divergence of the two softmax distributions, per example, nats, 0 to ln 2."""
    log_p, log_q = log_softmax(logits_a), log_softmax(logits_b)
    log_m = np.logaddexp(log_p, log_q) - np.log(2)
    divergence = np.sum(np.exp(log_p) * (log_p - log_m) + np.exp(log_q) * (log_q - log_m), axis=-1) / 2
    return np.asarray(np.maximum(divergence, 0.0))  # rounding can leave −1e-17 for equal distributions


def softmax_l2(logits_a: ArrayLike, logits_b: ArrayLike) -> Floats:
    """Euclidean distance of the two softmax vectors, per example, 0 to √2."""
    return np.asarray(np.linalg.norm(softmax(logits_a) - softmax(logits_b), axis=-1))


def linear_cka(x: ArrayLike, y: ArrayLike) -> float:
    """Similarity of two feature matrices (n, d1), (n, d2) over the same examples, up to rotation and scale; at most 1.

    Centred kernel alignment of the linear kernels with the unbiased HSIC estimator (Song et al. 2012, eq. 5; Nguyen et al. 2021):
    the plain form is near 1 for unrelated features when n is not much above d. May be slightly negative for unrelated features.

    Raises:
        ValueError: fewer than 4 examples, lengths that differ, or features that are the same for all examples.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(a) != len(b) or len(a) < 4:
        raise ValueError(f"expected features of the same 4 or more examples, got {len(a)} and {len(b)}")
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    aa, bb = _hsic(a, a), _hsic(b, b)
    if aa <= 0 or bb <= 0:
        raise ValueError("the features of one model do not vary")
    return _hsic(a, b) / float(np.sqrt(aa * bb))


def _hsic(a: Floats, b: Floats) -> float:
    """n(n−3)-scaled unbiased HSIC of K = aaᵀ and L = bbᵀ with zeroed diagonals, without forming an (n, n) matrix."""
    n = len(a)
    diagonal_a, diagonal_b = np.square(a).sum(axis=1), np.square(b).sum(axis=1)
    trace = float(np.square(a.T @ b).sum() - diagonal_a @ diagonal_b)
    row_a, row_b = a @ a.sum(axis=0) - diagonal_a, b @ b.sum(axis=0) - diagonal_b
    return trace + float(row_a.sum() * row_b.sum()) / ((n - 1) * (n - 2)) - 2 * float(row_a @ row_b) / (n - 2)


def _same_examples(a: Predictions, b: Predictions) -> None:
    if len(a) != len(b) or not np.array_equal(a.labels, b.labels):
        raise ValueError(f"the two models did not see the same examples ({len(a)} and {len(b)})")
