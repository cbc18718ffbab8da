"""When is one way of feeding the network clearly better than another, and how is a check written down?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Check, Scalar
from sharpaudit.stats import mcnemar

LEVEL = 0.001
"""A difference with a larger p-value is not clear. About twelve questions are asked, so chance alone flags fewer than 1 in 80."""

Hits = NDArray[np.bool_]
"""Which images were answered rightly."""

Losses = NDArray[np.float64]
"""Negative log-probabilities of the same images' labels."""

Evidence = Mapping[str, Scalar | list[Scalar]]


def clear(better: Hits, given: Hits, gain: float) -> bool:
    """Whether `better` is right on at least the share `gain` more of the same images, and on more than chance explains."""
    return float(better.mean() - given.mean()) >= gain and p_value(better, given) < LEVEL


def lower(better: Losses, given: Losses, share: float, least: float) -> bool:
    """Whether the mean of `better` is lower by `share` of that of `given`, by `least` nats, and by more than chance explains."""
    from scipy.stats import ttest_rel

    if not (np.isfinite(given).all() and np.isfinite(better).all()):
        return False
    if float(given.mean() - better.mean()) < max(least, share * float(given.mean())):
        return False
    return bool(np.ptp(given - better) == 0 or ttest_rel(better, given).pvalue < LEVEL)


def p_value(a: Hits, b: Hits) -> float:
    """Exact McNemar, two-sided: that both are equally often right."""
    return mcnemar(int((a & ~b).sum()), int((b & ~a).sum()))


def passed(name: str, message: str, evidence: Evidence | None = None) -> Check:
    """Nothing to complain of."""
    return Check(name=name, status="passed", message=message, evidence=dict(evidence or {}))


def flagged(name: str, message: str, evidence: Evidence) -> Check:
    """Something is likely to be wrong."""
    return Check(name=name, status="flagged", message=message, evidence=dict(evidence))


def inapplicable(name: str, message: str) -> Check:
    """The question makes no sense here."""
    return Check(name=name, status="not applicable", message=message)


def percent(share: float) -> str:
    """A share as it is read aloud."""
    return f"{100 * share:.1f}%"
