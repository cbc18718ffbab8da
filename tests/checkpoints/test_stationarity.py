"""Whether weights are at rest: the score statistic against gradients taken one by one, and against its expectation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sharpaudit.checkpoints.plain.stationarity import from_products, gradient_products, stationarity


def network() -> nn.Sequential:
    torch.manual_seed(0)
    found = nn.Sequential(
        nn.Conv2d(2, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.GELU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, (1, 2), bias=False), nn.Tanh(),
        nn.Flatten(), nn.Linear(16, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3, bias=False),
    )  # fmt: skip
    found.train()
    found(torch.randn(64, 2, 8, 12))
    return found.eval()


def test_products_are_those_of_gradients_taken_one_by_one() -> None:
    net, images, labels = network(), torch.randn(70, 2, 8, 12), torch.arange(70) % 3
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = functional.cross_entropy(1.7 * net(image[None]), label[None])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))]))
    gradients = torch.stack(rows).double()
    found = gradient_products(net, images, labels, 1.7)
    assert np.allclose(found, (gradients @ gradients.T).numpy(), rtol=1e-4, atol=1e-5 * float(gradients.square().sum(1).max()))


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_the_statistic_is_unbiased(shift: float) -> None:
    """Of normal gradients with unit variance: n |m|^2 / (1 + l), where the damping l is a tenth of the largest eigenvalue."""
    draw, n, width, found, expected = np.random.default_rng(0), 200, 20, [], []
    mean = np.full(width, shift / np.sqrt(width))
    for _ in range(200):
        gradients = draw.normal(mean, 1.0, (n, width))
        found.append(from_products(gradients @ gradients.T))
        moments = gradients.T @ gradients / n
        expected.append(n * mean @ np.linalg.solve(moments + 0.1 * np.linalg.eigvalsh(moments)[-1] * np.eye(width), mean))
    statistics = np.array([each.statistic for each in found])
    error = statistics.std() / np.sqrt(len(found))
    assert abs(statistics.mean() - np.mean(expected)) < 3 * error + 0.03 * np.mean(expected)
    assert abs(np.mean([each.unrest for each in found]) - n * shift**2 / (width + shift**2)) < 0.1
    jackknifed = np.sqrt([19 * each.left_out.var() for each in found])
    assert 1.0 < jackknifed.mean() / statistics.std() < 1.6  # of products of pairs around zero it is too large by up to sqrt(2)


def test_trained_weights_are_at_rest_and_moved_ones_are_not() -> None:
    torch.manual_seed(0)
    images = torch.randn(4000, 1, 3, 3)
    labels = (images.flatten(1) @ torch.randn(9, 3) + torch.randn(4000, 3)).argmax(1)
    net = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(net(images[:2000]), labels[:2000])
        torch.autograd.backward(value)
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch has no types for it
    rested = stationarity(net.eval(), images[2000:], labels[2000:], 1.0)
    with torch.no_grad():
        net[1].weight += 0.4 * torch.randn(3, 9)  # type: ignore[operator]  # a linear layer's weight is a tensor
    moved = stationarity(net, images[2000:], labels[2000:], 1.0)
    assert rested.statistic < 60 < 100 < moved.statistic  # at rest: about its 20 free weights, from as many other images
    assert rested.unrest < 4 < 8 < moved.unrest
