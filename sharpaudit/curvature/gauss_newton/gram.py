"""What are all eigenvalues of the Gauss-Newton matrix, exactly, and its inverse on every example's gradient?

    G = RᵀR,   R_ik = √(p_ik/n) (J_ik − Σ_j p_ij J_ij),   one row for each example i and class k,

so the nonzero eigenvalues of G (P × P) are those of RRᵀ (nC × nC). The rows need one backward pass for each; then everything is
dense linear algebra of the smaller of the two orders, in float64, without sampling and without steps that could be too few. That
is cheaper than quadrature for small networks and for few examples, and `cheaper` says when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import grad
from torch.nn import functional

from sharpaudit.curvature.objective import Objective
from sharpaudit.device import GRAPH_BYTES, Work, is_out_of_memory

Floats = NDArray[np.float64]

BACKWARD = 16
"""Forward passes in a big batch that take as long as one row: measured on a ResNet-20, one example at a time on one core."""

EIGENVALUES = 3
"""Cubes of the order that a decomposition costs, in multiplications of a matrix product: measured at order 2,000."""


def cheaper(objective: Objective, products: int) -> bool:
    """Whether all rows and their decomposition cost less than `products` Gauss-Newton products, and fit the memory bound.

    Counted in multiplications (float64 ones twice), not timed, so that equal audits choose equally.
    """
    rows, columns = objective.num_examples * objective.num_classes, objective.num_parameters
    if 8 * rows * columns > GRAPH_BYTES:
        return False
    with Work() as work, torch.no_grad():
        objective.forward(objective.inputs[:1])
    forward: float = work.operations / 2
    order = min(rows, columns)
    dense = 2 * (rows * columns * order + EIGENVALUES * order**3)
    return BACKWARD * rows * forward + dense <= 6 * products * objective.num_examples * forward


def jacobians(objective: Objective, parameters: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
    """J_i (classes, P) of one example after the other; of some of `objective.theta` only, if given."""
    onehots = torch.eye(objective.num_classes, dtype=objective.dtype, device=objective.inputs.device)
    return pulled_back(objective, repeat(onehots, objective.num_examples), parameters)


def pulled_back(objective: Objective, weights: Iterable[Tensor], parameters: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
    """W_i J_i (k, P) of one example after the other, for the `weights` W_i (k, classes) of each."""
    theta = list(objective.theta if parameters is None else parameters)
    for image, w in zip(torch.split(objective.inputs, 1), weights, strict=True):
        with torch.enable_grad():
            logits = objective.forward(image, fold=False)[0]
        parts = [
            w.new_zeros(len(w), t.numel()) if part is None else part.reshape(len(w), t.numel())
            for part, t in zip(_pulled(logits, theta, w.to(logits)), theta, strict=True)
        ]
        objective.passes["backward"] += len(w)
        yield torch.cat(parts, dim=1)


def _pulled(logits: Tensor, theta: Sequence[Tensor], weights: Tensor) -> Sequence[Tensor | None]:
    """The derivatives of weighted `logits` in each of `theta`, stacked; one after the other where operations cannot be batched.

    None where the logits do not depend on it.
    """
    try:
        found: Sequence[Tensor | None] = grad(
            [logits], theta, [weights], retain_graph=True, is_grads_batched=True, allow_unused=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        rows = [grad([logits], theta, [w], retain_graph=True, allow_unused=True) for w in weights]
        found = [None if column[0] is None else torch.stack(column) for column in zip(*rows, strict=True)]
    return found


@dataclass(frozen=True)
class Factor:
    """G = RᵀR, with the gradient of each example's loss; both in float64."""

    rows: Tensor
    """R (n·classes, P)."""
    gradients: Tensor
    """∇ℓᵢ = Jᵢᵀ(pᵢ − e_y) (n, P)."""

    @classmethod
    def of(
        cls,
        objective: Objective,
        parameters: Sequence[Tensor] | None = None,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Factor:
        """The factor of G, or of its block of some of `objective.theta`."""
        rows, gradients = [], []
        n = objective.num_examples
        probabilities = objective.logits().double().softmax(1)
        onehots = functional.one_hot(objective.labels, objective.num_classes).double()
        for i, jacobian in enumerate(jacobians(objective, parameters)):
            p, jacobian = probabilities[i], jacobian.double()
            rows.append((p / n).sqrt()[:, None] * (jacobian - p @ jacobian))
            gradients.append((p - onehots[i]) @ jacobian)
            on_progress((i + 1) / n)
        return cls(torch.cat(rows), torch.stack(gradients))

    @property
    def eigenvalues(self) -> Floats:
        """All P eigenvalues of G, ascending; those beyond its rank are zero."""
        columns = self.rows.shape[1]
        values = np.zeros(columns)
        gram = self._gram
        values[columns - len(gram) :] = torch.linalg.eigvalsh(gram).clamp_min(0).cpu().numpy()
        return values

    def damped_norms(self, damping: float) -> Floats:
        """gᵢᵀ(G + dI)⁻¹gᵢ of each example's gradient (n,)."""
        order, g = min(self.rows.shape), self.gradients
        damped = self._gram + damping * torch.eye(order, dtype=self.rows.dtype, device=self.rows.device)
        factor = torch.linalg.cholesky(damped)
        if order == self.rows.shape[1]:
            norms = torch.linalg.solve_triangular(factor, g.T, upper=False).square().sum(0)
        else:  # (G + dI)⁻¹ = (I − Rᵀ(RRᵀ + dI)⁻¹R)/d (Woodbury)
            inner = torch.linalg.solve_triangular(factor, self.rows @ g.T, upper=False).square().sum(0)
            norms = (g.square().sum(1) - inner) / damping
        result: Floats = norms.cpu().numpy()
        return result

    @property
    def _gram(self) -> Tensor:
        rows = self.rows
        return rows.T @ rows if rows.shape[1] < rows.shape[0] else rows @ rows.T


def diagonal_norms(objective: Objective, damping: float, on_progress: Callable[[float], None] = lambda fraction: None) -> Floats:
    """Σ_a g_ia² / (G_aa + d) of each example (n,): `Factor.damped_norms` with everything off the diagonal of G left out."""
    n = objective.num_examples
    diagonal = torch.zeros(objective.num_parameters, dtype=torch.float64, device=objective.inputs.device)
    squares = []
    probabilities = objective.logits().double().softmax(1)
    for i, jacobian in enumerate(jacobians(objective)):
        p, jacobian = probabilities[i], jacobian.double()
        diagonal += p @ (jacobian - p @ jacobian).square() / n
        squares.append((p @ jacobian - jacobian[objective.labels[i]]).square().to(objective.dtype))
        on_progress((i + 1) / n)
    weights = 1 / (diagonal + damping)
    return np.array(torch.stack([torch.dot(square.double(), weights) for square in squares]).tolist())
