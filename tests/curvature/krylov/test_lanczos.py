"""Lanczos against dense matrices with spectra chosen to be easy to get wrong."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sharpaudit.curvature.krylov.lanczos import Krylov, Product, extreme_eigenvalues
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import case


def rotated(spectrum: list[float], seed: int = 0) -> Tensor:
    """A dense symmetric matrix with this spectrum in a random basis."""
    basis, _ = torch.linalg.qr(torch.randn(len(spectrum), len(spectrum), generator=torch.Generator().manual_seed(seed)).double())
    matrix: Tensor = basis @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ basis.T
    return matrix


def product(matrix: Tensor) -> Product:
    return lambda v: matrix @ v.to(matrix.dtype)


def test_softmax_regression_golden() -> None:
    """Oracle O1g: two classes, X = I, W = 0: eigenvalues {0.25, 0.25, 0, 0}; Lanczos must see both copies."""
    module = torch.nn.Linear(2, 2, bias=False).double()
    torch.nn.init.zeros_(module.weight)
    o = Objective(module, torch.eye(2).double(), torch.tensor([0, 1]), batch_size=1)
    ends = extreme_eigenvalues(o.hvp, 4, seed=0, top=4)
    assert [e.value for e in ends.top] == pytest.approx([0.25, 0.25, 0, 0], abs=1e-15)
    assert all(e.converged for e in ends.top)


@pytest.mark.parametrize("alpha, truth", [(1, 2.0), (2, 4.25), (10, 100.01)])
def test_scalar_chain_golden(alpha: float, truth: float) -> None:
    """Oracle O2: L = ½(ab − 1)² at (α, 1/α): the largest eigenvalue moves with α, though the function does not."""
    hessian = torch.tensor([[alpha**-2, 1], [1, alpha**2]], dtype=torch.float64)
    scale = torch.diag(torch.tensor([alpha, 1 / alpha], dtype=torch.float64))
    ends = extreme_eigenvalues(product(hessian), 2, seed=0, bottom=1)
    assert ends.top[0].value == pytest.approx(truth)
    assert ends.bottom[0].value == pytest.approx(0, abs=1e-12)
    assert extreme_eigenvalues(product(scale @ hessian @ scale), 2, seed=0).top[0].value == pytest.approx(2)


@pytest.mark.parametrize("name", ["linear", "mlp-relu", "conv-bn", "residual", "layernorm", "attention"])
def test_small_networks(name: str) -> None:
    c = case(name)
    truth = torch.linalg.eigvalsh(oracles.dense_hessian(*c)).numpy()
    o = Objective(*c, batch_size=3)
    ends = extreme_eigenvalues(o.hvp, o.num_parameters, seed=1, top=5, bottom=1)
    assert all(e.converged for e in ends.top + ends.bottom)
    np.testing.assert_allclose([e.value for e in ends.top], truth[:-6:-1], rtol=1e-5, atol=1e-5 * truth[-1])
    assert ends.bottom[0].value == pytest.approx(truth[0], abs=1e-4 * truth[-1])


def test_the_largest_is_algebraic_not_in_magnitude() -> None:
    spectrum = [-10.0, *np.linspace(-1, 1, 48), 3.0]
    ends = extreme_eigenvalues(product(rotated(spectrum)), 50, seed=0, bottom=1)
    assert (ends.top[0].value, ends.bottom[0].value) == pytest.approx((3, -10))


def test_no_ghosts_long_after_convergence() -> None:
    """Without re-orthogonalisation, copies of the largest eigenvalue appear once it has converged."""
    spectrum = [*np.linspace(0, 1, 199), 100.0]
    space = Krylov(product(rotated(spectrum)), 200, 0, torch.float64)
    for _ in range(120):
        space.step()
    values, _ = space.ritz()
    assert np.count_nonzero(values > 2) == 1


def test_all_steps_give_the_whole_spectrum_with_multiplicities() -> None:
    spectrum = [5.0, 5.0, 5.0, 2.0, 2.0, 0.0, 0.0, -1.0]
    space = Krylov(product(rotated(spectrum)), 8, 0, torch.float64)
    for _ in range(8):
        space.step()
    values, _ = space.ritz()
    np.testing.assert_allclose(values, sorted(spectrum), atol=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_too_few_iterations_are_flagged(seed: int) -> None:
    """Near-degenerate top: five products cannot separate them, and the result says so."""
    spectrum = [*np.linspace(0.9, 1, 150), *np.linspace(0, 0.9, 150)]
    ends = extreme_eigenvalues(product(rotated(spectrum, seed)), 300, seed=seed, max_iterations=5)
    assert not ends.top[0].converged and ends.top[0].iterations == 5


@pytest.mark.parametrize("seed", range(10))
def test_the_residual_bounds_the_error(seed: int) -> None:
    spectrum = np.sort(np.random.default_rng(seed).exponential(size=100))
    ends = extreme_eigenvalues(product(rotated(list(spectrum), seed)), 100, seed=seed, top=3, max_iterations=30)
    for e in ends.top:
        assert np.abs(spectrum - e.value).min() <= e.residual * abs(e.value) + 1e-12
        assert e.converged == (e.residual <= 1e-3)


def test_the_zero_operator_has_eigenvalue_zero() -> None:
    ends = extreme_eigenvalues(torch.zeros_like, 10, seed=0, top=2)
    assert [(e.value, e.residual, e.converged) for e in ends.top] == [(0, 0, True)] * 2


def test_starts_do_not_matter_and_progress_reaches_the_end() -> None:
    matrix = rotated([*np.linspace(0, 1, 60), 2.0])
    seen: list[float] = []
    values = [
        extreme_eigenvalues(product(matrix), 61, seed=s, tolerance=1e-9, on_progress=seen.append).top[0].value for s in range(3)
    ]
    assert values == pytest.approx([2.0] * 3, rel=1e-9)
    assert 0 < max(seen) <= 1


def test_a_given_start_is_where_the_space_begins() -> None:
    """From an eigenvector the first step finds its eigenvalue, and nothing leads out but rounding."""
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))
    space = Krylov(product(matrix), 3, 0, torch.float64, start=torch.tensor([0.0, 5.0, 0.0]))
    space.step()
    assert (space.alpha, space.beta) == ([2.0], [0.0])


def test_what_is_known_is_left_out() -> None:
    """In the complement of the two largest eigenvectors the third is the largest, and there are two dimensions fewer."""
    values = [100.0, 50.0, 7.0, *np.linspace(0, 1, 47)]
    first = Krylov(product(rotated(values)), 50, 0, torch.float64)
    first.grow(2, 0, 1e-8, 50)
    known = first.outliers(1e-8)
    second = Krylov(product(rotated(values)), 50, 1, torch.float64, known=known)
    assert second.dimension == 50 - len(known.values)
    while not second.complete:
        second.step()
    both = np.sort(np.concatenate([known.values, second.ritz()[0]]))
    np.testing.assert_allclose(both, np.sort(values), atol=1e-10)
