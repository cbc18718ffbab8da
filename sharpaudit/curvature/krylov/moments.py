r"""How far is a sum over the spectrum from what a few starts say of it? The moments of their own quadrature tell.

From a start uniform on the unit sphere, P·vᵀf(A)v has the mean Σf and, about it, to the order 1/P² the cumulants

    2 Σ(f − f̄)²   and   8 Σ(f − f̄)³,   f̄ = Σf/P,

which are sums over the spectrum themselves: the rules that gave Σf give them too. Four starts say little by their scatter
(Student's quantile at three degrees of freedom is 3.2), and where few eigenvalues carry the sum it is small when the mean is low;
by their moments the intervals are half as wide, and do not shrink when four starts agree by luck.

What is not negative is judged on the logarithmic scale. With Â = A(1 + cZ), Z standardised with skewness γ, and a squared error
σ̂² = σ²(1 + δ) from the same rules, cov(Z, δ) = γ/2, because cov(Σ z²g, 2Σ z²g²) is half the third cumulant. So

    U = (log Â − log A)·Â/σ̂   has   κ₁ = −c/2 − (γ/2 − 2c)/2   and   κ₃ = 3c − γ/2   to that order,

and the logarithm of a ratio of two sums over disjoint parts of the spectrum has the difference of both, each in its share of the
variance. Of all powers of the ratio one is symmetric to second order (Wilson and Hilferty 1931 found the cube root of χ²):
(1 − e^(−sU))/s with s = κ₃/3, whose mean is κ₁ − κ₃/6. Over real, flat, steep and dominated spectra it covers 94 to 97% with
four and with ten starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sharpaudit.curvature.krylov.quadrature import Function, Rule

METHOD = "power scale, by moments"
"""Of the intervals."""

SKEWEST = 6
"""Skewness over coefficient of variation, which asks for the logarithm itself: 2 to 3 on real spectra, and 2.8 where one
eigenvalue has 70% of the sum, but estimated as far more from starts that happen to miss it."""

STRAIGHT = 1e-6
"""Bends too small to be taken back without cancellation, and to matter."""


@dataclass(frozen=True)
class Part:
    """The estimate of a sum over some of the spectrum, as good as its own rules say."""

    sampled: float
    """The estimated part."""
    variance: float
    third: float
    """The third cumulant of the estimate."""
    certain: float = 0.0
    """The part that was known before."""

    @classmethod
    def of(cls, rules: Sequence[Rule], num_known: int, size: int, function: Function) -> Part:
        """Σ f over the spectrum of order `size`, from `rules` whose first `num_known` nodes were known."""
        known = float(function(rules[0].nodes[:num_known]).sum())
        free, n = size - num_known, len(rules)
        first, second, third = (
            sum(float(size / n * rule.weights[num_known:] @ function(rule.nodes[num_known:]) ** power) for rule in rules)
            for power in (1, 2, 3)
        )
        mean = first / free
        about = second - free * mean**2, third - 3 * mean * second + 2 * free * mean**3
        variance, cubed = 2 / n * max(0.0, about[0]), 8 / n**2 * about[1]
        return cls(first, variance, min(cubed, SKEWEST * variance**2 / first) if first > 0 else cubed, known)

    @property
    def total(self) -> float:
        """All of the sum."""
        return self.certain + self.sampled


def factors(part: Part, over: Part | None = None, level: float = 0.95) -> tuple[float, float]:
    """By which factors `part.total`, or its ratio to `over.total`, may be smaller and larger than it was found."""
    from scipy.special import ndtri

    quantile = float(ndtri(0.5 + level / 2))
    variance = middle = scaling = third = 0.0
    for sign, each in ((1, part), (-1, over)):
        if each is not None and each.variance > 0:
            c, skewness = math.sqrt(each.variance) / each.total, each.third / each.variance**1.5
            variance += c**2
            middle -= sign * c**2 / 2
            scaling += sign * c**3 * (skewness / 2 - 2 * c)
            third += sign * c**3 * (3 * c - skewness / 2)
    error = math.sqrt(variance)
    first, third = middle / error - scaling / (2 * error**3), third / error**3
    low, high = (math.exp(-error * _unpowered(end + first - third / 6, third / 3)) for end in (quantile, -quantile))
    return low, high


def _unpowered(y: float, s: float) -> float:
    """The u of which (1 − e^(−su))/s is y: infinite where none is so large."""
    if abs(s) < STRAIGHT:
        return y
    return -math.log1p(-s * y) / s if s * y < 1 else math.copysign(math.inf, s)
