"""First-order flatness on surfaces where the steepest slope is known, and against the largest rise in the same ball."""

import pytest
import torch

from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.first_order import first_order
from sharpaudit.curvature.perturbations.worst_case import worst_case
from tests import oracles
from tests.cases import case
from tests.curvature.surfaces import quadratic, surface


@pytest.mark.parametrize("h", [[3.0, 1.0, -1.0], [1.0, 0.5, -3.0]])
def test_at_the_centre_of_a_quadratic_it_is_the_largest_curvature(h: list[float]) -> None:
    """O3: R⁽¹⁾/ρ² = max |h|, from a point where the gradient is zero."""
    found = first_order(quadratic(h, [2.0, -4.0, 1.0]), radius=0.2, seed=0)
    assert found.curvature == pytest.approx(3, rel=1e-6)
    assert found.value == pytest.approx(3 * 0.2**2, rel=1e-6)
    assert found.converged


def test_off_the_centre_it_is_the_slope_at_the_far_side() -> None:
    """∇L = w: steepest at 1 + ρ from the centre."""
    found = first_order(surface(lambda w: w.square().sum() / 2, [0.6, -0.8]), radius=0.2, seed=0)
    assert found.value == pytest.approx(0.2 * 1.2, rel=1e-6)


@pytest.mark.parametrize("name", ["mlp-tanh", "mlp-relu", "conv-bn", "attention"])
def test_it_is_at_least_the_rise_and_the_slope_at_hand(name: str) -> None:
    """R⁽⁰⁾ ≤ R⁽¹⁾, by the mean value theorem."""
    o = Objective(*case(name, n=9), batch_size=4)
    for radius in (0.1, 1.0):
        found = first_order(o, radius=radius, seed=0)
        assert worst_case(o, Ball.around(o, "l2", radius), group=9, iterations=8, seed=0).rise.value <= found.value
        assert found.value >= radius * o.gradient().norm().item()
        assert found.length <= radius * (1 + 1e-12)


def test_it_finds_the_slope_that_random_points_do_not_exceed() -> None:
    c = case("mlp-gelu", n=9)
    o = Objective(*c, batch_size=4)
    found = first_order(o, radius=0.5, seed=0)
    slope = torch.func.grad(lambda t: torch.nn.functional.cross_entropy(oracles.flat_logits(c.module, c.inputs, t), c.labels))
    u = torch.randn(300, o.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = o.parameters + 0.5 * u / u.norm(dim=1, keepdim=True)
    assert found.value >= 0.5 * max(slope(point).norm().item() for point in points)


def test_nothing_at_radius_zero_and_nothing_on_a_plain() -> None:
    assert first_order(surface(lambda w: w.sum(), [1.0]), radius=1e-300, seed=0).value < 1e-290
    flat = first_order(surface(lambda w: 0 * w.sum(), [1.0, 2.0]), radius=0.2, seed=0)
    assert (flat.value, flat.residual) == (0, 0)


def test_few_steps_have_not_converged() -> None:
    o = Objective(*case("attention", n=20), batch_size=20)
    few, one = (first_order(o, radius=1.0, iterations=k, seed=0) for k in (4, 1))
    assert not few.converged and 0.1 < few.residual < 0.3
    assert not one.converged and 0.1 < one.residual < 1


def test_batch_size_changes_nothing_and_the_network_stays() -> None:
    c = case("conv-bn")
    before = {key: value.clone() for key, value in c.module.state_dict().items()}
    one, all_ = (first_order(Objective(*c, batch_size=size), radius=0.1, seed=0) for size in (1, 7))
    assert one.value == pytest.approx(all_.value, rel=1e-7)
    assert all(torch.equal(value, before[key]) for key, value in c.module.state_dict().items())


def test_passes_and_progress_are_counted() -> None:
    o, told = Objective(*case("linear"), batch_size=3), list[float]()
    o.gradient()
    before = dict(o.passes)
    first_order(o, radius=0.1, iterations=4, seed=0, on_progress=told.append)
    spent = {kind: (o.passes[kind] - before.get(kind, 0)) / 7 for kind in ("forward", "backward", "hvp")}
    assert spent == {"forward": 10 + 3, "backward": 10 + 2, "hvp": 5}  # at each point, and for the slopes of single images
    assert told == [0.25, 0.5, 0.75, 1.0]
