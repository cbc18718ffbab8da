"""Truths for curvature: dense matrices by other means than the code under test, and closed forms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


def flat_logits(module: nn.Module, inputs: Tensor, theta: Tensor) -> Tensor:
    """The logits of the whole batch as a function of one flat vector."""
    state, start = {}, 0
    for name, p in module.named_parameters():
        state[name] = theta[start : start + p.numel()].view_as(p)
        start += p.numel()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        logits: Tensor = functional_call(module, state, (inputs,))
    return logits


def flat_parameters(module: nn.Module) -> Tensor:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def dense_hessian(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """H (P, P), row by row, of the mean cross-entropy of the whole batch at once."""

    def loss(theta: Tensor) -> Tensor:
        return functional.cross_entropy(flat_logits(module, inputs, theta), labels)

    return torch.func.jacrev(torch.func.grad(loss))(flat_parameters(module))  # type: ignore[no-any-return]  # torch.func is untyped


def dense_jacobian(module: nn.Module, inputs: Tensor) -> Tensor:
    """J (n, classes, P)."""
    return torch.func.jacrev(lambda t: flat_logits(module, inputs, t))(flat_parameters(module))  # type: ignore[no-any-return]  # torch.func is untyped


def dense_ggn(module: nn.Module, inputs: Tensor) -> Tensor:
    """G (P, P) = (1/n) Σ Jᵢᵀ (diag pᵢ − pᵢpᵢᵀ) Jᵢ."""
    jacobian = dense_jacobian(module, inputs)
    p = flat_logits(module, inputs, flat_parameters(module)).softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("ikp,ikl,ilq->pq", jacobian, middle, jacobian) / len(inputs)


def dense_gradients(module: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """∇ℓᵢ of each example (n, P)."""

    def losses(theta: Tensor) -> Tensor:
        return functional.cross_entropy(flat_logits(module, inputs, theta), labels, reduction="none")

    return torch.func.jacrev(losses)(flat_parameters(module))  # type: ignore[no-any-return]  # torch.func is untyped
