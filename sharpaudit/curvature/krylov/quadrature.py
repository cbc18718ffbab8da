"""What does one Lanczos run say of vᵀf(A)v, and how wrong is it for want of steps?

The tridiagonal matrix of a run from a unit start v is a quadrature rule: its eigenvalues are the nodes, the squared first
components of its eigenvectors the weights (Golub and Meurant 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from sharpaudit.curvature.krylov.lanczos import Krylov

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


def gauss(space: Krylov, steps: int) -> Rule:
    """The rule of the first `steps` steps."""
    return _rule(space.alpha[:steps], space.beta[: steps - 1])


def radau(space: Krylov) -> Rule:
    """The rule of one node more, which lies at 0: T is extended so that 0 is an eigenvalue (Golub 1973)."""
    alpha, beta = space.alpha, space.beta
    pivot = alpha[0]  # of the elimination of T; all are positive for a positive definite T
    for a, b in zip(alpha[1:], beta, strict=False):
        pivot = a - b * b / pivot if pivot > 0 else 0.0
    return _rule([*alpha, beta[-1] ** 2 / pivot], beta) if pivot > 0 else _rule(alpha, beta[:-1])


def _rule(alpha: list[float], beta: list[float]) -> Rule:
    """The Gauss rule of a tridiagonal matrix."""
    nodes, vectors = eigh_tridiagonal(np.array(alpha), np.array(beta))
    return Rule(np.asarray(nodes, np.float64), np.asarray(vectors[0], np.float64) ** 2)


def with_known(rule: Rule, known: Floats, size: int) -> Rule:
    """The known eigenvalues, each with its share 1/P, and the rule of the complement."""
    weights = np.full(len(known), 1 / size)
    return Rule(np.append(known, rule.nodes), np.append(weights, rule.weights * (1 - weights.sum())))


def indefinite_error(function: Function, sampled: Rule, values: Sequence[float]) -> float:
    """The error of the steps, from the values by the rule and by shorter ones, and from the nodes of the rule around zero."""
    quadratic = not np.diff(function(np.arange(-2.0, 2.0)), 3).any()
    if quadratic and len(sampled.nodes) >= 2:
        return 0.0
    changes = [abs(values[0] - shorter) for shorter in values[1:]]
    return max(*changes, _around_zero(function, sampled))


def _around_zero(function: Function, rule: Rule) -> float:
    """The most that eigenvalues between the two nodes around zero could add; where all nodes are on one side, it is mirrored."""
    nearest = np.abs(rule.nodes).min()
    right = rule.nodes[rule.nodes >= 0].min(initial=np.inf)
    left = rule.nodes[rule.nodes < 0].max(initial=-np.inf)
    weight = rule.weights[(rule.nodes == left) | (rule.nodes == right)].sum()
    ends = np.array([-nearest if left == -np.inf else left, nearest if right == np.inf else right])
    return float(weight * np.abs(function(ends)).max())
