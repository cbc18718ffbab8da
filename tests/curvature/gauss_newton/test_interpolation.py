"""The interpolating criterion against the exact marginal likelihood of linear regression."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal

from sharpaudit.curvature.gauss_newton.interpolation import JITTER, affordable, interpolation, of_linear
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import case


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_marginal_likelihood_of_linear_regression(seed: int) -> None:
    """−(2/n) log p(y | X, s), maximised over the prior variance s by a search that knows no closed form, is IIC + 1 + log 2π."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(8, 20)), rng.normal(size=8)

    def minus_log_evidence(log_s: float) -> float:
        return float(-multivariate_normal.logpdf(y, cov=math.exp(log_s) * x @ x.T))

    best = minimize_scalar(minus_log_evidence, bounds=(-20, 10), method="bounded", options={"xatol": 1e-10})
    theta = np.linalg.pinv(x) @ y
    found = of_linear(torch.from_numpy(x), float(theta @ theta))
    assert found.value + 1 + math.log(2 * math.pi) == pytest.approx(2 / 8 * best.fun, abs=1e-7)
    assert found.condition == pytest.approx(np.linalg.cond(x @ x.T), rel=1e-6)


def test_of_a_network_from_its_dense_jacobian() -> None:
    """The common shift of the logits is projected out: by subtracting their mean, with one dimension less, in the oracle."""
    c = case("mlp-tanh", n=5)
    o = Objective(*c, batch_size=3)
    jacobian = oracles.dense_jacobian(c.module, c.inputs)
    centred = (jacobian - jacobian.mean(1, keepdim=True)).flatten(0, 1)
    values = torch.linalg.eigvalsh(centred @ centred.T)[5:]  # one zero for each example
    squared = oracles.flat_parameters(c.module).square().sum()
    found = interpolation(o)
    assert found.num_outputs == 10
    assert found.value == pytest.approx((squared.log() + values.log().mean() - math.log(10)).item())


def test_it_does_not_depend_on_the_order_of_classes() -> None:
    c = case("conv", n=5)
    first = interpolation(Objective(*c, batch_size=3)).value
    with torch.no_grad():
        for p in (c.module[-1].weight, c.module[-1].bias):  # type: ignore[index]  # a Sequential
            p.copy_(p[[2, 0, 1]])
    assert interpolation(Objective(*c, batch_size=3)).value == pytest.approx(first)


def test_a_singular_kernel_is_held_by_the_jitter_and_shows_in_the_condition() -> None:
    rows = torch.ones(3, 4, dtype=torch.float64)
    found = of_linear(rows, 1.0)
    assert math.isfinite(found.value)
    assert found.condition == pytest.approx(3 / JITTER, rel=1e-3)


def test_memory_decides_whether_it_can_be_afforded(monkeypatch: pytest.MonkeyPatch) -> None:
    o = Objective(*case("conv"), batch_size=3)
    assert affordable(o)
    monkeypatch.setattr("sharpaudit.curvature.gauss_newton.interpolation.GRAPH_BYTES", 1000)
    assert not affordable(o)
