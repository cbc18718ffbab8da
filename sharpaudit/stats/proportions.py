"""How far can a proportion be from the share that was counted?"""

from __future__ import annotations

import math

from sharpaudit.card import Interval


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's score interval: mean coverage close to `level`, also near 0 and 1 (Wilson 1927; Brown, Cai & DasGupta 2001).

    Written out because importing scipy.stats would take most of a gate's second.
    """
    from scipy.special import ndtri

    _require_counts(successes, n)
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (successes * (n - successes) / n + z2 / 4)) / (n + z2)
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half), level=level, method="wilson")


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval: covers at least `level`, and therefore wider than `wilson` (Clopper & Pearson 1934)."""
    from scipy.stats import binomtest

    _require_counts(successes, n)
    ci = binomtest(int(successes), int(n)).proportion_ci(level, "exact")
    return Interval(low=float(ci.low), high=float(ci.high), level=level, method="clopper-pearson")


def newcombe(successes_a: int, n_a: int, successes_b: int, n_b: int, level: float = 0.95) -> Interval:
    """The interval for p_a − p_b of two independent samples, from their Wilson intervals (Newcombe 1998, method 10)."""
    a, b = wilson(successes_a, n_a, level), wilson(successes_b, n_b, level)
    p_a, p_b = successes_a / n_a, successes_b / n_b
    difference = p_a - p_b
    return Interval(
        low=max(-1.0, difference - math.hypot(p_a - a.low, b.high - p_b)),
        high=min(1.0, difference + math.hypot(a.high - p_a, p_b - b.low)),
        level=level,
        method="newcombe",
    )


def _require_counts(successes: int, n: int) -> None:
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 <= successes <= n and n >= 1, got {successes} of {n}")
