"""What does an estimator return? The number with what is needed to doubt it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sharpaudit.card import Interval
from sharpaudit.stats import t_interval


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

    @classmethod
    def of(cls, samples: ArrayLike) -> Sampled:
        """Mean and standard error of at least two `samples`."""
        values = np.asarray(samples, dtype=np.float64)
        if len(values) < 2:
            raise ValueError(f"a standard error needs at least 2 draws, got {len(values)}")
        return cls(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values)), len(values), len(values) - 1)

    def interval(self, level: float = 0.95) -> Interval:
        """Student's interval."""
        return t_interval(self.value, self.standard_error, self.freedom + 1, level)


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
