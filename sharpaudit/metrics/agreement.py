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


def _same_examples(a: Predictions, b: Predictions) -> None:
    if len(a) != len(b) or not np.array_equal(a.labels, b.labels):
        raise ValueError(f"the two models did not see the same examples ({len(a)} and {len(b)})")
