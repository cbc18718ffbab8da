"""How are the eigenvalues of a symmetric operator distributed, and what are sums of functions of them?

Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017; Golub and Meurant): from a random unit start v, m Lanczos steps give
nodes θ_j (Ritz values) and weights w_j (squared first components of T's eigenvectors) with vᵀf(A)v ≈ Σ_j w_j f(θ_j), exact for
polynomials up to degree 2m − 1. The mean over starts, times the order P, estimates tr f(A) = Σᵢ f(λᵢ).

There are two errors, and each is reported: between starts (the standard error) and of too few steps. For an operator without
negative eigenvalues the second is bracketed: the Gauss rule and the Gauss-Radau rule with a node at 0 bound soft rank and
damped log-determinant from both sides (Golub and Meurant). Otherwise the rule is compared with that of half the steps. Trace
and Frobenius norm need two steps; soft rank and log-determinant can need hundreds, because they bend near zero, where most
eigenvalues lie, and there two successive rules agree long before either is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from sharpaudit.curvature.lanczos import TOLERANCE, Extremes, Krylov, Product
from sharpaudit.curvature.records import Sampled

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]
"""Of an eigenvalue, vectorised."""


@dataclass(frozen=True)
class Rule:
    """The quadrature rule of one start."""

    nodes: Floats
    weights: Floats
    """Non-negative, of sum 1."""

    def integral(self, function: Function) -> float:
        """Σ_j w_j f(θ_j), the mean of f over the spectrum as this start sees it."""
        return float(self.weights @ function(self.nodes))


@dataclass(frozen=True)
class Sum:
    """An estimate of Σᵢ f(λᵢ)."""

    sampled: Sampled
    """Value and standard error over starts, and their number."""
    steps_error: float
    """Relative difference of the two rules, averaged over starts."""
    converged: bool
    """Whether that is within the tolerance. The standard error is no part of this verdict."""


@dataclass(frozen=True)
class Spectrum:
    """What Lanczos quadrature saw of an operator."""

    size: int
    rules: tuple[Rule, ...]
    """One a start."""
    extremes: Extremes
    """From the first start."""
    sums: Mapping[str, Sum]
    products: int
    """Products spent in all."""

    def density(self, grid: Floats, width: float) -> Floats:
        """The density of eigenvalues at the points of `grid`, smoothed by a Gaussian of standard deviation `width`.

        One row a start, each of integral 1; their differences show how far one start can be trusted.
        """
        shapes = [
            np.exp(-0.5 * ((grid[:, None] - rule.nodes) / width) ** 2) @ rule.weights / (width * np.sqrt(2 * np.pi))
            for rule in self.rules
        ]
        return np.array(shapes)


def spectrum(
    product: Product,
    size: int,
    functions: Mapping[str, Function],
    *,
    starts: int,
    seed: int,
    top: int = 1,
    bottom: int = 1,
    min_steps: int = 10,
    max_steps: int = 100,
    nonnegative: bool = False,
    tolerance: float = TOLERANCE,
    sums_tolerance: float = 0.01,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Spectrum:
    """Sums of `functions` over the eigenvalues of a symmetric operator of order `size`, and its extreme eigenvalues.

    Every start takes steps until its sums have settled to `sums_tolerance`, the first also until `top` and `bottom` eigenvalues
    have a relative residual of `tolerance`; at most `max_steps`. Say `nonnegative` of a Gauss-Newton matrix.
    """
    rules, settled, spent, extremes = [], [], 0, None
    limit = min(max_steps, size)
    for start in range(starts):
        space = Krylov(product, size, seed, dtype, device, stream=start)
        while True:
            space.step()
            steps = len(space.alpha)
            on_progress((start + steps / limit) / starts)
            if steps < min(min_steps, limit):
                continue
            rule = _rule(space.alpha, space.beta[:-1])
            other = _radau(space) if nonnegative else _rule(space.alpha[: steps // 2], space.beta[: steps // 2 - 1])
            changes = {name: _change(rule.integral(f), other.integral(f)) for name, f in functions.items()}
            ends = space.extremes(top, bottom, tolerance) if extremes is None else extremes
            done = max(changes.values(), default=0) <= sums_tolerance and all(e.converged for e in ends.top + ends.bottom)
            if done or steps == limit:
                break
        if steps == size:
            changes = dict.fromkeys(functions, 0.0)  # the whole space: nothing is left out
        extremes = ends
        rules.append(rule)
        settled.append(changes)
        spent += steps
    assert extremes is not None
    sums = {}
    for name, function in functions.items():
        error = float(np.mean([changes[name] for changes in settled]))
        sums[name] = Sum(Sampled.of([size * rule.integral(function) for rule in rules]), error, error <= sums_tolerance)
    return Spectrum(size, tuple(rules), extremes, sums, spent)


def soft_rank(damping: float) -> Function:
    """λ/(λ + d): Σ is the number of directions whose curvature exceeds the damping d (Shoham et al. 2025, 2506.17809).

    For positive semi-definite operators; rounding below zero counts as zero.
    """
    return lambda values: values.clip(min=0) / (values.clip(min=0) + damping)


def damped_log(damping: float) -> Function:
    """log(λ⁺ + d): Σ is the damped log-determinant."""
    return lambda values: np.log(values.clip(min=0) + damping)


def _rule(alpha: list[float], beta: list[float]) -> Rule:
    """The Gauss rule of a tridiagonal matrix."""
    nodes, vectors = eigh_tridiagonal(np.array(alpha), np.array(beta))
    return Rule(np.asarray(nodes, np.float64), np.asarray(vectors[0], np.float64) ** 2)


def _radau(space: Krylov) -> Rule:
    """The rule of one node more, which lies at 0: T is extended so that 0 is an eigenvalue (Golub 1973)."""
    alpha, beta = space.alpha, space.beta
    pivot = alpha[0]  # of the elimination of T; all are positive for a positive definite T
    for a, b in zip(alpha[1:], beta, strict=False):
        pivot = a - b * b / pivot if pivot > 0 else 0.0
    return _rule([*alpha, beta[-1] ** 2 / pivot], beta) if pivot > 0 else _rule(alpha, beta[:-1])


def _change(value: float, shorter: float) -> float:
    return abs(value - shorter) / abs(value) if value else abs(shorter)
