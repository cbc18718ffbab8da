"""Networks whose cross-entropy is any given function of their weights, and rescalings that leave a network's function alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sharpaudit.curvature.objective import Objective

LEVEL = 0.7
"""Added to the given function, which may be slightly negative: a cross-entropy is not."""


class Surface(nn.Module):
    """Two logits, equal for all images, such that the cross-entropy of class 0 is LEVEL + height(weights)."""

    def __init__(self, height: Callable[[Tensor], Tensor], weights: list[float]) -> None:
        super().__init__()
        self.height = height
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        z = -torch.log(torch.expm1(LEVEL + self.height(self.weights)))
        return torch.stack([z, torch.zeros_like(z)]).expand(len(images), 2)


def surface(height: Callable[[Tensor], Tensor], weights: list[float], *, n: int = 5) -> Objective:
    """The objective of a `Surface` over `n` examples."""
    module = Surface(height, weights).eval()
    return Objective(module, torch.zeros(n, 1).double(), torch.zeros(n, dtype=torch.int64), batch_size=3)


def quadratic(h: list[float], weights: list[float], *, n: int = 5) -> Objective:
    """L = ½ Σ h_i (w_i − a_i)² at its minimum a = `weights`: oracle O3."""
    curvatures, centre = (torch.tensor(values, dtype=torch.float64) for values in (h, weights))
    return surface(lambda w: (curvatures * (w - centre).square()).sum() / 2, weights, n=n)


def chain(alpha: float, *, n: int = 5) -> Objective:
    """L = ½(ab − 1)² at a = α, b = 1/α: oracle O2."""
    return surface(lambda w: (w[0] * w[1] - 1).square() / 2, [alpha, 1 / alpha], n=n)


def rescaled(module: nn.Module, alpha: float) -> nn.Module:
    """A ReLU network without biases whose first layer is scaled up and whose last is scaled down; the function is the same."""
    other = copy.deepcopy(module)
    first, *_, last = [layer for layer in other.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        first.weight.mul_(alpha)
        last.weight.div_(alpha)
    return other
