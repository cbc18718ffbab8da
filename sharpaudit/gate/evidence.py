"""What do the card and the baseline say about a metric? Values are read again here; no stored verdict is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sharpaudit.card import Card, Failed, Interval, Measured, Measurement, Skipped
from sharpaudit.card.measures import find
from sharpaudit.card.patterns import matches
from sharpaudit.errors import CardError
from sharpaudit.gate.limits import bounded, rescaled, subtract, usable
from sharpaudit.metrics.disagreement import disagreement
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.sources import source
from sharpaudit.stats import Estimate, Resamples

Views = Mapping[str, Predictions]

SAME = 1e-9


@dataclass(frozen=True)
class Evidence:
    """A card, perhaps a baseline, and the predictions stored beside them."""

    card: Card
    views: Views
    baseline: Card | None = None
    baseline_views: Views = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse predictions of other examples."""
        for view in self.views.keys() & self.baseline_views.keys():
            if not np.array_equal(self.views[view].labels, self.baseline_views[view].labels):
                raise CardError(f"the predictions stored for '{view}' are not of the same examples", hint="measure both again")

    def named(self, metric: str) -> list[Measurement]:
        """The measurement of that name, else those that the pattern matches, else a `Skipped` that says why there is none."""
        if exact := self._by_name.get(metric):
            return [exact]
        if "*" in metric and (found := [m for name, m in self._by_name.items() if matches(metric, name)]):
            return found
        return [Skipped(name=metric, reason=self._absence(metric))]

    def difference(self, m: Measured, level: float) -> Estimate | str:
        """`m` less the baseline's, with a paired interval where both runs kept their predictions; or why there is none."""
        assert self.baseline is not None
        before = self.baseline.find(m.name)
        if not isinstance(before, Measured):
            return f"the baseline has no value: {before.reason}" if before else "the baseline has no value"
        if not math.isfinite(before.value):
            return "the baseline's value is not finite"
        if before.converged is False:
            return "the baseline's value did not converge"
        if m.unit != before.unit or _options(self.card, m) != _options(self.baseline, before):
            return "the baseline's value was measured with other options"
        value = subtract(m.value, before.value)
        ours = source(m.name, self.views, self.card.data.classes)
        theirs = source(m.name, self.baseline_views, self.baseline.data.classes)
        if ours and theirs and len(ours.columns) == len(theirs.columns):
            if abs(ours.value - m.value) > SAME or abs(theirs.value - before.value) > SAME:
                return "the stored predictions do not give the cards' values"
            if np.array_equal(ours.columns, theirs.columns):
                return Estimate(value, Interval(low=0.0, high=0.0, level=level, method="identical on every example"))
            paired = ours.difference(theirs, self._resamples(len(ours.columns)), level)
            return Estimate(value, paired.ci, paired.reason)
        after_ci, before_ci = usable(m.ci), usable(before.ci)
        if after_ci is None or before_ci is None:
            return Estimate(value, None, (m if after_ci is None else before).reason)
        after_ci, before_ci = rescaled(after_ci, m.value, level), rescaled(before_ci, before.value, level)
        low = math.hypot(m.value - after_ci.low, before_ci.high - before.value)
        high = math.hypot(after_ci.high - m.value, before.value - before_ci.low)
        method = "square and add, unpaired: no predictions beside both cards"
        return Estimate(value, Interval(low=bounded(value - low), high=bounded(value + high), level=level, method=method))

    def baseline_value(self, name: str) -> float | None:
        """The baseline's number, if it has one."""
        found = self.baseline.measured(name) if self.baseline else None
        return found.value if found else None

    @cached_property
    def _by_name(self) -> dict[str, Measurement]:
        """The card's measurements, and those of the family ``disagreement`` against the baseline."""
        found = {m.name: m for m in self.card.measurements}
        if self.baseline is None:
            return found
        return found | {m.name: m for m in disagreement(self.baseline_views, self.views, seed=self.card.seed)}

    @cached_property
    def _cache(self) -> dict[int, Resamples]:
        return {}

    def _resamples(self, n: int) -> Resamples:
        return self._cache.setdefault(n, Resamples(n, seed=self.card.seed))

    def _absence(self, metric: str) -> str:
        known = find(metric)
        if known is None:
            return "not measured"
        if known.probe == "disagreement":
            return "not measured: it needs --baseline and the predictions stored beside both cards"
        run = self.card.probes.get(known.probe)
        if run is not None and run.reason:
            return f"not measured: the probe {known.probe} was {run.status} ({run.reason})"
        return f"not measured: sharpaudit measure --probes {known.probe}"


def reason_for_absence(m: Skipped | Failed) -> str:
    """Why there is no number."""
    return m.reason if m.reason.startswith("not measured") else f"not measured: {m.status} ({m.reason})"


def _options(card: Card, m: Measured) -> object:
    run = card.probes.get(m.probe)
    return run.options if run else None
