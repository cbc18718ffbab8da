"""How much do two models differ in each number, how sure is that, and what may be said of it?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Card, Interval, Measured
from sharpaudit.card.invariance import on_both, verdicts
from sharpaudit.card.measures import GEOMETRY, Named, find, role
from sharpaudit.comparison.records import Difference, Verdict
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.sources import Source, source
from sharpaudit.metrics.terms import Over, Terms
from sharpaudit.stats import Estimate, Resamples, benjamini_yekutieli, wilson

Views = Mapping[str, Predictions]

LEVEL = 0.95

MARGINS: Mapping[str, float] = {"fraction": 0.01, "nats": 0.02, "clean.brier": 0.01}
"""Differences that do not matter unless the caller says otherwise, by measurement or by unit: one point of accuracy, …"""

_ZERO = Estimate(0.0, Interval(low=0.0, high=0.0, level=LEVEL, method="identical in all that both runs keep"))
"""No difference, without doubt."""

SAME = 1e-9
"""A value recomputed from stored columns may differ from the card's by summation order and no more."""


def differences(
    cards: Sequence[Card],
    views: Sequence[Views],
    margins: Mapping[str, float] = MARGINS,
    terms: Sequence[Mapping[str, Terms]] = ({}, {}),
) -> list[Difference]:
    """Every number that both cards hold, B less A; verdicts after Benjamini-Yekutieli within each family."""
    a, b = cards
    evidence = _Evidence(cards, views, terms)
    tried = [verdicts(card.measurements, card.tables) for card in cards]
    rows = []
    for first in a.measurements:
        second = b.measured(first.name)
        if not isinstance(first, Measured) or second is None:
            continue
        rows.append((first, second, *_difference(first, second, evidence)))
    raw = [p_value(estimate.value, estimate.ci) if estimate.ci and _says(first) else None for first, _, estimate, _ in rows]
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
            paired=over is not None,
            over=over,
            n=min(first.n, second.n),
            margin=(margin := _margin(first, margins)),
            p_value=p,
            p_adjusted=q,
            verdict=verdict(first, estimate, q, margin),
            declared=first.declared,
            rescaling=on_both(tried[0].get(first.name), tried[1].get(first.name)),
        )
        for (first, second, estimate, over), p, q in zip(rows, raw, adjusted, strict=True)
    ]


def verdict(number: Named, difference: Estimate, p: float | None, margin: float | None) -> Verdict | None:
    """The word for B against A.

    A difference that surely lies within the margin is equivalent even where it is surely not zero: the margin says what matters.
    """
    if not _says(number):
        return None
    if difference.ci is None or p is None:
        return "undecided"
    if difference.ci.low == difference.ci.high == 0:
        return "identical"
    if margin is not None and number.direction != "none" and -margin <= difference.ci.low and difference.ci.high <= margin:
        return "equivalent within margin"
    if p > 1 - LEVEL:
        return "undecided"
    up = difference.value > 0
    if number.direction == "none":
        known = find(number)
        return "flatter" if up == (known is not None and known.flatter_when_larger) else "sharper"
    return "better" if up == (number.direction == "higher") else "worse"


def _says(number: Named) -> bool:
    """Whether more of it is better or worse, sharper or flatter."""
    return number.direction != "none" or role(number) == "flatness"


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


@dataclass(frozen=True)
class _Evidence:
    """What two runs keep, and what stands behind each of their numbers."""

    cards: Sequence[Card]
    views: Sequence[Views]
    terms: Sequence[Mapping[str, Terms]]

    @cached_property
    def alike(self) -> bool:
        """Whether all that both runs keep, of any example or draw, is the same to the last bit: they measured one function."""
        first, second = (card.predictions for card in self.cards)
        if first is not None and first == second:
            return True
        compared = [
            _same(a[name].columns(), b[name].columns())
            for a, b in (self.views, self.terms)
            for name in sorted(a.keys() & b.keys())
        ]
        return bool(compared) and all(compared)

    @cached_property
    def _resamples(self) -> dict[int, Resamples]:
        return {}

    def resamples(self, n: int) -> Resamples:
        """The same ones for every number."""
        return self._resamples.setdefault(n, Resamples(n, seed=self.cards[0].seed))

    def sources(self, name: str) -> list[Source | None]:
        """The columns behind a number, by model."""
        return [source(name, view, card.data.classes) for card, view in zip(self.cards, self.views, strict=True)]


