"""Soft rank and log-determinant of the Gauss-Newton matrix against dense matrices, ridge regression and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sharpaudit.curvature.gauss_newton import soft_rank as module_under_test
from sharpaudit.curvature.gauss_newton.gram import Factor, cheaper, jacobians
from sharpaudit.curvature.gauss_newton.soft_rank import damped_log, ggn_soft_rank, soft_rank
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import ARCHITECTURES, case


def test_golden() -> None:
    """Eigenvalues 1, .1, .01 with damping .1: 1/1.1 + 1/2 + 1/11 = 1.5."""
    assert soft_rank(0.1)(np.array([1, 0.1, 0.01])).sum() == pytest.approx(1.5)


def test_soft_rank_becomes_rank_and_the_logarithm_the_log_determinant() -> None:
    values = np.array([5.0, 2.0, 0.0, 0.0])
    assert soft_rank(1e-12)(values).sum() == pytest.approx(2)
    assert damped_log(0.5)(values).sum() + 4 * math.log(0.5) == pytest.approx(np.log([5.5, 2.5, 0.5, 0.5]).sum())


def test_rounding_below_zero_is_zero() -> None:
    """An eigenvalue of −d would be a pole: G has none, and rounding must not make one."""
    values = np.array([1.0, -1e-3, -1e-18])
    assert soft_rank(1e-3)(values) == pytest.approx([1 / 1.001, 0, 0])
    assert damped_log(1e-3)(values) == pytest.approx([math.log(1001), 0, 0])


def test_the_determinant_does_not_see_a_rescaling_that_keeps_volume_and_the_trace_does() -> None:
    """Golden: diag(4, 1) and T = diag(2, ½): det stays 4, the trace goes from 5 to 16.25."""
    before, after = np.array([4.0, 1.0]), np.array([16.0, 0.25])
    for damping in (1e-9, 1e-12):
        logdet = [damped_log(damping)(v).sum() + 2 * math.log(damping) for v in (before, after)]
        assert logdet == pytest.approx([math.log(4)] * 2, abs=1e-6)
    assert (before.sum(), after.sum()) == (5, 16.25)


def test_ridge_regression_has_as_many_degrees_of_freedom() -> None:
    """A two-class linear model at zero has G = XᵀX/2n along (w₁ − w₂)/√2, so its soft rank is the trace of a hat matrix.

    That of ridge regression with penalty 2nd: the damping belongs to the mean loss, n times smaller than to the sum.
    """
    x = torch.randn(12, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    module = nn.Linear(5, 2, bias=False).double()
    nn.init.zeros_(module.weight)
    o = Objective(module, x, torch.arange(12) % 2, batch_size=5)
    damping = 0.03
    hat = x @ torch.linalg.solve(x.T @ x + 2 * 12 * damping * torch.eye(5).double(), x.T)
    found = ggn_soft_rank(o, damping, starts=4, max_steps=40, tolerance=0.01, seed=0)
    assert found.rank.sampled.value == pytest.approx(hat.trace().item())
    assert found.rank.interval is None and found.rank.converged


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_factor_is_that_of_the_dense_matrix(name: str) -> None:
    c = case(name)
    o = Objective(*c, batch_size=3)
    factor, dense = Factor.of(o), oracles.dense_ggn(c.module, c.inputs)
    torch.testing.assert_close(factor.rows.T @ factor.rows, dense)
    torch.testing.assert_close(factor.gradients, oracles.dense_gradients(*c))
    np.testing.assert_allclose(factor.eigenvalues, torch.linalg.eigvalsh(dense).clamp_min(0), atol=1e-9)
    assert len(factor.eigenvalues) == o.num_parameters


def test_jacobians_are_those_of_single_examples_and_are_counted() -> None:
    c = case("unused")
    o = Objective(*c, batch_size=3)
    found = torch.stack(list(jacobians(o)))
    torch.testing.assert_close(found, oracles.dense_jacobian(c.module, c.inputs))
    assert o.passes["backward"] >= 7 * 3


def test_the_block_of_one_layer() -> None:
    c = case("conv")
    o = Objective(*c, batch_size=3)
    head = o.theta[-2:]
    size = sum(t.numel() for t in head)
    torch.testing.assert_close(Factor.of(o, head).rows, Factor.of(o).rows[:, -size:])


@pytest.mark.parametrize("n", [3, 100])
def test_damped_norms_by_either_order(n: int) -> None:
    """Few examples go through RRᵀ and Woodbury's identity, many through RᵀR."""
    c = case("linear", n=n)
    g, dense = oracles.dense_gradients(*c), oracles.dense_ggn(c.module, c.inputs)
    damped = dense + 1e-3 * torch.eye(len(dense)).double()
    truth = (g @ torch.linalg.inv(damped) * g).sum(1)
    np.testing.assert_allclose(Factor.of(Objective(*c, batch_size=3)).damped_norms(1e-3), truth, rtol=1e-8)


def test_the_gram_matrix_is_taken_where_it_is_cheaper(monkeypatch: pytest.MonkeyPatch) -> None:
    o = Objective(*case("conv-bn"), batch_size=3)
    assert cheaper(o, 160) and not cheaper(o, 5)
    edge = next(products for products in range(5, 160) if cheaper(o, products))
    o.gradient()
    assert cheaper(o, edge) and not cheaper(o, edge - 1), "what was computed before does not count"
    monkeypatch.setattr("sharpaudit.curvature.gauss_newton.gram.GRAPH_BYTES", 1000)
    assert not cheaper(o, 10**9)


@pytest.mark.parametrize("name", ["conv-bn", "attention"])
def test_both_ways_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    c = case(name, n=19)
    o = Objective(*c, batch_size=3)
    exact = ggn_soft_rank(o, 1e-2, starts=6, max_steps=29, tolerance=0.01, seed=0)
    monkeypatch.setattr(module_under_test, "cheaper", lambda objective, products: False)
    sampled = ggn_soft_rank(o, 1e-2, starts=6, max_steps=29, tolerance=0.01, seed=0)
    assert "Gram" in exact.method and exact.steps == 0
    assert "Lanczos quadrature" in sampled.method and 6 * 8 <= sampled.steps <= 6 * 29
    for whole, part in [(exact.rank, sampled.rank), (exact.logdet, sampled.logdet)]:
        assert part.converged
        assert abs(part.sampled.value - whole.sampled.value) < 4 * part.sampled.standard_error
        interval = part.interval
        assert interval is not None and interval.low < part.sampled.value < interval.high


def test_lanczos_to_the_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "cheaper", lambda objective, products: False)
    c = case("linear")
    found = ggn_soft_rank(Objective(*c, batch_size=3), 1e-2, starts=6, max_steps=29, tolerance=0.01, seed=0)
    values = torch.linalg.eigvalsh(oracles.dense_ggn(c.module, c.inputs)).clamp_min(0)
    assert "Lanczos to the end" in found.method
    assert found.rank.sampled.value == pytest.approx((values / (values + 1e-2)).sum().item())
