"""Lanczos quadrature against full eigenvalue decompositions."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from sharpaudit.curvature.lanczos import Krylov
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.spectrum import _radau, _rule, damped_log, soft_rank, spectrum
from tests import oracles
from tests.cases import case
from tests.curvature.test_lanczos import product, rotated

Floats = NDArray[np.float64]
MOMENTS = {"trace": lambda x: x, "frobenius": lambda x: x**2}


def test_frobenius_sees_a_saddle_that_the_trace_does_not() -> None:
    """Golden: diag(2, −2) has trace 0 and squared Frobenius norm 8."""
    found = spectrum(product(torch.diag(torch.tensor([2.0, -2.0]).double())), 2, MOMENTS, starts=4000, seed=0).sums
    assert found["frobenius"].sampled.value == pytest.approx(8)
    assert abs(found["trace"].sampled.value) < 4 * found["trace"].sampled.standard_error


def test_soft_rank_golden() -> None:
    """Eigenvalues 1, .1, .01 with damping .1: 1/1.1 + 1/2 + 1/11 = 1.5."""
    functions = {"soft rank": soft_rank(0.1)}
    assert soft_rank(0.1)(np.array([1, 0.1, 0.01])).sum() == pytest.approx(1.5)
    found = spectrum(product(rotated([1, 0.1, 0.01])), 3, functions, starts=3000, seed=0).sums["soft rank"]
    assert found.converged and found.steps_error == 0
    assert abs(found.sampled.value - 1.5) < 4 * found.sampled.standard_error


def test_soft_rank_becomes_rank_and_the_logarithm_the_log_determinant() -> None:
    values = np.array([5.0, 2.0, 0.0, 0.0, -1e-18])
    assert soft_rank(1e-12)(values).sum() == pytest.approx(2)
    assert damped_log(0.5)(values).sum() == pytest.approx(np.log([5.5, 2.5, 0.5, 0.5, 0.5]).sum())


@pytest.mark.parametrize("name", ["mlp-relu", "conv-bn", "layernorm", "attention"])
def test_small_networks(name: str) -> None:
    """Sums within their standard errors, top five and λ_min exact, density near the true one, no ghosts."""
    c = case(name)
    o = Objective(*c, batch_size=3)
    truth = torch.linalg.eigvalsh(oracles.dense_hessian(*c)).numpy()
    found = spectrum(o.hvp, o.num_parameters, MOMENTS, starts=24, seed=0, top=5, tolerance=1e-5, max_steps=80)
    assert all(e.converged for e in found.extremes.top + found.extremes.bottom)
    np.testing.assert_allclose([e.value for e in found.extremes.top], truth[:-6:-1], rtol=1e-4)
    assert found.extremes.bottom[0].value == pytest.approx(truth[0], rel=1e-4)
    for key, exact in [("trace", truth.sum()), ("frobenius", (truth**2).sum())]:
        assert found.sums[key].converged
        assert abs(found.sums[key].sampled.value - exact) < 4 * found.sums[key].sampled.standard_error
    nodes = np.concatenate([rule.nodes for rule in found.rules])
    weights = np.concatenate([rule.weights for rule in found.rules])
    assert wasserstein_distance(nodes, truth, weights) < 0.02 * np.ptp(truth)  # 24 starts in a space of 200 leave about 1 %
    for rule in found.rules:
        assert rule.weights.sum() == pytest.approx(1)
        assert np.count_nonzero(rule.nodes > 0.5 * (truth[-1] + truth[-2])) <= 1


def test_ggn_sums() -> None:
    c = case("conv-bn")
    o = Objective(*c, batch_size=3)
    truth = torch.linalg.eigvalsh(oracles.dense_ggn(c.module, c.inputs)).numpy()
    functions = {"rank": soft_rank(0.01), "log": damped_log(0.01)}
    found = spectrum(
        o.ggn_product, o.num_parameters, functions, starts=40, seed=0, bottom=0, max_steps=100, nonnegative=True
    ).sums
    for name, function in functions.items():
        assert found[name].converged
        assert abs(found[name].sampled.value - function(truth).sum()) < 4 * found[name].sampled.standard_error


def test_too_few_steps_are_flagged_for_the_sum_they_spoil_and_only_for_it() -> None:
    """Eigenvalues over eight decades: trace and Frobenius norm settle at once, soft rank with a tiny damping does not."""
    matrix = rotated(list(np.logspace(-8, 0, 300)))
    functions = {**MOMENTS, "soft rank": soft_rank(1e-6)}
    few = spectrum(product(matrix), 300, functions, starts=3, seed=0, max_steps=12, bottom=0, nonnegative=True)
    assert {name: s.converged for name, s in few.sums.items()} == {"trace": True, "frobenius": True, "soft rank": False}
    more = spectrum(product(matrix), 300, functions, starts=3, seed=0, max_steps=300, bottom=0, nonnegative=True)
    assert more.sums["soft rank"].converged
    assert more.products > few.products == 36
    exact = soft_rank(1e-6)(np.logspace(-8, 0, 300)).sum()
    assert more.sums["soft rank"].sampled.value == pytest.approx(exact, rel=0.1)


@pytest.mark.parametrize("steps", [4, 12, 40])
def test_the_two_rules_bracket_what_each_start_sees(steps: int) -> None:
    """vᵀf(A)v itself, by full decomposition, lies between the Gauss and the Radau value for every start."""
    values = np.logspace(-6, 0, 120)
    matrix = rotated(list(values))
    for seed in range(5):
        space = Krylov(product(matrix), 120, seed, torch.float64)
        start = space._next.clone()
        for _ in range(steps):
            space.step()
        _, vectors = torch.linalg.eigh(matrix)
        weights = (vectors.T @ start).square().numpy()
        for function in (soft_rank(1e-4), damped_log(1e-4)):
            gauss, radau = _rule(space.alpha, space.beta[:-1]).integral(function), _radau(space).integral(function)
            assert radau - 1e-9 <= weights @ function(values) <= gauss + 1e-9


def test_the_density_integrates_to_one_and_peaks_where_eigenvalues_are() -> None:
    found = spectrum(product(rotated([0.0] * 30 + [1.0] * 10)), 40, {}, starts=5, seed=0)
    grid = np.linspace(-1, 2, 3001)
    density = found.density(grid, 0.05)
    np.testing.assert_allclose(density.sum(axis=1) * (grid[1] - grid[0]), 1, rtol=1e-6)
    mean = density.mean(axis=0)
    share = mean[grid > 0.5].sum() / mean.sum()
    assert share == pytest.approx(0.25, abs=0.15)
    assert mean[np.abs(grid - 0.5) < 0.1].max() < 1e-6


def test_more_starts_draw_from_the_same_stream() -> None:
    matrix = rotated(list(np.linspace(0, 1, 50)))
    few = spectrum(product(matrix), 50, {}, starts=2, seed=0)
    more = spectrum(product(matrix), 50, {}, starts=4, seed=0)
    assert all(np.array_equal(a.nodes, b.nodes) for a, b in zip(few.rules, more.rules, strict=False))
