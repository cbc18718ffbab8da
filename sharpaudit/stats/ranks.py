"""Do flatter models come out safer? Rank correlation over models, pooled and within conditions.

A pooled correlation can have the opposite sign of every within-condition one (Simpson's paradox; reviewers found it in the main
paper's data), so the two are always reported together. Below `MIN_MODELS` models no correlation is given at all: with 4 even
perfect agreement has p = 0.083.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharpaudit.card import Interval
from sharpaudit.stats.finite import finite

MIN_MODELS = 5

MOST_PAIRS = 2_000
"""Pairs of models within conditions up to which orders are drawn at random; beyond, the normal limit is as good."""


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation over `n` models."""

    value: float
    p_value: float
    """Two-sided, of no association; exact where there are few models and no ties."""
    ci: Interval | None
    """None where the data cannot give one: a perfect order within conditions leaves the jackknife without any spread."""
    n: int


def kendall(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> RankCorrelation:
    """Kendall's tau-b, with the interval of Fieller, Hartley & Pearson (1957): atanh τ has variance 0.437 / (n − 4)."""
    from scipy.stats import kendalltau

    first, second = _series(x, y)
    n = len(first)
    result = kendalltau(first, second)
    ci = _fisher(float(result.statistic), math.sqrt(0.437 / (n - 4)), 4 / (n * (n - 1)), level, "fieller")
    return RankCorrelation(float(result.statistic), float(result.pvalue), ci, n)


def spearman(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> RankCorrelation:
    """Spearman's rho, with the interval of Bonett & Wright (2000): atanh ρ has variance (1 + ρ²/2) / (n − 3).

    The p-value counts all orders up to 7 models; above it is Student's.
    """
    from scipy.stats import rankdata, spearmanr

    first, second = _series(x, y)
    n = len(first)
    result = spearmanr(first, second)
    rho, p_value = float(result.statistic), float(result.pvalue)
    if n <= 7:
        centred = rankdata(first) - (n + 1) / 2
        products = np.array(list(permutations(rankdata(second)))) @ centred
        observed = float(rankdata(second) @ centred)
        p_value = float(np.mean(np.abs(products) >= abs(observed) - 1e-9))
    ci = _fisher(rho, math.sqrt((1 + rho**2 / 2) / (n - 3)), 12 / (n * (n * n - 1)), level, "bonett-wright")
    return RankCorrelation(rho, p_value, ci, n)


def within_condition(
    x: ArrayLike, y: ArrayLike, conditions: Sequence[str], *, seed: int, level: float = 0.95, num: int = 1999
) -> RankCorrelation:
    """Kendall's tau-b over the pairs of models that share a condition (after the granulated τ of Jiang et al. 2020).

    Conditions with a single model contribute nothing and are not counted in `n`. The p-value permutes y within conditions; where
    there are more than `MOST_PAIRS` pairs, the normal distribution with the variance of all permutations stands for them. The
    interval is Student's, from the leave-one-model-out jackknife.

    Raises:
        ValueError: fewer than `MIN_MODELS` models stand in conditions of two or more, or nothing varies within conditions.
    """
    from scipy.special import stdtrit

    labels, codes = np.unique(np.asarray(conditions), return_inverse=True)
    shared = np.bincount(codes, minlength=len(labels))[codes] >= 2
    first, second = _series(np.asarray(x, dtype=np.float64)[shared], np.asarray(y, dtype=np.float64)[shared])
    block = codes[shared]
    n, num_blocks = len(first), len(np.unique(block))
    i, j = np.triu_indices(n, 1)
    i, j = i[block[i] == block[j]], j[block[i] == block[j]]
    sign_x, sign_y = np.sign(first[i] - first[j]), np.sign(second[i] - second[j])
    products = [sign_x * sign_y, sign_x**2, sign_y**2]
    score, varying_x, varying_y = (float(values.sum()) for values in products)
    scale = math.sqrt(varying_x * varying_y)
    if not scale:
        raise ValueError("nothing varies within the conditions")
    value = score / scale
    if len(i) > MOST_PAIRS:
        p_value = math.erfc(abs(score) / math.sqrt(2 * _null_variance(first, second, block)))
    else:
        rng = np.random.default_rng(seed)
        order = np.argsort(block, kind="stable")
        permuted = np.empty_like(second)
        extreme = 0
        for _ in range(num):
            permuted[order] = second[order[np.lexsort((rng.random(n), block[order]))]]
            extreme += abs(float(sign_x @ np.sign(permuted[i] - permuted[j]))) >= abs(score) - 1e-6
        p_value = (extreme + 1) / (num + 1)
    own = [np.bincount(i, values, n) + np.bincount(j, values, n) for values in products]
    with np.errstate(invalid="ignore", divide="ignore"):
        left_out = (score - own[0]) / np.sqrt((varying_x - own[1]) * (varying_y - own[2]))
    error = math.sqrt((n - 1) / n * float(np.sum((left_out - left_out.mean()) ** 2)))
    if not error > 0:  # also where a tau without one model is undefined
        return RankCorrelation(value, p_value, None, n)
    half = float(stdtrit(max(1, n - num_blocks - 1), 0.5 + level / 2)) * error
    ci = Interval(low=max(-1.0, value - half), high=min(1.0, value + half), level=level, method="jackknife over models")
    return RankCorrelation(value, p_value, ci, n)


def _null_variance(x: NDArray[np.float64], y: NDArray[np.float64], block: NDArray[np.int64]) -> float:
    """The variance of Kendall's score Σ sign(xᵢ − xⱼ) sign(yᵢ − yⱼ) over all permutations of y within blocks (Kendall 1970)."""

    def total(counts: NDArray[np.float64], factor: NDArray[np.float64] | float = 1.0) -> float:
        return float(np.sum(counts * (counts - 1) * factor))

    variance = 0.0
    for number in np.unique(block):
        own = block == number
        m, t, u = (np.unique(values[own], return_counts=True)[1].astype(np.float64) for values in (block, x, y))
        variance += (total(m, 2 * m + 5) - total(t, 2 * t + 5) - total(u, 2 * u + 5)) / 18
        variance += total(t) * total(u) / (2 * total(m))
        variance += total(t, t - 2) * total(u, u - 2) / (9 * (total(m, m - 2) or 1.0))
    return variance


def _series(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    first, second = finite("x", x).ravel(), finite("y", y).ravel()
    if len(first) != len(second):
        raise ValueError(f"expected two equally long series, got {len(first)} and {len(second)}")
    if len(first) < MIN_MODELS:
        raise ValueError(f"a rank correlation needs at least {MIN_MODELS} models, got {len(first)}")
    for name, series in (("x", first), ("y", second)):
        if np.ptp(series) == 0:
            raise ValueError(f"{name} is the same for all {len(series)} models")
    return first, second


def _fisher(value: float, error: float, step: float, level: float, method: str) -> Interval:
    """atanh-normal interval; a perfect correlation is placed half a `step` (the finest change possible) inside ±1."""
    from scipy.special import ndtri

    edge = 1 - step / 2
    centre = math.atanh(max(-edge, min(edge, value)))
    half = float(ndtri(0.5 + level / 2)) * error
    low = -1.0 if value < -edge else math.tanh(centre - half)
    high = 1.0 if value > edge else math.tanh(centre + half)
    return Interval(low=low, high=high, level=level, method=method)
