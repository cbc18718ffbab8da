"""How much does the loss of each example curve along one direction?

vᵀHᵢv for every example at once. With v the leading eigenvector of their mean H, these numbers average to λ_max, and because v
is stationary their spread is, to first order, that of λ_max over samples of examples: an interval over images for an eigenvalue.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import grad
from torch.nn import functional

from sharpaudit.curvature.network.differentiable import thrice_differentiable
from sharpaudit.curvature.objective import Objective

DEPTH = 4
"""How much larger the graph of two derivatives of a derivative is than the gradient's, at most."""

PRODUCTS = 3
"""Hessian-vector products of the same cost: 2.8 to 3.8 were measured on a ResNet-20 and on a small convolutional network."""


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
