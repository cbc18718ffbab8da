"""Truths for curvature: dense matrices by other means than the code under test, and closed forms."""

from __future__ import annotations

from collections.abc import Sequence

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


def stated_jacobian(module: nn.Module, inputs: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """J (n, classes, P), one logit of one image after the other, from the module as it stands."""
    rows = []
    for image in inputs:
        for z in module(image[None])[0]:
            found = torch.autograd.grad(z, parameters, retain_graph=True, allow_unused=True, materialize_grads=True)
            rows.append(torch.cat([g.reshape(-1) for g in found]))
    return torch.stack(rows).view(len(inputs), -1, sum(p.numel() for p in parameters))


def stated_ggn(module: nn.Module, inputs: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """G (P, P) of `stated_jacobian`."""
    jacobian, p = stated_jacobian(module, inputs, parameters), module(inputs).detach().softmax(1)
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("ikp,ikl,ilq->pq", jacobian, middle, jacobian) / len(inputs)


def differenced_hessian(
    module: nn.Module, inputs: Tensor, labels: Tensor, parameters: Sequence[nn.Parameter], step: float = 1e-5
) -> Tensor:
    """H (P, P) by fourth-order central differences of first derivatives, the weights moved in place and put back; float64.

    Torch's own second derivative of weight norm is wrong, and with it every dense matrix made by differentiating twice.
    """
    rows = []

    def gradient() -> Tensor:
        loss = functional.cross_entropy(module(inputs), labels)
        found = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        return torch.cat([g.reshape(-1) for g in found])

    for p in parameters:
        for i in range(p.numel()):
            weight = p.data.view(-1)
            before = weight[i].item()
            around = []
            for steps in (-2, -1, 1, 2):
                weight[i] = before + steps * step
                around.append(gradient())
            weight[i] = before
            rows.append((8 * (around[2] - around[1]) - (around[3] - around[0])) / (12 * step))
    matrix = torch.stack(rows)
    return (matrix + matrix.T) / 2
