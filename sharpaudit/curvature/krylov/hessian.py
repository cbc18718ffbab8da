"""What is the spectrum of the Hessian: its ends, its sums and its density, and what do they share?

A Lanczos run finds both ends. What it has converged on is then known; further starts in the complement give the density, the
Frobenius norm and the share of negative curvature, and each of them checks that the run has missed nothing at its ends. The space
of the run also takes most of the variance out of a sampled trace (`trace.hutchinson`), so it is handed on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Interval
from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.krylov.lanczos import Extremes, Krylov, affordable
from sharpaudit.curvature.krylov.moments import METHOD, Part, factors
from sharpaudit.curvature.krylov.quadrature import Floats, Function
from sharpaudit.curvature.krylov.spectrum import Spectrum, Sum, spectrum, whole
from sharpaudit.curvature.objective import Objective

SMALL = 300
"""Parameters up to which all eigenvalues are found, whatever the budget: that takes a second, and four starts in so few
dimensions would leave up to 1.6% of the spectrum's range between the density and the true one (Wasserstein-1)."""

FLOOR = 0.01
"""A tolerance on the share of negative curvature is relative to the share plus this."""


@dataclass(frozen=True)
class HessianSpectrum:
    """What was found."""

    extremes: Extremes
    space: Krylov
    """The Krylov space of the first run."""
    allowed: int
    """Steps that run could take: as many as were asked for, or as memory allows."""
    density: Spectrum | None
    """Of sums ``trace``, ``square`` and ``negative``, see `negative_mass`; None if not asked for."""


