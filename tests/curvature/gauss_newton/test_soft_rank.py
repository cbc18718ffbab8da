"""Soft rank and log-determinant of the Gauss-Newton matrix against dense matrices, ridge regression and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.soft_rank import damped_log, ggn_soft_rank, soft_rank
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import case


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
    found = ggn_soft_rank(o, damping, whole=Plan(o).run(), starts=4, max_steps=40, tolerance=0.01, seed=0)
    assert found.rank.sampled.value == pytest.approx(hat.trace().item())
    assert found.rank.interval is None and found.rank.converged


@pytest.mark.parametrize("name", ["conv-bn", "attention"])
def test_both_ways_agree(name: str) -> None:
    c = case(name, n=19)
    o = Objective(*c, batch_size=3)
    exact = ggn_soft_rank(o, 1e-2, whole=Plan(o).run(), starts=6, max_steps=29, tolerance=0.01, seed=0)
    sampled = ggn_soft_rank(o, 1e-2, starts=6, max_steps=29, tolerance=0.01, seed=0)
    assert "Gram" in exact.method and exact.steps == 0
    assert "Lanczos quadrature" in sampled.method and 6 * 8 <= sampled.steps <= 6 * 29
    for whole, part in [(exact.rank, sampled.rank), (exact.logdet, sampled.logdet)]:
        assert part.converged
        assert abs(part.sampled.value - whole.sampled.value) < 4 * part.sampled.standard_error
        interval = part.interval
        assert interval is not None and interval.low < part.sampled.value < interval.high


def test_lanczos_to_the_end_says_so() -> None:
    c = case("linear")
    found = ggn_soft_rank(Objective(*c, batch_size=3), 1e-2, starts=6, max_steps=29, tolerance=0.01, seed=0)
    values = torch.linalg.eigvalsh(oracles.dense_ggn(c.module, c.inputs)).clamp_min(0)
    assert "Lanczos to the end" in found.method
    assert found.rank.sampled.value == pytest.approx((values / (values + 1e-2)).sum().item())
