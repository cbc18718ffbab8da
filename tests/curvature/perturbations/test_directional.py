"""Every example's curvature along a direction against dense Hessians of single examples, and what it says of λ_max."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sharpaudit.curvature.krylov.lanczos import Krylov
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.directional import curvature_along
from tests.cases import ARCHITECTURES, case
from tests.oracles import dense_hessian


def objective(name: str, batch_size: int = 3, n: int = 7) -> Objective:
    module, inputs, labels = case(name, n=n)
    return Objective(module, inputs, labels, batch_size=batch_size)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"mlp-hardsigmoid"}))  # torch's own has no second derivative
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_against_the_dense_hessian_of_each_example(name: str, batch_size: int) -> None:
    module, inputs, labels = case(name)
    o = Objective(module, inputs, labels, batch_size=batch_size)
    v = torch.randn(o.num_parameters, generator=torch.Generator().manual_seed(1), dtype=o.dtype)
    truth = torch.stack([v @ dense_hessian(module, x[None], y[None]) @ v for x, y in zip(inputs, labels, strict=True)])
    found = curvature_along(o, v)
    assert found.shape == (7,)
    assert torch.allclose(found, truth, rtol=1e-9, atol=1e-12 * truth.abs().max().item())


def test_at_the_leading_eigenvector_the_mean_is_the_eigenvalue() -> None:
    o = objective("mlp-tanh")
    space = Krylov(o.hvp, o.num_parameters, 0, o.dtype, "cpu")
    (largest,) = space.grow(1, 0, 1e-9, 200).top
    assert curvature_along(o, space.leading()).mean().item() == pytest.approx(largest.value, rel=1e-9)


def test_the_spread_is_that_of_the_eigenvalue_over_samples_of_images() -> None:
    """The jackknife of λ_max by dense eigenvalues, image by image, against the spread of single curvatures."""
    n = 60
    module, inputs, labels = case("mlp-tanh", n=n)
    o = Objective(module, inputs, labels, batch_size=16)
    single = torch.stack([dense_hessian(module, x[None], y[None]) for x, y in zip(inputs, labels, strict=True)])
    left_out = [torch.linalg.eigvalsh((single.sum(0) - h) / (n - 1))[-1].item() for h in single]
    jackknife = np.sqrt((n - 1) * np.var(left_out))
    space = Krylov(o.hvp, o.num_parameters, 0, o.dtype, "cpu")
    space.grow(1, 0, 1e-9, 200)
    along = curvature_along(o, space.leading()).numpy()
    assert along.std(ddof=1) / np.sqrt(n) == pytest.approx(jackknife, rel=0.1)


def test_passes_are_counted_and_nothing_is_left_behind() -> None:
    o = objective("conv-bn")
    before = [p.clone() for p in o.theta]
    curvature_along(o, torch.ones(o.num_parameters, dtype=o.dtype))
    assert o.passes["hvp"] == 21
    assert all(p.equal(q) and p.grad is None for p, q in zip(o.theta, before, strict=True))
