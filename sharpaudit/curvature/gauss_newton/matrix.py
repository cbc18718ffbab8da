"""What follows from all of the Gauss-Newton matrix: its eigenvalues, and its inverse on every example's gradient?

    G = RᵀR,   R_ij = √(p_ij/n) (e_j − (p_i + √p_im e_m)/(1 + √p_im))ᵀ Jᵢ,   one row for each example i and class j ≠ m,

with m the likeliest class of the example. These C − 1 vectors s have Σ ssᵀ = (diag pᵢ − pᵢpᵢᵀ)/n: softmax does not see a common
shift of the logits, so that C rows would be one too many. The nonzero eigenvalues of G (P × P) are those of the Gram matrix RRᵀ
of order n (C − 1). With the smaller of the two all is dense linear algebra, without sampling and without steps that could be too
few.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

LEAST = 1e-30
"""Probability that is given to an impossible class, so that float32 still holds its square root."""


@dataclass(frozen=True)
class GaussNewton:
    """All of G = RᵀR, with the gradient of each example's loss; in float64."""

    matrix: Tensor
    """G (P, P), or the Gram matrix RRᵀ, whichever is smaller."""
    gradients: Tensor
    """∇ℓᵢ = Jᵢᵀ(pᵢ − e_y), one a column: itself, or beside the Gram matrix c with ∇ℓᵢ = Rᵀc."""
    num_parameters: int
    """P."""
    by_gram: bool
    """Which of the two it is."""

    @property
    def eigenvalues(self) -> Floats:
        """All P eigenvalues of G, ascending; those beyond its rank are zero."""
        values = np.zeros(self.num_parameters)
        found = torch.linalg.eigvalsh(self.matrix).clamp_min(0).cpu().numpy()[-self.num_parameters :]
        values[self.num_parameters - len(found) :] = found
        return values

    def damped_norms(self, damping: float) -> Floats:
        """gᵢᵀ(G + dI)⁻¹gᵢ of each example's gradient (n,); of g = Rᵀc it is cᵀ(RRᵀ + dI)⁻¹RRᵀc."""
        right = self.matrix @ self.gradients if self.by_gram else self.gradients
        factor = torch.linalg.cholesky(self.matrix + damping * torch.eye(len(right), dtype=right.dtype, device=right.device))
        result: Floats = (self.gradients * torch.cholesky_solve(right, factor)).sum(0).cpu().numpy()
        return result


def directions(p: Tensor) -> Tensor:
    """What is pulled back for each row of R (classes − 1, n, classes), from probabilities p (n, classes)."""
    likeliest, others = _classes(p)
    top, onehots = p.amax(1, keepdim=True).sqrt(), torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
    common = (p + top * onehots[likeliest]) / (1 + top)
    rows: Tensor = (p.gather(1, others) / len(p)).sqrt().T[:, :, None] * (onehots[others.T] - common)
    return rows


def coordinates(p: Tensor, labels: Tensor) -> Tensor:
    """The c (n, classes − 1) with ∇ℓᵢ = Σ_j c_ij R_ij."""
    likeliest, others = _classes(p)
    top, own = p.amax(1, keepdim=True).sqrt(), p.gather(1, labels[:, None]).sqrt()
    shared = torch.where(labels == likeliest, 1 / top[:, 0], 1 / (1 + top[:, 0]))[:, None]
    columns: Tensor = (p.gather(1, others).sqrt() * shared - (others == labels[:, None]).to(p) / own) * len(p) ** 0.5
    return columns


def _classes(p: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest class of each example (n,), and all others (n, classes − 1)."""
    likeliest, places = p.argmax(1), torch.arange(p.shape[1] - 1, device=p.device)
    return likeliest, places + (places >= likeliest[:, None]).long()