def _difference(first: Measured, second: Measured, evidence: _Evidence) -> tuple[Estimate, Over | None]:
    """B − A, and what its interval is paired over, if anything."""
    cards = evidence.cards
    difference = second.value - first.value
    if first.unit != second.unit or _options(cards[0], first) != _options(cards[1], second):
        return Estimate(difference, None, "measured with other options"), None
    if first.name.startswith(GEOMETRY) and cards[0].probe_set != cards[1].probe_set:
        return Estimate(difference, None, "measured on another probe set, in another precision, or of other parameters"), None
    if evidence.alike and first == second:
        return _ZERO, evidence.terms[0][first.name].over if first.name in evidence.terms[0] else "images"
    by_terms = _by_terms(first, second, evidence)
    if by_terms is not None:
        return by_terms
    if first.name == "clean.generalisation_gap":
        train, test = (_by_views(f"clean.{name}", evidence) for name in ("train_accuracy", "accuracy"))
        paired = minus(train, test) if train and test else None
    else:
        paired = _by_views(first.name, evidence)
    if paired is not None and abs(paired.value - difference) <= SAME:
        return paired, "images"
    return _unpaired(_estimate(first), _estimate(second)), None


def _unpaired(a: Estimate, b: Estimate) -> Estimate:
    """B − A; where there is no interval, the reason of whichever has none, or of both."""
    found = minus(b, a)
    reasons = {each.reason: name for name, each in (("A", a), ("B", b)) if each.ci is None}
    if len(reasons) == 1 and a.ci is None and b.ci is None:
        return found
    return found if found.ci else replace(found, reason="; ".join(f"{name}: {reason}" for reason, name in reasons.items()))


def _by_terms(first: Measured, second: Measured, evidence: _Evidence) -> tuple[Estimate, Over | None] | None:
    """B − A from the terms that both runs keep of a number; None where they do not.

    Where terms say nothing of its error, and both cards have intervals, those give a wider one; its method says why. Errors of
    iterations that stopped at the same step cancel like everything else that both have in common. Where they stopped at different
    steps, what their residuals bound is added.
    """
    a, b = (kept.get(first.name) for kept in evidence.terms)
    if a is None or b is None or not (_gives(a, first) and _gives(b, second)):
        return None
    found = b.difference(a, LEVEL)
    if found is None:
        return None
    if found.ci is None:
        alone = minus(*(Estimate(m.value, m.ci if m.converged is not False else None) for m in (second, first)))
        wider = alone.ci and alone.ci.model_copy(update={"method": f"{alone.ci.method}: {found.reason}"})
        return Estimate(found.value, wider, None if wider else found.reason), None
    if first.converged is False or second.converged is False:
        return Estimate(found.value, None, "an iteration did not converge"), a.over
    if first.iterations != second.iterations:
        error = math.hypot(*(abs(m.value) * (m.residual or 0.0) for m in (first, second)))
        ends = {"low": found.ci.low - error, "high": found.ci.high + error, "method": f"{found.ci.method}, with residuals"}
        return Estimate(found.value, found.ci.model_copy(update=ends)), a.over
    return found, a.over


def _gives(terms: Terms, m: Measured) -> bool:
    return abs(terms.value - m.value) <= SAME * max(abs(m.value), float(np.abs(terms.values).max()))


def _by_views(name: str, evidence: _Evidence) -> Estimate | None:
    """B − A from the stored columns; None where they do not give both cards' values."""
    first, second = evidence.sources(name)
    if first is None or second is None or len(first.columns) != len(second.columns):
        return None
    if np.array_equal(first.columns, second.columns):
        if evidence.alike:
            return _ZERO
        if "accuracy" in name and "/class/" not in name:
            return _never_discordant(first)
    return second.difference(first, evidence.resamples(len(first.columns)), LEVEL)


def _same(a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


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
