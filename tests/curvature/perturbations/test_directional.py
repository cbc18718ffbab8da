"""Every example's curvature along a direction against dense Hessians of single examples, and what it says of λ_max."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from sharpaudit.curvature.krylov.lanczos import Krylov
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations import directional
from sharpaudit.curvature.perturbations.directional import curvature_along, curvature_of_halves, over_examples
from sharpaudit.stats import Estimate
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
    assert curvature_along(o, space.leading(1).vectors[0]).mean().item() == pytest.approx(largest.value, rel=1e-9)


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
    along = curvature_along(o, space.leading(1).vectors[0]).numpy()
    assert along.std(ddof=1) / np.sqrt(n) == pytest.approx(jackknife, rel=0.1)


def test_terms_are_those_of_all_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six images have twenty halves; their eigenvectors from dense Hessians, of a layer, where they are Gauss-Newton's."""
    monkeypatch.setattr(directional, "HALVES", 4000)
    generator = torch.Generator().manual_seed(3)
    module = torch.nn.Linear(3, 4, dtype=torch.float64).eval()
    with torch.no_grad():
        module.weight.copy_(2 * torch.randn(4, 3, generator=generator, dtype=torch.float64))
    inputs, labels = torch.randn(6, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    o = Objective(module, inputs, labels, batch_size=4)
    space = Krylov(o.hvp, o.num_parameters, 0, o.dtype, "cpu")
    (largest,) = space.grow(1, 0, 1e-12, o.num_parameters).top
    single = torch.stack([dense_hessian(module, x[None], y[None]) for x, y in zip(inputs, labels, strict=True)])
    leading = [torch.linalg.eigh(single[list(half)].sum(0))[1][:, -1] for half in combinations(range(6), 3)]
    truth = torch.stack([torch.stack([v @ h @ v for v in leading]).mean() for h in single])
    found = curvature_of_halves(o, space.leading(o.num_parameters), seed=0)
    assert torch.from_numpy(found).allclose(truth, rtol=0.02)
    assert not curvature_along(o, space.leading(1).vectors[0]).allclose(truth, rtol=0.1), "turning makes a difference here"
    assert largest.value == pytest.approx(torch.linalg.eigvalsh(single.mean(0))[-1].item(), rel=1e-9)


def test_few_images_or_none_that_differ_give_no_interval() -> None:
    few, alike, two = np.array([100.0, *[1.0] * 99]), np.ones(9), np.array([1.0, 3.0] * 50)
    assert over_examples(1.99, few) == Estimate(1.99, None, "few images decide it: 100 are worth 3.9 equal ones")
    assert over_examples(1.0, alike) == Estimate(1.0, None, "no interval over images: none tells it from the others")
    ci = over_examples(2.0, two).ci
    assert ci is not None
    assert [math.log(2 / ci.low), math.log(ci.high / 2)] == pytest.approx([1.984 / 99**0.5 / 2] * 2, rel=1e-3)


def test_passes_are_counted_and_nothing_is_left_behind() -> None:
    o = objective("conv-bn")
    before = [p.clone() for p in o.theta]
    curvature_along(o, torch.ones(o.num_parameters, dtype=o.dtype))
    assert o.passes["hvp"] == 21
    assert all(p.equal(q) and p.grad is None for p, q in zip(o.theta, before, strict=True))
