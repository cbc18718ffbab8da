"""Lanczos quadrature against full eigenvalue decompositions.

Errors that other tools made, and the test that would catch each in ours:

| error | test |
|---|---|
| density squares whole eigenvectors, not first components (PyHessian, PR 23) | test_the_density_integrates_to_one_and_peaks_where_eigenvalues_are |
| unsymmetric `eig`, complex or unsorted nodes (PyHessian) | test_rules_are_ascending_and_weights_sum_to_one |
| ghost copies without re-orthogonalisation | test_lanczos: test_no_ghosts_long_after_convergence |
| power iteration finds the largest magnitude | test_lanczos: test_the_largest_is_algebraic_not_in_magnitude |
| unconverged values returned as if they were right (hessian-eigenthings, lobpcg) | test_too_little_is_flagged |
| trace stops when the running mean seems settled (PyHessian) | test_trace: test_intervals_cover |
| batch means averaged without weights (hessian-eigenthings) | test_random_networks, whose last batches are ragged |
| soft rank of an indefinite matrix, near the pole −d | test_soft_rank: test_rounding_below_zero_is_zero |
| damping on the summed, not the mean loss | test_soft_rank: test_ridge_regression_has_as_many_degrees_of_freedom |
| the trace is blind on saddles | test_frobenius_sees_a_saddle_that_the_trace_does_not |
"""  # noqa: E501  # a table

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sharpaudit.curvature.gauss_newton.soft_rank import damped_log, soft_rank
from sharpaudit.curvature.krylov.lanczos import Krylov
from sharpaudit.curvature.krylov.quadrature import Function, gauss, radau
from sharpaudit.curvature.krylov.spectrum import Sum, quadratic_form, spectrum
from tests.curvature.krylov.test_lanczos import product, rotated

Floats = NDArray[np.float64]
MOMENTS: dict[str, Function] = {"trace": np.positive, "frobenius": np.square}


def wide(size: int, smallest: float = 1e-8) -> Floats:
    """Eigenvalues evenly spaced over the decades from `smallest` to 1."""
    return np.geomspace(smallest, 1, size)


def error_is_within(found: Sum, truth: float, standard_errors: float = 4) -> bool:
    """Whether the truth lies in the bracket of the steps, widened by standard errors on both sides."""
    return (
        found.low.value - standard_errors * found.low.standard_error
        <= truth
        <= found.high.value + standard_errors * found.high.standard_error
    )


def test_frobenius_sees_a_saddle_that_the_trace_does_not() -> None:
    """Golden: diag(2, −2) has trace 0 and squared Frobenius norm 8."""
    found = spectrum(product(torch.diag(torch.tensor([2.0, -2.0]).double())), 2, MOMENTS, starts=2, seed=0)
    assert {name: s.sampled.value for name, s in found.sums.items()} == pytest.approx({"trace": 0, "frobenius": 8}, abs=1e-14)


def test_where_all_steps_cost_no_more_they_are_taken() -> None:
    """Then every eigenvalue is known as often as it occurs, and sums have no error to give an interval of."""
    values = [5.0, 5.0, 5.0, 2.0, 2.0, 0.0, 0.0, -1.0]
    found = spectrum(product(rotated(values)), 8, MOMENTS, starts=2, max_steps=4, seed=0)
    assert found.whole and found.products == 8
    np.testing.assert_allclose(found.rules[0].nodes, sorted(values), atol=1e-12)
    assert found.sums["trace"].sampled.value == pytest.approx(18)
    assert found.sums["trace"].interval is None and found.sums["trace"].converged
    assert not spectrum(product(rotated(values)), 8, MOMENTS, starts=2, max_steps=3, seed=0).whole


def test_rules_are_ascending_and_weights_sum_to_one() -> None:
    found = spectrum(product(rotated(list(np.linspace(-1, 1, 200)))), 200, {}, starts=5, max_steps=30, seed=0)
    for rule in found.rules:
        assert np.all(np.diff(rule.nodes) > 0)
        assert rule.weights.min() >= 0 and rule.weights.sum() == pytest.approx(1)


def test_sums_lie_within_their_errors() -> None:
    values = np.random.default_rng(0).normal(size=300)
    found = spectrum(product(rotated(list(values))), 300, MOMENTS, starts=10, max_steps=20, seed=0)
    assert not found.whole and found.products == 80, "eight steps are more than both sums need"
    for name, function in MOMENTS.items():
        assert found.sums[name].steps_error == 0
        assert error_is_within(found.sums[name], function(values).sum())
        interval = found.sums[name].interval
        if name == "trace":
            assert interval is None and found.sums[name].sampled.reason == "the terms of the sum have both signs"
        else:
            assert interval is not None and interval.method == "power scale, by moments"
            assert interval.low < found.sums[name].sampled.value < interval.high


