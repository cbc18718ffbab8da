"""Which of the networks that fit the training data exactly would a Bayesian prefer? The interpolating information criterion.

Hodgkinson et al. 2023 (arXiv 2307.07785), in the form that follows for the linearised network with a Gaussian prior whose scale
maximises the marginal likelihood: with D (N × P) the derivative of the N outputs on the training examples,

    IIC = log ‖θ‖² + (1/N) log det(DDᵀ) − log N,

which is −(2/N) log marginal likelihood − 1 − log 2π of linear regression exactly. Softmax does not see a common shift of an
example's logits, so of C logits the C − 1 coordinates orthogonal to (1, …, 1) count: N = n (C − 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sharpaudit.curvature.gauss_newton.explicit import jacobians
from sharpaudit.curvature.objective import Objective
from sharpaudit.device import GRAPH_BYTES
from sharpaudit.transfer import sent

JITTER = 1e-10
"""Added to the kernel's diagonal, as a share of its mean: DDᵀ can be singular to rounding, and log det is then −∞."""


@dataclass(frozen=True)
class Interpolation:
    """The criterion and how well its determinant is known."""

    value: float
    num_outputs: int
    """N."""
    condition: float
    """Largest over smallest eigenvalue of DDᵀ; beyond 1/JITTER the jitter decides the determinant."""


def affordable(objective: Objective) -> bool:
    """Whether D, in float64, fits the memory bound."""
    return 8 * objective.num_examples * (objective.num_classes - 1) * objective.num_parameters <= GRAPH_BYTES


def interpolation(objective: Objective, on_progress: Callable[[float], None] = lambda fraction: None) -> Interpolation:
    """The criterion of the network on all examples of `objective`, which it must fit."""
    contrasts = sent(_contrasts(objective.num_classes), objective.inputs.device)
    rows = []
    for i, jacobian in enumerate(jacobians(objective)):
        rows.append(contrasts @ jacobian.double())
        on_progress((i + 1) / objective.num_examples)
    return of_linear(torch.cat(rows), objective.parameters.double().square().sum().item())


def of_linear(rows: Tensor, squared_norm: float) -> Interpolation:
    """The criterion of outputs with derivative `rows` (N, P) at parameters of this squared norm."""
    n = len(rows)
    values = torch.linalg.eigvalsh(rows @ rows.T).clamp_min(0)
    jittered = values + JITTER * values.mean()
    value = math.log(squared_norm) + jittered.log().mean().item() - math.log(n)
    return Interpolation(value, n, (jittered[-1] / jittered[0]).item())


def _contrasts(classes: int) -> Tensor:
    """Orthonormal rows (classes − 1, classes), each orthogonal to (1, …, 1)."""
    rows = torch.zeros(classes - 1, classes, dtype=torch.float64)
    for k in range(1, classes):
        rows[k - 1, :k] = 1 / math.sqrt(k * (k + 1))
        rows[k - 1, k] = -k / math.sqrt(k * (k + 1))
    return rows
