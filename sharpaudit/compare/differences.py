"""How much do two models differ in each number, how sure is that, and what may be said of it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sharpaudit.card import Card, Direction, Interval, Measured
from sharpaudit.card.invariance import verdicts
from sharpaudit.compare.geometry import FLATTER_WHEN_LARGER, is_geometric, on_both
from sharpaudit.compare.records import Difference, Verdict
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.recompute import Source, source
from sharpaudit.stats import Estimate, Resamples, benjamini_yekutieli, wilson

Views = Mapping[str, Predictions]

LEVEL = 0.95

MARGINS: Mapping[str, float] = {"fraction": 0.01, "nats": 0.02, "clean.brier": 0.01}
"""Differences that do not matter unless the caller says otherwise, by measurement or by unit: one point of accuracy, …"""

SAME = 1e-9
"""A value recomputed from stored columns may differ from the card's by summation order and no more."""


def differences(cards: Sequence[Card], views: Sequence[Views], margins: Mapping[str, float] = MARGINS) -> list[Difference]:
    """Every number that both cards hold, B less A; verdicts after Benjamini-Yekutieli within each family."""
    a, b = cards
    resamples: dict[int, Resamples] = {}

    def resamples_of(n: int) -> Resamples:
        return resamples.setdefault(n, Resamples(n, seed=a.seed))

    tried = [verdicts(card.measurements, card.tables) for card in cards]
    rows = []
    for first in a.measurements:
        second = b.measured(first.name)
        if not isinstance(first, Measured) or second is None:
            continue
        estimate, paired = _difference(first, second, cards, views, resamples_of)
        rows.append((first, second, estimate, paired))
    raw = [
        p_value(estimate.value, estimate.ci) if estimate.ci and (first.direction != "none" or is_geometric(first.name)) else None
        for first, _, estimate, _ in rows
    ]
    adjusted = _adjusted([first.name for first, *_ in rows], raw)
    return [
        Difference(
            name=first.name,
            unit=first.unit,
            direction=first.direction,
            a=first.value,
            b=second.value,
            difference=estimate.value,
            ci=estimate.ci,
            reason=estimate.reason,
            paired=paired,
            n=min(first.n, second.n),
            margin=(margin := _margin(first, margins)),
            p_value=p,
            p_adjusted=q,
            verdict=verdict(first.name, first.direction, estimate, q, margin),
            rescaling=on_both(tried[0].get(first.name), tried[1].get(first.name)),
        )
        for (first, second, estimate, paired), p, q in zip(rows, raw, adjusted, strict=True)
    ]


def verdict(name: str, direction: Direction, difference: Estimate, p: float | None, margin: float | None) -> Verdict | None:
    """The word for B against A.

    A difference that surely lies within the margin is equivalent even where it is surely not zero: the margin says what matters.
    """
    if direction == "none" and not is_geometric(name):
        return None
    if difference.ci is None or p is None:
        return "undecided"
    if margin is not None and direction != "none" and -margin <= difference.ci.low and difference.ci.high <= margin:
        return "equivalent within margin"
    if p > 1 - LEVEL:
        return "undecided"
    up = difference.value > 0
    if direction == "none":
        return "sharper" if up != (name in FLATTER_WHEN_LARGER) else "flatter"
    return "better" if up == (direction == "higher") else "worse"


def p_value(difference: float, ci: Interval) -> float:
    """Two-sided p-value of no difference that agrees with the interval: below 1 − level exactly when it excludes zero."""
    from scipy.special import erfc, ndtri

    side = difference - ci.low if difference > 0 else ci.high - difference
    if difference == 0 or side <= 0:
        return 1.0 if ci.low <= 0 <= ci.high else 0.0
    return float(erfc(abs(difference) / side * float(ndtri(0.5 + ci.level / 2)) / math.sqrt(2)))