def test_known_eigenvectors_take_their_variance_away() -> None:
    """A few eigenvalues carry nearly all of the Frobenius norm: with them known, a fifth of the error is left at most."""
    values = [100.0, 60.0, -40.0, *np.linspace(-1, 1, 297)]
    matrix = rotated(values)
    space = Krylov(product(matrix), 300, 7, torch.float64)
    space.grow(2, 1, 1e-6, 100)
    known = space.outliers(1e-6)
    assert known.values == pytest.approx([-40, 60, 100])
    plain = spectrum(product(matrix), 300, MOMENTS, starts=4, max_steps=10, seed=0)
    better = spectrum(product(matrix), 300, MOMENTS, starts=4, max_steps=10, seed=0, known=known)
    for name, function in MOMENTS.items():
        assert better.sums[name].sampled.standard_error < 0.2 * plain.sums[name].sampled.standard_error
        assert error_is_within(better.sums[name], function(np.array(values)).sum())
    for rule in better.rules:
        assert rule.weights.sum() == pytest.approx(1)
        assert rule.weights[np.abs(rule.nodes) > 2] == pytest.approx([1 / 300] * 3)


def test_too_few_steps_are_flagged_for_the_sum_they_spoil_and_only_for_it() -> None:
    """Eigenvalues over eight decades: trace and Frobenius norm settle at once, soft rank with a tiny damping does not."""
    matrix, functions = rotated(list(wide(300))), {**MOMENTS, "soft rank": soft_rank(1e-6)}
    few = spectrum(product(matrix), 300, functions, starts=4, seed=0, max_steps=12, nonnegative=True)
    assert {name: s.converged for name, s in few.sums.items()} == {"trace": True, "frobenius": True, "soft rank": False}
    more = spectrum(product(matrix), 300, functions, starts=2, seed=0, max_steps=149, nonnegative=True, tolerance=0.03)
    assert more.sums["soft rank"].converged and not more.whole
    exact = soft_rank(1e-6)(wide(300)).sum()
    assert error_is_within(few.sums["soft rank"], exact) and error_is_within(more.sums["soft rank"], exact)
    assert few.sums["soft rank"].high.value - few.sums["soft rank"].low.value > 0.1 * exact


@pytest.mark.parametrize("steps", [4, 12, 40])
def test_the_two_rules_bracket_what_each_start_sees(steps: int) -> None:
    """vᵀf(A)v itself, by full decomposition, lies between the Gauss and the Radau value for every start."""
    values = wide(120, 1e-6)
    matrix = rotated(list(values))
    for seed in range(5):
        space = Krylov(product(matrix), 120, seed, torch.float64)
        start = space._next.clone()
        for _ in range(steps):
            space.step()
        _, vectors = torch.linalg.eigh(matrix)
        weights = (vectors.T @ start).square().numpy()
        for function in (soft_rank(1e-4), damped_log(1e-4)):
            above, below = gauss(space, steps).integral(function), radau(space).integral(function)
            assert below - 1e-9 <= weights @ function(values) <= above + 1e-9


def test_a_quadratic_form_is_the_trace_against_the_covariance_of_the_vectors() -> None:
    """E[uᵀ(A + d)⁻¹u] for u = B·signs is tr(Bᵀ(A + d)⁻¹B); a zero vector adds nothing."""
    values, size = wide(60, 1e-3), 60
    matrix, generator = rotated(list(values)), torch.Generator().manual_seed(0)
    b = torch.randn(size, 4, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (40, 4), generator=generator).double() * 2 - 1
    vectors = [b @ sign for sign in signs]
    found = quadratic_form(product(matrix), vectors, lambda x: 1 / (x + 0.01), starts=40, max_steps=40)
    inverse = torch.linalg.inv(matrix + 0.01 * torch.eye(size).double())
    each = [(u @ inverse @ u).item() for u in vectors]
    assert found.converged
    assert found.low.value <= np.mean(each) <= found.high.value
    assert abs(found.sampled.value - torch.trace(b.T @ inverse @ b).item()) < 4 * found.sampled.standard_error
    nothing = quadratic_form(product(matrix), [torch.zeros(size).double()] * 2, np.positive, starts=2)
    assert (nothing.sampled.value, nothing.converged) == (0, True)