def hessian_spectrum(
    objective: Objective,
    *,
    top: int,
    bottom: int,
    tolerance: float,
    max_iterations: int,
    starts: int,
    max_steps: int,
    sums_tolerance: float,
    seed: int,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> HessianSpectrum:
    """The `top` largest and `bottom` smallest eigenvalues, and with `starts` (0 or at least 2) of up to `max_steps` the density.

    Where all products cost no more than the starts could, or there are at most `SMALL`, the run goes on to every eigenvalue. The
    run is stream 0 of `seed`; the starts are streams of `seed` + 1.
    """
    size, device = objective.num_parameters, objective.inputs.device
    allowed = affordable(max_iterations, size, objective.dtype)
    spent = max_iterations + starts * max_steps
    space = Krylov(objective.hvp, size, seed, objective.dtype, device)
    ends = space.grow(top, bottom, tolerance, allowed, lambda part: on_progress(part * max_iterations / spent))
    if starts == 0:
        return HessianSpectrum(ends, space, allowed, None)
    functions: dict[str, Function] = {"trace": np.positive, "square": np.square, "negative": _negative}
    if size <= max(SMALL, starts * max_steps):
        density = whole(space, functions, on_progress)
    else:
        density = spectrum(
            objective.hvp,
            size,
            functions,
            starts=starts,
            seed=seed + 1,
            known=space.outliers(tolerance),
            max_steps=max_steps,
            tolerance=sums_tolerance,
            dtype=objective.dtype,
            device=device,
            on_progress=lambda part: on_progress((max_iterations + part * starts * max_steps) / spent),
        )
    return HessianSpectrum(density.verified(ends, tolerance), space, allowed, density)


def negative_mass(density: Spectrum) -> Sum:
    """Σ_{λ<0} λ² / Σ λ², the share of curvature that is negative: 0 at a minimum, ½ where both signs balance.

    Squares, because Σ|λ| is mostly made of the many eigenvalues near zero, whose signs no affordable number of steps tells apart:
    on a ResNet-20 it still doubles between 20 and 64. A ratio of two sums over the same starts; its standard error is that of its
    linearisation.
    """
    if density.whole:
        values = density.rules[0].nodes
        return Sum.exact(float(_below(values).sum() / (np.square(values).sum() or 1.0)))
    below, above = (Part.of(density.rules, density.num_known, density.size, f) for f in (_below, _above))
    square = below.total + above.total
    if square == 0:
        return Sum.exact(0.0)
    share = below.total / square
    error = density.sums["negative"].steps_error / density.sums["square"].sampled.value
    converged = density.sums["negative"].converged
    each = np.array(
        [(rule.integral(_below) - share * rule.integral(np.square)) * density.size / square for rule in density.rules]
    )
    spread = math.sqrt((1 - share) ** 2 * below.variance + share**2 * above.variance) / square
    informative = below.total > 0 and above.total > 0 and below.variance + above.variance > 0
    reason = None if informative else "the starts did not see curvature of both signs"
    found = Sampled(share, spread, len(each), len(each) - 1, reason=reason, terms=share + each)
    ci = None
    if informative:
        low, high = (1 / (1 + above.total / (factor * below.total)) for factor in factors(below, above))
        if not converged:  # the error is a bound: added to each interval it would make 98% of them cover
            low, high = max(0.0, low - error), min(1.0, high + error)
        ci = Interval(low=low, high=high, method=METHOD)
    lower, higher = (replace(found, value=share + sign * (0.0 if converged else error)) for sign in (-1, 1))
    return Sum(found, lower, higher, error, converged, ci)


def _below(values: Floats) -> Floats:
    """The square of a negative value."""
    squares: Floats = values.clip(max=0) ** 2
    return squares


def _above(values: Floats) -> Floats:
    """The square of a positive value."""
    squares: Floats = values.clip(min=0) ** 2
    return squares


def _negative(values: Floats) -> Floats:
    """The square of a negative value, and `FLOOR` times that of any: a relative tolerance is then on the share plus `FLOOR`."""
    weighed: Floats = _below(values) + FLOOR * values**2
    return weighed


@dataclass(frozen=True)
class Bin:
    """Eigenvalues of similar size and one sign."""

    node: float
    """Their weighted mean."""
    weight: float
    """Their share of all P."""
    low: float | None
    high: float | None
    """Student's interval of the weight over starts; None where every eigenvalue is known."""


PER_DECADE, DECADES = 4, 5
"""Bins per power of ten, and powers below the largest magnitude; what is smaller still is one bin around zero."""


def bins(density: Spectrum) -> list[Bin]:
    """The density as at most 41 bins, ascending; starts have different nodes, so bins are what can be compared between them.

    The bin around zero reaches as far as the heaviest node of any start: inside, starts do not tell eigenvalues apart.
    """
    nodes = [rule.nodes for rule in density.rules]
    scale = float(np.abs(np.concatenate(nodes)).max())
    core = 0.0 if density.whole else max(float(abs(rule.nodes[rule.weights.argmax()])) for rule in density.rules)
    index = [np.where(np.abs(values) <= core, 0, _bin(values, scale)) for values in nodes]
    found = []
    for number in np.unique(np.concatenate(index)):
        shares = np.array([rule.weights[i == number].sum() for rule, i in zip(density.rules, index, strict=True)])
        moments = [rule.weights[i == number] @ rule.nodes[i == number] for rule, i in zip(density.rules, index, strict=True)]
        if shares.sum() == 0:
            continue
        interval = None if density.whole else Sampled.of(shares).interval()
        low, high = (max(0.0, interval.low), min(1.0, interval.high)) if interval else (None, None)
        found.append(Bin(float(np.sum(moments) / shares.sum()), float(shares.mean()), low, high))
    return found


def _bin(values: Floats, scale: float) -> NDArray[np.int64]:
    """The number of each value's bin: 0 around zero, ±1 just outside it, up to ±(bins of one sign)."""
    if scale == 0:
        return np.zeros(len(values), np.int64)
    with np.errstate(divide="ignore"):
        below = np.floor(-PER_DECADE * np.log10(np.abs(values) / scale)).clip(0, PER_DECADE * DECADES)
    number: NDArray[np.int64] = (np.sign(values) * (PER_DECADE * DECADES - below)).astype(np.int64)
    return number
