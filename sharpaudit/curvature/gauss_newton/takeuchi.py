"""How much larger is the loss on new data than on the training data? Takeuchi's information criterion.

    TIC = tr( C (G + dI)⁻¹ ) / N,   C = (1/n) Σᵢ ∇ℓᵢ ∇ℓᵢᵀ,

for a minimum of the loss with weight decay d on N training examples, with the Gauss-Newton matrix G for the Hessian, which may be
indefinite (Takeuchi 1976; Thomas et al. 2020, arXiv 1906.07774; Shoham et al. 2025, arXiv 2506.17809). Where the predicted
probabilities are the true ones, C = G, and TIC is the soft rank over N. C and G are taken over the n examples of the probe set.

Each example adds gᵢᵀ(G + dI)⁻¹gᵢ/n, and how that is found is the method:

- exact: dense linear algebra (`matrix.GaussNewton.damped_norms`);
- quadrature: for random signs zᵢ the vector u = Σ zᵢgᵢ/√n has E[uuᵀ] = C, so uᵀ(G + dI)⁻¹u estimates the trace without bias;
  Lanczos from u brackets it by Gauss and Gauss-Radau rules;
- diagonal: G's diagonal alone (`diagonal_norms`), the cheap approximation of the literature;
- last layer: exact, over the parameters of the last linear layer alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional

from sharpaudit.curvature.draws import rademacher
from sharpaudit.curvature.gauss_newton.explicit import jacobians
from sharpaudit.curvature.gauss_newton.matrix import Floats
from sharpaudit.curvature.krylov.spectrum import Sum, quadratic_form
from sharpaudit.curvature.objective import Objective
from sharpaudit.transfer import sent


def quadrature(
    objective: Objective,
    damping: float,
    *,
    starts: int,
    max_steps: int,
    tolerance: float,
    seed: int,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Sum:
    """tr(C (G + dI)⁻¹) from `starts` random combinations of the examples' gradients."""
    n = objective.num_examples
    residual = objective.logits().double().softmax(1) - functional.one_hot(objective.labels, objective.num_classes)
    signs = (sent(rademacher(n, seed, draw), residual) for draw in range(starts))
    return quadratic_form(
        objective.ggn_product,
        (objective.logit_vjp(sign[:, None] * residual / n**0.5) for sign in signs),
        lambda values: 1 / (values.clip(min=0) + damping),
        starts=starts,
        max_steps=max_steps,
        tolerance=tolerance,
        on_progress=on_progress,
    )


def diagonal_norms(objective: Objective, damping: float, on_progress: Callable[[float], None] = lambda fraction: None) -> Floats:
    """Σ_a g_ia² / (G_aa + d) of each example (n,): `GaussNewton.damped_norms` with everything off the diagonal of G left out."""
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
