"""By how much does the right logit lead?

Why it matters
    Two models of equal accuracy can stand at different distances from changing their minds.

How it is computed
    For each image the logit of its label less the largest other logit; the median over images, with its order-statistic interval.

When not to trust it
    Logits can be scaled without changing a prediction: compare only models that are calibrated alike.

Sources
    Order statistics: David and Nagaraja 2003, section 7.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from sharpaudit.card import Interval
from sharpaudit.card.measures import Measure, Scale
from sharpaudit.probes import Finding, Need, Workbench, measured, probe
from sharpaudit.stats import Estimate

QUANTILE = Measure("margin.quantile", "Quantile of the margins", Scale("logits"), "higher", "safety", ("safety", "leaderboard"))


@dataclass(frozen=True, kw_only=True)
class MarginOptions:
    """Settings of the margin probe."""

    quantile: float = 0.5
    """Which quantile of the margins."""


@probe(needs={Need.PREDICTIONS}, version=1, measures=[QUANTILE])
def margin(bench: Workbench, options: MarginOptions) -> Iterator[Finding]:
    """Yield the quantile of the margins."""
    margins = np.sort(bench.predictions.margin)
    n, q = len(margins), options.quantile
    low, high = (int(np.clip(binom.ppf(level, n, q), 0, n - 1)) for level in (0.025, 0.975))
    ci = Interval(low=float(margins[low]), high=float(margins[high]), method="order statistics")
    found = Estimate(float(np.quantile(margins, q)), ci)
    yield measured(QUANTILE, found, n, "logit of the label less the largest other", {"quantile": q})
