"""Trace estimates against dense traces: unbiased, with the variance of theory, and intervals that cover."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sharpaudit.curvature.krylov.lanczos import Krylov
from sharpaudit.curvature.krylov.trace import hutchinson
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import case
from tests.curvature.krylov.test_lanczos import product, rotated


def test_a_diagonal_matrix_has_no_error() -> None:
    """The variance is 2 Σ_{i≠j} A_ij²: nothing is off the diagonal, so one draw is exact; diag(2, −2) has trace 0."""
    diagonal = torch.tensor([2.0, -2.0])
    found = hutchinson(lambda v: diagonal * v, 2, draws=2, seed=0)
    assert (found.value, found.standard_error, found.n) == (0, 0, 2)


def test_unbiased_with_the_variance_of_theory() -> None:
    matrix = torch.randn(12, 12, generator=torch.Generator().manual_seed(0)).double()
    matrix = matrix + matrix.T
    found = hutchinson(product(matrix), 12, draws=4000, seed=3)
    variance = 2 * (matrix.square().sum() - matrix.diagonal().square().sum()).item()
    assert found.standard_error == pytest.approx((variance / 4000) ** 0.5, rel=0.05)  # two standard errors of it
    assert abs(found.value - matrix.trace().item()) < 4 * found.standard_error


def test_a_network() -> None:
    c = case("conv-bn")
    o = Objective(*c, batch_size=3)
    found = hutchinson(o.hvp, o.num_parameters, draws=40, seed=0)
    assert abs(found.value - oracles.dense_hessian(*c).trace().item()) < 4 * found.standard_error
    assert hutchinson(o.hvp, o.num_parameters, draws=40, seed=0) == found


def spectra() -> dict[str, Tensor]:
    """Matrices whose quadratic forms differ in skewness and in how few eigenvalues carry them."""
    generator = torch.Generator().manual_seed(1)
    symmetric = torch.randn(40, 40, generator=generator).double()
    return {
        "symmetric": symmetric + symmetric.T,
        "a decaying tail": rotated(list(np.geomspace(1, 1e-3, 60))),
        "outliers": rotated([30.0, 20.0, 10.0, -5.0, *np.linspace(-0.5, 1, 96)]),
    }


slow = pytest.mark.slow


@pytest.mark.parametrize("draws", [10, pytest.param(30, marks=slow), pytest.param(100, marks=slow)])
@pytest.mark.parametrize("steps", [pytest.param(0, marks=slow), 4, pytest.param(15, marks=slow)])
@pytest.mark.parametrize("name", spectra())
def test_intervals_cover(name: str, steps: int, draws: int) -> None:
    """Of 1,000 nominal 95% intervals 93 to 97% hold the truth (binomial standard deviation 0.7%); printed with `-s`.

    Outside Krylov spaces of no, few and many steps. Where three eigenvalues carry what is sampled, quadratic forms are skewed:
    the scatter of 10 draws would give intervals that hold 88 to 92% of the time.
    """
    matrix = spectra()[name]
    truth = matrix.trace().item()
    space = Krylov(product(matrix), len(matrix), 7, torch.float64)
    for _ in range(steps):
        space.step()
    found = [hutchinson(product(matrix), len(matrix), draws=draws, seed=seed, known=space).interval() for seed in range(1000)]
    held = sum(interval.low <= truth <= interval.high for interval in found) / 1000
    print(f"trace of {name}, {draws} draws outside {steps} steps: {held:.1%} of 95% intervals hold")
    assert 0.93 <= held <= 0.97


def test_one_draw_has_no_standard_error() -> None:
    with pytest.raises(ValueError, match="a standard error needs at least 2 draws, got 1"):
        hutchinson(lambda v: v, 3, draws=1, seed=0)


def test_a_known_space_removes_its_part_of_the_variance() -> None:
    """Two eigenvalues carry most of the trace: with the Krylov space that holds them, a tenth of the error is left."""
    matrix = rotated([100.0, 60.0, *np.linspace(0, 1, 98)])
    space = Krylov(product(matrix), 100, 7, torch.float64)
    for _ in range(15):
        space.step()
    plain = hutchinson(product(matrix), 100, draws=30, seed=0)
    deflated = hutchinson(product(matrix), 100, draws=30, seed=0, known=space)
    truth = matrix.trace().item()
    assert deflated.standard_error < 0.1 * plain.standard_error
    assert abs(deflated.value - truth) < 4 * deflated.standard_error
    assert abs(plain.value - truth) < 4 * plain.standard_error


def test_a_known_space_that_is_everything_leaves_no_error() -> None:
    matrix = rotated([3.0, 1.0, -2.0])
    space = Krylov(product(matrix), 3, 0, torch.float64)
    for _ in range(3):
        space.step()
    assert hutchinson(product(matrix), 3, draws=2, seed=0, known=space).value == pytest.approx(2)