def test_the_density_integrates_to_one_and_peaks_where_eigenvalues_are() -> None:
    matrix = rotated([*np.linspace(-0.01, 0.01, 300), *np.linspace(0.99, 1.01, 100)])
    found = spectrum(product(matrix), 400, {}, starts=5, max_steps=20, seed=0)
    grid = np.linspace(-1, 2, 3001)
    density = found.density(grid, 0.05)
    np.testing.assert_allclose(density.sum(axis=1) * (grid[1] - grid[0]), 1, rtol=1e-6)
    mean = density.mean(axis=0)
    assert mean[grid > 0.5].sum() / mean.sum() == pytest.approx(0.25, abs=0.05)
    assert mean[np.abs(grid - 0.5) < 0.1].max() < 1e-6


def test_more_starts_draw_from_the_same_stream_and_progress_reaches_the_end() -> None:
    matrix = rotated(list(np.linspace(0, 1, 50)))
    seen: list[float] = []
    few = spectrum(product(matrix), 50, {}, starts=2, max_steps=10, seed=0)
    more = spectrum(product(matrix), 50, {}, starts=4, max_steps=10, seed=0, on_progress=seen.append)
    assert all(np.array_equal(a.nodes, b.nodes) for a, b in zip(few.rules, more.rules, strict=False))
    assert seen == sorted(seen) and 0.9 < seen[-1] <= 1


# ---- twenty cases in which there are too few steps, or nearly equal eigenvalues -----------------------------------------------

TOO_FEW: dict[str, tuple[Floats, Function, int, bool]] = {
    "soft rank over 12 decades, 10 steps": (wide(400, 1e-12), soft_rank(1e-9), 10, True),
    "soft rank over 8 decades, 20 steps": (wide(400), soft_rank(1e-6), 20, True),
    "soft rank, a bulk at the damping, 3 steps": (np.append(np.full(390, 1e-4), wide(10, 1e-2)), soft_rank(1e-4), 3, True),
    "soft rank, most of it far below the damping": (np.append(wide(390, 1e-9) * 1e-3, wide(10, 1e-1)), soft_rank(1e-5), 6, True),
    "log-determinant over 12 decades": (wide(400, 1e-12), damped_log(1e-10), 10, True),
    "log-determinant over 8 decades, 8 steps": (wide(400), damped_log(1e-7), 8, True),
    "absolute values, 2 steps": (np.append(np.linspace(-1e-2, 2e-2, 395), [1, 2, 3, 4, 5]), np.abs, 2, False),
    "absolute values, 3 steps": (np.append(np.linspace(-1, 1, 390), np.linspace(10, 20, 10)), np.abs, 3, False),
    "absolute values, many decades": (np.append(-wide(200, 1e-6), wide(200, 1e-6)), np.abs, 4, False),
    "absolute values, a few large ones": (np.append(np.linspace(-1e-3, 1e-3, 398), [5, -3]), np.abs, 4, False),
}


@pytest.mark.parametrize("name", TOO_FEW)
def test_too_little_is_flagged(name: str) -> None:
    """Every sum that is wrong for want of steps says so, and where there is a bracket the truth is in it."""
    values, function, steps, nonnegative = TOO_FEW[name]
    found = spectrum(
        product(rotated(list(values))), 400, {"f": function}, starts=8, max_steps=steps, seed=0, nonnegative=nonnegative
    ).sums["f"]
    assert not found.converged
    if nonnegative:
        assert error_is_within(found, function(values).sum())


BULK = list(np.linspace(-1, 1, 294))

NEARLY_EQUAL = {
    "five steps for a crowded top": ([*np.linspace(0.9, 1, 150), *np.linspace(0, 0.9, 150)], 5),
    "ten steps for a wide bulk": (list(np.linspace(-1, 1, 300)), 10),
    "eight steps for many decades": (list(np.geomspace(1e-3, 1, 300)), 8),
    "a second eigenvalue that occurs twice": ([1e4, 1e3, 1e3, 100, 50, 20, *BULK], 100),
    "a third that nearly does": ([1e4, 1e3, 100, 100 - 1e-7, 50, 20, *BULK], 100),
    "three equal ones": ([1e3, 1e3, 1e3, 200, 50, 10, *BULK], 100),
    "equal fourth and fifth": ([500, 300, 100, 30, 30, 5, *BULK], 100),
    "two pairs": ([800, 800, 100, 100, 30, 5, *BULK], 100),
    "a pair equal to 1e-12": ([300, 200, 200 * (1 + 1e-12), 80, 40, 20, *BULK], 100),
    "a third that occurs twice, far below": ([5e4, 800, 90, 90, 30, 10, *BULK], 100),
}


