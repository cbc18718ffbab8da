"""What does an estimator return? The number with what is needed to doubt it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharpaudit.card import Interval
from sharpaudit.stats import Estimate, t_interval

USUAL_SKEWNESS = 2.5
"""Skewness over coefficient of variation of a sum Σ w z² of squared normal draws with weights of one sign: at least 2 by the
Cauchy-Schwarz inequality, 2 to 3 on the spectra of real networks. To second order a rise of the loss under Gaussian noise is such
a sum, and so is a quadratic form of the Hessian. The scatter of few draws tells their skewness better than their cubes do."""

DRAWS_FOR_SKEWNESS = 20
"""Draws whose own skewness counts as much as the usual one."""

MOST_SCATTER = math.sqrt(2)
"""Coefficient of variation beyond which draws of one sign are no such sum."""

FEWEST_EFFECTIVE = 5
"""Draws that a mean must rest on: (Σx)²/Σx², which is n for equal ones and 1 where one decides."""


@dataclass(frozen=True)
class Sampled:
    """The mean of independent draws."""

    value: float
    standard_error: float
    """Of the value; 0 when every draw gave the same."""
    n: int
    """Independent draws behind the standard error (pairs count once)."""
    freedom: int
    """Degrees of freedom of the standard error: n − 1 where it is the scatter of the draws."""
    skewness: float = 0.0
    """Of a draw, as far as it is known."""
    reason: str | None = None
    """Why the draws give no interval; None where they do."""
    terms: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    """What was averaged: (n,), or (n, images) where each draw is itself a mean over images. None where nobody kept it."""

    @classmethod
    def of(cls, samples: ArrayLike, *, certain: float = 0.0) -> Sampled:
        """Mean and standard error of at least two `samples`, a part of each of which, `certain`, is no matter of chance."""
        values = np.asarray(samples, dtype=np.float64)
        n = len(values)
        if n < 2:
            raise ValueError(f"a standard error needs at least 2 draws, got {n}")
        mean, deviation = float(values.mean()), float(values.std(ddof=1))
        if deviation == 0:
            return cls(mean, 0.0, n, n - 1, reason="every draw gave the same value", terms=values)
        part = values - certain
        one_sided = part.min() >= 0 or part.max() <= 0
        scatter = deviation / abs(part.mean()) if one_sided else 0.0
        usual = math.copysign(USUAL_SKEWNESS * min(scatter, MOST_SCATTER), part.mean())
        effective = n / (1 + scatter**2 * (n - 1) / n)
        reason = (
            f"a few of {n} draws decide the mean: they are worth {effective:.1f} equal ones"
            if scatter > MOST_SCATTER and effective < FEWEST_EFFECTIVE
            else None
        )
        own = n / max(1, n - 1) / max(1, n - 2) * float(np.sum(((values - mean) / deviation) ** 3))
        skewness = (n * own + DRAWS_FOR_SKEWNESS * usual) / (n + DRAWS_FOR_SKEWNESS)
        return cls(mean, deviation / math.sqrt(n), n, n - 1, skewness, reason, values)

    @classmethod
    def crossed(cls, table: ArrayLike) -> Sampled:
        """Mean and standard error over the draws, rows, each of them a mean over the same images, columns."""
        values = np.asarray(table, dtype=np.float64)
        return replace(cls.of(values.mean(axis=1)), terms=values)

    def interval(self, level: float = 0.95) -> Interval:
        """Student's interval with the skewness of the draws removed."""
        return t_interval(self.value, self.standard_error, self.freedom + 1, level, skewness=self.skewness)

    @property
    def estimate(self) -> Estimate:
        """The mean with its interval, or with the reason why the draws give none."""
        return Estimate(self.value, None if self.reason else self.interval(), self.reason)


@dataclass(frozen=True)
class Eigenvalue:
    """An eigenvalue as an iteration found it."""

    value: float
    residual: float
    """‖Av − λv‖ / |λ| for the unit vector v found: an eigenvalue lies within residual·|λ| of the value. Where |λ| is below 1e-3
    of the largest magnitude, relative to that."""
    iterations: int
    """Products spent."""
    converged: bool
    """Whether the residual met the tolerance. Never use an eigenvalue without reading this."""
