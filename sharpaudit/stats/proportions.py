"""How far can a proportion be from the share that was counted?"""

from __future__ import annotations

from typing import Literal

from sharpaudit.card import Interval


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval: mean coverage close to `level`, also near 0 and 1 (Wilson 1927; Brown, Cai & DasGupta 2001)."""
    return _interval(successes, n, level, "wilson")


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval: covers at least `level`, and therefore wider than `wilson` (Clopper & Pearson 1934)."""
    return _interval(successes, n, level, "clopper-pearson")


def _interval(successes: int, n: int, level: float, method: Literal["wilson", "clopper-pearson"]) -> Interval:
    from scipy.stats import binomtest

    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
    ci = binomtest(int(successes), int(n)).proportion_ci(level, "wilson" if method == "wilson" else "exact")
    return Interval(low=float(ci.low), high=float(ci.high), level=level, method=method)
