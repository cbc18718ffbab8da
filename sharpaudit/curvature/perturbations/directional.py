"""How much does the loss of each example curve along one direction, and how does λ_max vary with the examples?

vᵀHᵢv for every example at once. With v the leading eigenvector of their mean H, these numbers average to λ_max, and because v
is stationary their spread is, to first order, that of λ_max over samples of examples.

To first order only. A trained network has few images that curve at all, and v turns towards those that are there: measured at v
they differ by up to half as much again as λ_max does over samples, and intervals cover 98 to 100%. The eigenvector of one half of
the examples does not know the other, and the mean over random halves of vᵀHᵢv, with i inside as often as outside, is how far an
example moves λ_max of a half (the Hájek projection). Its spread is that of λ_max to a tenth where 30 images matter, to a fifth
where eight do. Halves turn v within the span of a few leading eigenvectors, so that no eigenvalue is computed anew.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import grad
from torch.nn import functional

from sharpaudit.curvature.estimates import FEWEST_EFFECTIVE
from sharpaudit.curvature.krylov.lanczos import Outliers
from sharpaudit.curvature.network.differentiable import thrice_differentiable
from sharpaudit.curvature.objective import Objective
from sharpaudit.stats import Estimate, log_interval
from sharpaudit.transfer import fetched

Floats = NDArray[np.float64]

DEPTH = 4
"""How much larger the graph of two derivatives of a derivative is than the gradient's, at most."""

PRODUCTS = 3
"""Hessian-vector products of the same cost: 2.8 to 3.8 were measured on a ResNet-20 and on a small convolutional network."""

AROUND = 5
"""Leading eigenvectors that span those of halves: with three the spread is 3 to 5% larger, with eight 1% smaller."""

HALVES = 100
"""Random splits in two halves; more change the spread by less than 1%."""


def curvature_of_halves(objective: Objective, leading: Outliers, *, seed: int) -> Floats:
    """vᵀHᵢv (n,), averaged over the leading eigenvectors v of the mean Hessians of random halves of the examples.

    Along the largest of the `leading` eigenvectors vᵀHᵢv is exact. How it varies with the example between two of them is taken
    from the Gauss-Newton matrix, at the cost of a product Jv for each.
    """
    along = curvature_along(objective, leading.vectors[-1])
    speeds = torch.stack([objective.logit_jvp(v) for v in leading.vectors], dim=2)
    exact, s, p = (a.astype(np.float64) for a in fetched([along, speeds, objective.logits().double().softmax(1)[:, :, None]]))
    mean = (p * s).sum(axis=1)
    each = s.transpose(0, 2, 1) @ (p * s) - mean[:, :, None] * mean[:, None, :]
    each += np.diag(leading.values) - each.mean(axis=0)
    each[:, -1, -1] = exact
    n, rng = len(exact), np.random.default_rng(seed)
    drawn = rng.permuted(np.tile(np.arange(n) < n // 2, (HALVES, 1)), axis=1)
    halves = np.concatenate([drawn, ~drawn]).astype(np.float64)
    _, vectors = np.linalg.eigh((halves @ each.reshape(n, -1)).reshape(len(halves), *each.shape[1:]))
    v = vectors[:, :, -1]
    moves: Floats = np.einsum("ikl,kl->i", each, v.T @ v / len(v))
    return moves


def over_examples(largest: float, moves: Floats) -> Estimate:
    """λ_max with its interval over samples of examples, each of which moves it as much as the mean of `moves`."""
    n = len(moves)
    error = float(moves.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    if error == 0 or largest <= 0:
        return Estimate(largest, None, "no interval over images: none tells it from the others")
    worth = largest**2 / (error**2 + largest**2 / n)
    if worth < FEWEST_EFFECTIVE:
        return Estimate(largest, None, f"few images decide it: {n} are worth {worth:.1f} equal ones")
    return Estimate(largest, log_interval(largest, error, n))


@torch.enable_grad()
def curvature_along(objective: Objective, v: Tensor) -> Tensor:
    """vᵀHᵢv (n,), float64, Hᵢ the Hessian of the loss of example i; costs about `PRODUCTS` Hessian-vector products.

    With z the logits, p their softmax and r = p − e_y: (Jv)ᵀ(diag p − ppᵀ)(Jv) + r·z̈, where z̈ is the second derivative of the
    logits along v. Each derivative along v is the derivative, with respect to a dummy cotangent, of a vector-Jacobian product.
    """
    room = objective.shards.within.graph_bytes // (DEPTH * objective.shards.cost.per_example)
    size = max(1, min(objective.shards.within.shard, objective.batch_size, room))
    found = []
    for images, labels in zip(torch.split(objective.inputs, size), torch.split(objective.labels, size), strict=True):
        with thrice_differentiable():
            logits = objective.forward(images)
        velocity = _along(objective, logits, v)
        acceleration = _along(objective, velocity, v).detach().double()
        p, speed = logits.detach().double().softmax(1), velocity.detach().double()
        residual = p - functional.one_hot(labels, p.shape[1])
        spread = (p * speed**2).sum(1) - (p * speed).sum(1) ** 2
        found.append(spread + (residual * acceleration).sum(1))
        objective.passes["hvp"] += PRODUCTS * len(images)
    return torch.cat(found)


def _along(objective: Objective, outputs: Tensor, v: Tensor) -> Tensor:
    """The derivative of `outputs` (b, classes) when the parameters move along `v`, itself attached to the parameters."""
    if not outputs.requires_grad:
        return torch.zeros_like(outputs)
    cotangent = torch.zeros_like(outputs, requires_grad=True)
    pulled = grad(outputs, objective.theta, cotangent, create_graph=True, materialize_grads=True)
    pairs = [(g, t) for g, t in zip(pulled, objective.split(v), strict=True) if g.requires_grad]
    gradients, directions = zip(*pairs, strict=True)
    (derivative,) = grad(gradients, cotangent, directions, create_graph=True)
    return derivative
