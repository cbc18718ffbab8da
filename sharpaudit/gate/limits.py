"""Is a number inside its limits, and how sure is that?"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from decimal import Decimal

from sharpaudit.card import Interval
from sharpaudit.gate.policy import Rule

LEVELS = (0.5, 0.9999)
"""Of an interval that is stretched to another confidence: at 0 and 1 the quantiles of the normal are 0 and infinite."""


@dataclass(frozen=True)
class Limits:
    """A lower and an upper limit; either may be absent."""

    low: float | None
    high: float | None

    def hold(self, value: float) -> bool:
        """Whether `value` lies inside, the limits included."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def margin(self, value: float) -> float:
        """Distance of `value` to the nearest limit, positive inside."""
        sides = [value - self.low] if self.low is not None else []
        return bounded(min([*sides, self.high - value] if self.high is not None else sides))

    def surely_hold(self, ci: Interval) -> bool:
        """Whether the whole interval lies inside."""
        return self.hold(ci.low) and self.hold(ci.high)

    def surely_broken(self, ci: Interval) -> bool:
        """Whether the whole interval lies beyond one limit."""
        return (self.low is not None and ci.high < self.low) or (self.high is not None and ci.low > self.high)


def limits(rule: Rule) -> Limits:
    """Of the value for a fixed limit; of value − baseline otherwise."""
    if rule.baseline is None:
        return Limits(rule.min, rule.max)
    down, up = rule.baseline.max_decrease, rule.baseline.max_increase
    return Limits(None if down is None else -down, up)


def in_words(rule: Rule) -> str:
    """The limit as the gate prints it, to four digits."""
    if rule.baseline is None:
        low, high = rule.min, rule.max
        parts = [f"at least {low:.4g}" if low is not None else "", f"at most {high:.4g}" if high is not None else ""]
    else:
        down, up = rule.baseline.max_decrease, rule.baseline.max_increase
        parts = [
            f"at most {down:.4g} below the baseline" if down is not None else "",
            f"at most {up:.4g} above the baseline" if up is not None else "",
        ]
    return " and ".join(part for part in parts if part)


def subtract(value: float, baseline: float) -> float:
    """Value − baseline in decimal, so that 0.90 against 0.91 is −0.01 and meets a limit of −0.01 exactly."""
    return bounded(float(Decimal(repr(value)) - Decimal(repr(baseline))))


def bounded(value: float) -> float:
    """`value`, or the largest float of its sign where a sum ran over."""
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def usable(ci: Interval | None) -> Interval | None:
    """An interval that says something: finite, ordered, and of a level from which others can be told."""
    sound = ci is not None and math.isfinite(ci.low) and math.isfinite(ci.high) and ci.low <= ci.high
    return ci if ci is not None and sound and LEVELS[0] <= ci.level <= LEVELS[1] else None


def rescaled(ci: Interval, value: float, confidence: float) -> Interval:
    """`ci` at another confidence, each side stretched by the ratio of normal quantiles."""
    if ci.level == confidence:
        return ci
    ratio = _quantile(confidence) / _quantile(ci.level)
    return Interval(
        low=bounded(value - (value - ci.low) * ratio),
        high=bounded(value + (ci.high - value) * ratio),
        level=confidence,
        method=f"{ci.method}, rescaled",
    )


def violation_p_value(within: Limits, difference: float, ci: Interval) -> float:
    """P-value of "the limits hold", from the interval: the side towards a limit gives the standard error.

    One-sided for one limit; with two the smaller of both is doubled, so that the false alarms stay what the confidence says.
    """
    from scipy.special import ndtr

    tails = []
    for limit, side, beyond in ((within.low, ci.high - difference, -1), (within.high, difference - ci.low, 1)):
        if limit is not None:
            excess = beyond * (difference - limit)
            z = excess / side * _quantile(ci.level) if side > 0 else (math.inf if excess > 0 else -math.inf)
            tails.append(float(ndtr(-z)))
    return min(1.0, len(tails) * min(tails))


def examples_needed(within: Limits, value: float, ci: Interval, n: int) -> int | None:
    """About how many examples would decide it if the value stayed where it is: intervals shrink with √n."""
    half, distance = max(value - ci.low, ci.high - value), abs(within.margin(value))
    return math.ceil(n * (half / distance) ** 2) if half < 1000 * distance else None  # beyond a million times n: no answer


def _quantile(confidence: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + confidence / 2))
