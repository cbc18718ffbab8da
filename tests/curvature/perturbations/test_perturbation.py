"""Random and one-step sharpness against their leading terms, on networks where those are exact enough to test."""

import math

import numpy as np
import pytest
import torch

from sharpaudit.curvature.draws import gaussian
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.perturbation import paper_protocol, random_sharpness, sam_sharpness
from tests import oracles
from tests.cases import case


def objective(name: str = "mlp-tanh", batch_size: int = 3, *, n: int = 7, dtype: torch.dtype = torch.float64) -> Objective:
    return Objective(*case(name, n=n, dtype=dtype), batch_size=batch_size)


def test_nothing_moves_at_radius_zero() -> None:
    found = random_sharpness(objective("conv-bn"), radius=0, draws=4, seed=0)
    assert (found.absolute.value, found.antithetic.value) == (0, 0)
    assert sam_sharpness(objective("conv-bn"), radius=0).value == 0


def test_absolute_random_sharpness_measures_the_gradient() -> None:
    """At small ρ it is E|⟨g, ε⟩|/ρ = sqrt(2/π)·‖g‖/√P."""
    o = objective()
    found = random_sharpness(o, radius=1e-4, draws=600, seed=0).absolute
    leading = math.sqrt(2 / math.pi) * o.gradient().norm().item() / math.sqrt(o.num_parameters)
    assert abs(found.value - leading) < 4 * found.standard_error


def test_antithetic_random_sharpness_measures_the_trace() -> None:
    """On a smooth network it is ½ρ² tr(H)/P, the gradient gone; ½εᵀHε over the very same ε leaves no sampling error."""
    c = case("mlp-tanh")
    o = Objective(*c, batch_size=3)
    radius, draws = 1e-3, 40
    found = random_sharpness(o, radius=radius, draws=draws, seed=0)
    hessian, scale = oracles.dense_hessian(*c), radius / math.sqrt(o.num_parameters)
    epsilon = torch.stack([gaussian(o.num_parameters, 0, pair) for pair in range(draws // 2)]).double() * scale
    exact = 0.5 * torch.einsum("ti,ij,tj->t", epsilon, hessian, epsilon).mean().item()
    assert found.antithetic.value == pytest.approx(exact, rel=1e-4)
    assert found.antithetic.n == draws // 2
    assert found.resolved
    trace = 0.5 * radius**2 * hessian.trace().item() / o.num_parameters
    assert abs(found.antithetic.value - trace) < 4 * found.antithetic.standard_error


def test_float32_says_when_the_second_difference_is_rounding() -> None:
    exact = random_sharpness(objective(n=40), radius=1e-5, draws=8, seed=0)
    single = random_sharpness(objective(n=40, dtype=torch.float32), radius=1e-5, draws=8, seed=0)
    assert exact.resolved and not single.resolved
    assert single.rounding > 1e4 * exact.rounding
    error = abs(single.antithetic.value - exact.antithetic.value)
    assert 0.1 * single.rounding < error < 10 * single.rounding


@pytest.mark.parametrize("measure", ["random", "paper", "sam"])
def test_batch_size_changes_nothing(measure: str) -> None:
    def values(batch_size: int) -> list[float]:
        o = objective("conv-bn", batch_size)
        if measure == "random":
            r = random_sharpness(o, radius=0.05, draws=8, seed=0)
            return [r.absolute.value, r.antithetic.value]
        if measure == "paper":
            p = paper_protocol(o, radius=0.05, draws=4, seed=0, batch_size=3)
            return [p.sharpness.value if p.sharpness else 0, p.null.value]
        return [sam_sharpness(o, radius=0.05).value]

    assert values(1) == pytest.approx(values(7), rel=1e-9)


def test_draws_do_not_depend_on_the_checkpoint_or_its_precision() -> None:
    assert torch.equal(gaussian(5, 1, 2), gaussian(5, 1, 2))
    assert not torch.equal(gaussian(5, 1, 2), gaussian(5, 1, 3))
    assert not torch.equal(gaussian(5, 1, 2), gaussian(5, 2, 2))
    single = random_sharpness(objective(dtype=torch.float32), radius=0.05, draws=8, seed=0)
    double = random_sharpness(objective(), radius=0.05, draws=8, seed=0)
    assert single.absolute.value == pytest.approx(double.absolute.value, rel=1e-4)


def test_the_paper_protocol_reads_a_shuffled_loader_without_any_perturbation() -> None:
    """The short last batch weighs its examples more: the null is far above what the perturbation does."""
    found = paper_protocol(objective(), radius=0.005, draws=20, seed=0, batch_size=3)
    frozen = random_sharpness(objective(), radius=0.005, draws=20, seed=0)
    assert found.null.value > 20 * frozen.absolute.value
    assert found.sharpness and found.sharpness.value == pytest.approx(found.null.value, rel=0.05)


def test_the_paper_protocol_is_the_frozen_one_when_batches_are_even() -> None:
    """7 examples in one batch: the order does not matter, the null is 0, and without BatchNorm nothing else differs."""
    o = objective()
    found = paper_protocol(o, radius=0.05, draws=30, seed=0, batch_size=7)
    assert found.null.value == 0
    assert paper_protocol(objective(n=21), radius=0.05, draws=30, seed=0, batch_size=7).null.value == 0, "three even batches"
    rises = []
    for draw in range(1, 31):
        with o.perturbed(gaussian(o.num_parameters, 0, draw) * (0.05 / math.sqrt(o.num_parameters))):
            rises.append(abs(o.loss()))
    base = o.loss()
    assert found.sharpness and found.sharpness.value == pytest.approx(np.mean([abs(r - base) for r in rises]) / 0.05, rel=1e-9)


def test_the_paper_protocol_moves_running_statistics() -> None:
    """Where a running variance is moved below zero the loss is not a number; such draws are left out and counted."""
    c = case("conv-bn")
    variances = c.module[4].running_var  # type: ignore[index]  # a Sequential
    fine = paper_protocol(Objective(*c, batch_size=7), radius=1e-3, draws=4, seed=0, batch_size=7)
    variances[0] = 1e-3
    some = paper_protocol(Objective(*c, batch_size=7), radius=0.1, draws=20, seed=0, batch_size=7)
    variances.fill_(1e-4)
    none = paper_protocol(Objective(*c, batch_size=7), radius=10, draws=4, seed=0, batch_size=7)
    assert fine.undefined == 0
    assert some.sharpness and 0 < some.undefined < 20 and some.sharpness.n + some.undefined == 20
    assert none.sharpness is None and none.undefined == 4


def test_sam_takes_one_normalised_step_uphill() -> None:
    o = objective()
    g = o.gradient()
    with o.perturbed(0.05 * g / g.norm()):
        truth = o.losses()
    rise = truth - o.losses()
    found = sam_sharpness(o, radius=0.05)
    assert found.value == pytest.approx(rise.mean().item())
    assert found.standard_error == pytest.approx(rise.std().item() / math.sqrt(7))
    assert sam_sharpness(o, radius=1e-5).value == pytest.approx(1e-5 * g.norm().item(), rel=1e-3)


def test_sam_at_a_stationary_point_is_zero() -> None:
    module = torch.nn.Linear(2, 2, bias=False).double()
    torch.nn.init.zeros_(module.weight)
    images = torch.ones(2, 2).double()
    assert sam_sharpness(Objective(module, images, torch.tensor([0, 1]), batch_size=2), radius=0.05).value == 0


def test_odd_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an even number of at least 4 draws, got 5"):
        random_sharpness(objective(), radius=0.1, draws=5, seed=0)
