"""Are these weights where training leaves them?

A wrong padding or activation may leave accuracy and loss nearly as they are, or better them by chance. The weights, though,
are at rest only in the network in which they were trained: there the gradient of the loss is zero, up to which images were drawn.

Rao's score statistic (1948) measures how far it is from zero: n g'(F + l)^-1 g, with g the mean gradient, F the second moment of
the gradients of single images, and l a damping without which directions in which training has not converged decide. It is twice
the gain in log-likelihood, on n images, that training on from these weights would bring.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

DAMPING = 0.1
"""In units of the largest eigenvalue of F. Of 1, 0.1, 0.01 and 0.001, it tells most from 2,000 images."""
BLOCKS = 20
"""Of images, which are left out in turn to see how certain a difference is (jackknife)."""
CHUNK = 64
"""Images whose gradients are taken at once."""
MAX_STORED = 1 << 26
"""Elements of the gradients of all images in one convolution; those of a larger one are left out."""

POWER_STEPS = 30

Products = NDArray[np.float64]
"""Inner products of the gradients of all pairs of images, (n, n)."""


@dataclass(frozen=True, eq=False)
class Stationarity:
    """How far weights are from rest."""

    statistic: float
    """Rao's score statistic: what an optimum on other images of the same kind has, and more the farther away it is."""
    left_out: NDArray[np.float64]
    """The same without each block of images."""
    unrest: float
    """The squared length of the mean gradient in units of the variance that drawing the images explains: about 0 at rest."""


def block_of(n: int) -> NDArray[np.int64]:
    """The block of each image."""
    return np.arange(n) * BLOCKS // max(n, 1)


def stationarity(network: nn.Sequential, images: Tensor, labels: Tensor, sharpness: float) -> Stationarity:
    """How far the weights of a network are from rest, judged by some images.

    Args:
        network: layers one after the other, in eval mode.
        images: as the network is to see them, (n, channels, height, width).
        labels: the right classes, (n,).
        sharpness: a factor of the logits.
    """
    return from_products(gradient_products(network, images, labels, sharpness))


def from_products(products: Products) -> Stationarity:
    """The same from the inner products of the gradients of all pairs of images."""
    own, every = float(np.trace(products)), float(products.sum())
    summed, blocks = _whitened(products), np.arange(BLOCKS)
    left_out = np.array([_statistic(summed, len(products), blocks != each) for each in blocks])
    return Stationarity(_statistic(summed, len(products), blocks >= 0), left_out, (every - own) / own if own > 0 else 0.0)


def gradient_products(network: nn.Sequential, images: Tensor, labels: Tensor, sharpness: float) -> Products:
    """Inner products of the gradients of the loss, one for each image, in the weights of the network.

    Weights of convolutions, linear layers and BatchNorm count. A gradient in a linear layer is an outer product, so the product
    of two is that of their factors (Goodfellow 2015, arXiv 1510.01799).
    """
    found: dict[str, list[tuple[Tensor, ...]]] = {}
    for chunk, right in zip(torch.split(images, CHUNK), torch.split(labels, CHUNK), strict=True):
        inputs: dict[str, Tensor] = {}
        outputs: dict[str, Tensor] = {}
        passed = chunk.clone().requires_grad_()
        for name, module in network.named_children():
            inputs[name], passed = passed.detach(), module(passed)
            if _counts(module, len(images)):
                outputs[name] = passed
        loss = functional.cross_entropy(passed * sharpness, right, reduction="sum")
        for name, behind in zip(outputs, torch.autograd.grad(loss, list(outputs.values())), strict=True):
            factors = tuple(_factors(network.get_submodule(name), inputs[name], behind))
            found.setdefault(name, []).append(factors)
    products = torch.zeros(len(images), len(images), dtype=torch.float64)
    for parts in found.values():
        one = torch.ones((), dtype=torch.float64)
        for factor in (torch.cat(rows) for rows in zip(*parts, strict=True)):
            one = one * (factor @ factor.T).double()
        products += one
    return products.numpy()


def _counts(module: nn.Module, n: int) -> bool:
    match module:
        case nn.Conv2d():
            return module.groups == 1 and module.weight.numel() * n <= MAX_STORED
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            return bool(module.affine)
    return isinstance(module, nn.Linear)


def _factors(module: nn.Module, before: Tensor, behind: Tensor) -> Iterator[Tensor]:
    """Matrices with a row for each image, whose products of rows, multiplied, are the products of gradients in one layer.

    Args:
        module: the layer.
        before: what enters it.
        behind: the gradient in what leaves it.
    """
    match module:
        case nn.Linear():
            yield functional.pad(before, (0, 1), value=1.0) if "bias" in module.state_dict() else before
            yield behind
        case nn.Conv2d():
            assert not isinstance(module.padding, str)
            windows = functional.unfold(before, module.kernel_size, module.dilation, module.padding, module.stride)
            behind = behind.flatten(2)
            weights = torch.bmm(behind, windows.transpose(1, 2)).flatten(1)
            yield weights if module.bias is None else torch.cat([weights, behind.sum(2)], 1)
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            assert module.running_mean is not None and module.running_var is not None
            shape = (-1, *[1] * (before.dim() - 2))
            normalised = (before - module.running_mean.view(shape)) / (module.running_var + module.eps).sqrt().view(shape)
            yield torch.cat([part.flatten(2).sum(2) if part.dim() > 2 else part for part in (behind * normalised, behind)], 1)


def _whitened(products: Products) -> Products:
    """Products of the gradients in the metric of (F + l)^-1, those of an image with itself left out, summed over blocks.

    F holds each image's own gradient too, so that no image counts without bound. It does not see the sign of a gradient: products
    of different images have no bias where gradients are as often one way as the other.
    """
    n = len(products)
    moments = torch.tensor(products) / n
    damping = DAMPING * _largest_eigenvalue(moments) or 1.0
    inverse = torch.cholesky_inverse(torch.linalg.cholesky((moments / damping + torch.eye(n)).float())).double()
    whitened = n * (torch.eye(n) - inverse).fill_diagonal_(0.0)  # G (F + l)^-1 G' by Woodbury
    blocks = functional.one_hot(torch.tensor(block_of(n)), BLOCKS).double()
    found: Products = (blocks.T @ whitened @ blocks).numpy()
    return found


def _largest_eigenvalue(matrix: Tensor) -> float:
    """Of a matrix without negative eigenvalues; power iteration, which is exact enough for a damping."""
    direction = matrix.sum(1) + matrix.diagonal()
    for _ in range(POWER_STEPS):
        direction = matrix @ (direction / (direction.norm() or 1.0))
    return float(direction.norm())


def _statistic(summed: Products, n: int, kept: NDArray[np.bool_]) -> float:
    """The statistic for `n` images, from the blocks that are kept."""
    share = float(kept.mean())
    return float(summed[np.ix_(kept, kept)].sum()) / (share * (share * n - 1))