@pytest.mark.parametrize("name", NEARLY_EQUAL)
def test_lists_that_missed_an_eigenvalue_are_flagged(name: str) -> None:
    """None of the top five is silently wrong: each is right or not called converged. Its residuals alone would not tell."""
    values, iterations = NEARLY_EQUAL[name]
    matrix, truth = rotated(values), np.sort(values)[::-1]
    space = Krylov(product(matrix), 300, 0, torch.float64)
    ends = space.grow(5, 0, 1e-3, iterations)
    found = spectrum(product(matrix), 300, {}, starts=3, max_steps=20, min_steps=12, seed=1, known=space.outliers(1e-3))
    verified = found.verified(ends, 1e-3)
    right = [abs(e.value - exact) <= 1e-3 * abs(exact) for e, exact in zip(verified.top, truth, strict=False)]
    assert all(fine or not e.converged for e, fine in zip(verified.top, right, strict=True))
    assert not all(e.converged for e in verified.top)


def test_a_right_list_stays_converged_and_a_whole_spectrum_replaces_it() -> None:
    values = [5.0, 4.0, 3.0, 2.5, 2.0, -3.0, *np.linspace(-1, 1, 294)]
    matrix = rotated(values)
    space = Krylov(product(matrix), 300, 0, torch.float64)
    ends = space.grow(5, 1, 1e-3, 100)
    found = spectrum(product(matrix), 300, {}, starts=3, max_steps=20, seed=1, known=space.outliers(1e-3))
    assert found.verified(ends, 1e-3) == ends
    assert all(e.converged for e in ends.top + ends.bottom)
    whole = spectrum(product(matrix), 300, {}, starts=3, max_steps=100, seed=1).verified(ends, 1e-3)
    assert [e.value for e in whole.top] == pytest.approx(values[:5]) and whole.bottom[0].value == pytest.approx(-3)
    assert {e.residual for e in whole.top + whole.bottom} == {0.0}


def test_an_end_beyond_which_more_lies_is_flagged_at_the_bottom_too() -> None:
    matrix = rotated([-1e3, -200, -200, -50, *np.linspace(-1, 1, 296)])
    space = Krylov(product(matrix), 300, 0, torch.float64)
    ends = space.grow(0, 3, 1e-3, 100)
    found = spectrum(product(matrix), 300, {}, starts=3, max_steps=20, seed=1, known=space.outliers(1e-3))
    assert [e.converged for e in ends.bottom] == [True, True, True]
    assert [e.converged for e in found.verified(ends, 1e-3).bottom] == [True, True, False]


def test_outliers_are_orthonormal_eigenvectors() -> None:
    matrix = rotated([5.0, 4.0, -3.0, *np.linspace(-1, 1, 97)])
    space = Krylov(product(matrix), 100, 0, torch.float64)
    space.grow(2, 1, 1e-6, 100)
    known = space.outliers(1e-6)
    assert len(known.values) >= 3
    torch.testing.assert_close(known.vectors @ known.vectors.T, torch.eye(len(known.values)).double())
    for value, vector in zip(known.values, known.vectors, strict=True):
        assert (matrix @ vector - value * vector).norm() <= 1e-6 * max(abs(value), 5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("starts", [4, 10])
def test_intervals_of_sums_cover(starts: int) -> None:
    """Of 400 nominal 95% intervals at least 93% hold the truth (binomial standard deviation 1.1%); printed with `-s`.

    Those of bracketed sums hold more often, as they are widened by the bracket.
    """
    values = np.concatenate([[30.0, 20.0, -5.0], wide(197, 1e-6)])
    matrix, positive = rotated(list(values)), rotated(list(np.abs(values)))
    space = Krylov(product(matrix), 200, 7, torch.float64)
    space.grow(2, 1, 1e-4, 30)
    functions: dict[str, Function] = {"rank": soft_rank(1e-3), "log": damped_log(1e-3)}
    held = {"trace": 0, "frobenius": 0, "rank": 0, "log": 0}
    for seed in range(400):
        known = space.outliers(1e-4)
        moments = spectrum(product(matrix), 200, MOMENTS, starts=starts, max_steps=10, seed=seed, known=known).sums
        sums = spectrum(
            product(positive), 200, functions, starts=starts, max_steps=19, seed=seed, nonnegative=True, tolerance=0.05
        ).sums
        for name, found in {**moments, **sums}.items():
            spectrum_of = values if name in MOMENTS else np.abs(values)
            truth = {**MOMENTS, **functions}[name](spectrum_of).sum()
            interval = found.interval
            held[name] += interval is not None and interval.low <= truth <= interval.high
    print(f"{starts} starts: {', '.join(f'{name} {count / 400:.1%}' for name, count in held.items())} of 95% intervals hold")
    assert all(count / 400 >= 0.93 for count in held.values())
    assert all(held[name] / 400 <= 0.97 for name in MOMENTS)
