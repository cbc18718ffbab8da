"""Average-case sharpness against its second order on quadratic surfaces, and its invariances."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from sharpaudit.ascent import Norm
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.average_case import average_case, unit_logits
from sharpaudit.curvature.perturbations.ball import Ball
from tests.cases import Case, case, mlp
from tests.curvature.surfaces import chain, quadratic, rescaled

NORMS: list[Norm] = ["l2", "linf"]


def objective(c: Case, batch_size: int = 3) -> Objective:
    return Objective(*c, batch_size=batch_size)


def ball(o: Objective, norm: Norm, radius: float, adaptive: bool = False) -> Ball:
    return Ball.around(o, norm, radius, adaptive=adaptive)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("adaptive", [False, True])
def test_a_quadratic_has_its_second_order(norm: Norm, adaptive: bool) -> None:
    """½ρ² Σ h_i c_i² and a third of it; no draw sees anything else."""
    o = quadratic([3.0, 1.0], [2.0, -4.0])
    found = average_case(o, ball(o, norm, 0.1, adaptive), draws=300, seed=0).plain
    trace = 3 * 4 + 16 if adaptive else 3 + 1
    truth = 0.005 * trace / (3 if norm == "linf" else 1)
    assert abs(found.value - truth) < 4 * found.standard_error
    assert found.standard_error < 0.12 * truth
    assert found.n == 150


@pytest.mark.parametrize("norm", NORMS)
def test_noise_is_what_it_is_called(norm: Norm) -> None:
    o = quadratic([1.0] * 3, [0.0, 1.0, -2.0])
    draws = torch.stack([ball(o, norm, 0.3, adaptive=True).noise(0, draw) for draw in range(2000)])
    spread = torch.tensor([0.0, 0.3, 0.6], dtype=torch.float64) / (math.sqrt(3) if norm == "linf" else 1)
    torch.testing.assert_close(draws.std(0), spread, rtol=0.05, atol=0)
    assert draws.mean(0).abs().max() < 0.04
    if norm == "linf":
        assert (draws.abs() <= torch.tensor([0.0, 0.3, 0.6])).all() and draws[:, 2].max() > 0.59


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_moves_at_radius_zero(norm: Norm) -> None:
    o = objective(case("conv-bn"))
    found = average_case(o, ball(o, norm, 0.0), draws=4, seed=0)
    assert (found.plain.value, found.normalised.value, found.plain.standard_error) == (0, 0, 0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("alpha", [2.0, 10.0])
def test_the_adaptive_form_does_not_see_a_rescaling(norm: Norm, alpha: float) -> None:
    values = {
        adaptive: [average_case(o, ball(o, norm, 0.1, adaptive), draws=8, seed=0).plain.value for o in (chain(1.0), chain(alpha))]
        for adaptive in (True, False)
    }
    assert values[True][1] == pytest.approx(values[True][0], rel=1e-9)
    assert abs(values[False][1] / values[False][0] - 1) > 0.3
    c = case("linear")._replace(module=mlp(nn.ReLU, bias=False).double())
    networks = [objective(c), objective(c._replace(module=rescaled(c.module, alpha)))]
    plain, normalised = zip(
        *[
            (r.plain.value, r.normalised.value)
            for o in networks
            for r in [average_case(o, ball(o, norm, 0.3, True), draws=8, seed=0)]
        ],
        strict=True,
    )
    assert plain[1] == pytest.approx(plain[0], rel=1e-9)
    assert normalised[1] == pytest.approx(normalised[0], rel=1e-9)


def test_the_normalised_form_does_not_see_the_scale_of_the_logits() -> None:
    c = case("linear")
    doubled = case("linear")
    with torch.no_grad():
        for p in doubled.module.parameters():
            p.mul_(2)
    one, two = (average_case(o, ball(o, "l2", 0.1, True), draws=8, seed=0) for o in (objective(c), objective(doubled)))
    assert two.normalised.value == pytest.approx(one.normalised.value, rel=1e-9)
    assert abs(two.plain.value / one.plain.value - 1) > 0.3


def test_pairs_are_taken_of_the_frozen_losses() -> None:
    """One pair worked out by hand, both readouts."""
    c = case("conv-bn")
    o = objective(c)
    b = ball(o, "l2", 0.05)
    found = average_case(o, b, draws=4, seed=3)

    def by_hand(unit: bool) -> float:
        rises = []
        for pair in (0, 1):
            delta, losses = b.noise(3, pair), []
            for step in (delta, -delta, 0 * delta):
                theta = nn.utils.parameters_to_vector(c.module.parameters()).detach()
                nn.utils.vector_to_parameters(theta + step, c.module.parameters())
                z = c.module(c.inputs).detach()
                nn.utils.vector_to_parameters(theta, c.module.parameters())
                losses.append(functional.cross_entropy(z / z.norm(dim=1, keepdim=True) if unit else z, c.labels).item())
            rises.append((losses[0] + losses[1]) / 2 - losses[2])
        return sum(rises) / 2

    assert found.plain.value == pytest.approx(by_hand(False), rel=1e-9)
    assert found.normalised.value == pytest.approx(by_hand(True), rel=1e-9)


def test_batch_size_changes_nothing_and_the_network_stays() -> None:
    c = case("conv-bn")
    before = {key: value.clone() for key, value in c.module.state_dict().items()}
    one, all_ = (average_case(o, ball(o, "linf", 0.1, True), draws=8, seed=0) for o in (objective(c, 1), objective(c, 7)))
    assert one.plain.value == pytest.approx(all_.plain.value, rel=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in c.module.state_dict().items())


def test_zero_logits_have_a_direction_of_zero() -> None:
    assert unit_logits(torch.zeros(2, 3)).tolist() == [[0] * 3] * 2
    torch.testing.assert_close(unit_logits(torch.tensor([[3.0, -4.0]])), torch.tensor([[0.6, -0.8]]))


def test_odd_draws_are_refused() -> None:
    o = quadratic([1.0], [1.0])
    with pytest.raises(ValueError, match="expected an even number of at least 4 draws, got 5"):
        average_case(o, ball(o, "l2", 0.1), draws=5, seed=0)
