"""How often does an interval hold the truth, and on which side does it miss?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Interval
from sharpaudit.curvature.estimates import Sampled

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    measure: str
    method: str
    """Of most of the intervals."""
    n: int
    """Examples or draws of one simulated audit."""
    runs: int
    coverage: float
    below: float
    """Share of the intervals that lie wholly below the truth."""
    above: float
    none: float
    """Share of the audits that gave no interval, and a reason."""

    @property
    def line(self) -> str:
        shares = f"{self.coverage:8.3f} {self.below:7.3f} {self.above:7.3f} {self.none:7.3f}"
        return f"{self.measure:<44} {self.method:<34} {self.n:>6} {self.runs:>6} {shares}"

    @property
    def wrong(self) -> float:
        """Share of all audits that printed an interval without the truth in it."""
        return (self.below + self.above) * (1 - self.none)

    def fair(self, least: float = 0.93, most: float = 0.97) -> bool:
        """Whether coverage lies within bounds and misses are even to a factor of two, up to three errors of the simulation."""
        error = 3 * math.sqrt(0.05 * 0.95 / self.runs)
        few, many = sorted((self.below, self.above))
        slack = 3 * math.sqrt((many + 4 * few + 1e-3) / self.runs)
        return least - error <= self.coverage <= most + error and many <= 2 * few + slack


HEADER = f"{'measure':<44} {'method':<34} {'n':>6} {'runs':>6} {'coverage':>8} {'below':>7} {'above':>7} {'none':>7}"


def row(measure: str, n: int, intervals: Iterable[Interval | None], truth: float) -> Row:
    """The line of some simulated intervals for one truth."""
    found = list(intervals)
    given = [ci for ci in found if ci is not None]
    methods = [ci.method for ci in given]
    return Row(
        measure,
        max(set(methods), key=methods.count) if methods else "none given",
        n,
        len(found),
        _share([ci.low <= truth <= ci.high for ci in given], 1.0),
        _share([ci.high < truth for ci in given], 0.0),
        _share([ci.low > truth for ci in given], 0.0),
        1 - len(given) / len(found),
    )


def _share(found: list[bool], of_none: float) -> float:
    return float(np.mean(found)) if found else of_none


def of_draws(measure: str, population: Floats, n: int, *, certain: float = 0.0, runs: int = 2000) -> Row:
    """The mean of `n` independent draws from `population`."""
    rng = np.random.default_rng(n)
    samples = (Sampled.of(rng.choice(population, n), certain=certain) for _ in range(runs))
    return row(measure, n, (None if s.reason else s.interval() for s in samples), float(population.mean()))


def of_examples(
    measure: str, n: int, estimate: Callable[[NDArray[np.int64]], tuple[float, Interval | None]], size: int, runs: int
) -> Row:
    """A number that is estimated from the rows it is given of a population of `size`; the truth is its mean over samples of `n`.

    For a mean that is the population's; for a biased number, as ECE, what is expected at this n.
    """
    rng = np.random.default_rng(n)
    found = [estimate(rng.integers(size, size=n)) for _ in range(runs)]
    return row(measure, n, (ci for _, ci in found), float(np.mean([value for value, _ in found])))