def minus(b: Estimate, a: Estimate) -> Estimate:
    """B − A of independent estimates, from their intervals (square and add: Zou & Donner 2008)."""
    value = b.value - a.value
    if a.ci is None or b.ci is None:
        return Estimate(value, None, a.reason or b.reason)
    low = math.hypot(b.value - b.ci.low, a.ci.high - a.value)
    high = math.hypot(b.ci.high - b.value, a.value - a.ci.low)
    return Estimate(value, Interval(low=value - low, high=value + high, level=LEVEL, method="square and add"))


def _difference(
    first: Measured, second: Measured, cards: Sequence[Card], views: Sequence[Views], resamples_of: Callable[[int], Resamples]
) -> tuple[Estimate, bool]:
    """B − A, and whether its interval is paired."""
    difference = second.value - first.value
    if first.unit != second.unit or _options(cards[0], first) != _options(cards[1], second):
        return Estimate(difference, None, "measured with other options"), False
    if is_geometric(first.name) and cards[0].probe_set != cards[1].probe_set:
        return Estimate(difference, None, "measured on another probe set, or in another precision"), False
    if first.name == "clean.generalisation_gap":
        train, test = (_paired(f"clean.{name}", cards, views, resamples_of) for name in ("train_accuracy", "accuracy"))
        paired = minus(train, test) if train and test else None
    else:
        paired = _paired(first.name, cards, views, resamples_of)
    if paired is not None and abs(paired.value - difference) <= SAME:
        return paired, True
    return minus(_estimate(second), _estimate(first)), False


def _paired(
    name: str, cards: Sequence[Card], views: Sequence[Views], resamples_of: Callable[[int], Resamples]
) -> Estimate | None:
    """B − A from the stored columns; None where they do not give both cards' values."""
    sources = [source(name, view, card.data.classes) for card, view in zip(cards, views, strict=True)]
    first, second = sources
    if first is None or second is None or len(first.columns) != len(second.columns):
        return None
    if "accuracy" in name and "/class/" not in name and np.array_equal(first.columns, second.columns):
        return _never_discordant(first)
    return second.difference(first, resamples_of(len(first.columns)), LEVEL)


def _never_discordant(both: Source) -> Estimate:
    """No example told the models apart: the difference is no larger than the share of examples that could."""
    n = len(both.columns)
    bound = wilson(0, n, LEVEL).high
    return Estimate(0.0, Interval(low=-bound, high=bound, level=LEVEL, method=f"wilson bound on 0 discordant of {n}"))


def _estimate(m: Measured) -> Estimate:
    """The card's number and interval; for an eigenvalue the bound that its residual gives, on this probe set."""
    if m.converged is False:
        return Estimate(m.value, None, "an iteration did not converge")
    if m.ci is None and m.residual is not None:
        bound = abs(m.value) * m.residual
        return Estimate(m.value, Interval(low=m.value - bound, high=m.value + bound, level=1.0, method="residual bound"))
    return Estimate(m.value, m.ci, m.reason)


def _options(card: Card, m: Measured) -> object:
    run = card.probes.get(m.probe)
    return run.options if run else None


def _margin(m: Measured, margins: Mapping[str, float]) -> float | None:
    return margins.get(m.name, margins.get(m.unit)) if m.direction != "none" else None


def _family(name: str) -> str:
    """Corrections are made within ``clean``, ``corruption``, … and within long lists such as ``clean.accuracy/…``."""
    return name.partition("/")[0] if "/" in name else name.partition(".")[0]


def _adjusted(names: Sequence[str], p_values: Sequence[float | None]) -> list[float | None]:
    adjusted: list[float | None] = [None] * len(names)
    known = [i for i, p in enumerate(p_values) if p is not None]
    for family in {_family(names[i]) for i in known}:
        members = [i for i in known if _family(names[i]) == family]
        for i, q in zip(members, benjamini_yekutieli([p_values[i] or 0.0 for i in members]), strict=True):
            adjusted[i] = float(q)
    return adjusted
