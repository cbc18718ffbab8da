"""When many questions are asked at once, which answers still stand? Adjusted p-values; compare them with the level directly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharpaudit.stats.finite import finite


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Step-down Bonferroni: the chance of *any* false alarm stays below the level, whatever the dependence (Holm 1979)."""
    p = _probabilities(p_values)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted


def benjamini_yekutieli(p_values: ArrayLike) -> NDArray[np.float64]:
    """The expected *share* of false alarms stays below the level, whatever the dependence (Benjamini & Yekutieli 2001)."""
    from scipy.stats import false_discovery_control

    p = _probabilities(p_values)
    return np.asarray(false_discovery_control(p, method="by"), dtype=np.float64) if len(p) else p


def _probabilities(p_values: ArrayLike) -> NDArray[np.float64]:
    p = finite("p-values", p_values).ravel()
    if np.any((p < 0) | (p > 1)):
        raise ValueError(f"p-values lie between 0 and 1, got {p.min()} to {p.max()}")
    return p
