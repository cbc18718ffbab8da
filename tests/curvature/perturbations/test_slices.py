"""Loss slices: parabolas where the loss is one, θ in the middle, and pictures that rescalings do not change."""

import math

import pytest
import torch
from torch import nn

from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.slices import direction, loss_plane, loss_slice
from tests import oracles
from tests.cases import Case, case, mlp
from tests.curvature.surfaces import LEVEL, Surface, rescaled


def objective(c: Case, batch_size: int = 3) -> Objective:
    return Objective(*c, batch_size=batch_size)


def bowl() -> tuple[Objective, torch.Tensor]:
    """L = LEVEL + ½ Σ h_i (w_i − a_i)², the weights one matrix of two filters."""
    h = torch.tensor([[3.0, 1.0], [0.5, 2.0]], dtype=torch.float64)
    a = torch.tensor([[2.0, -4.0], [1.0, 0.5]], dtype=torch.float64)
    module = Surface(lambda w: (h * (w - a).square()).sum() / 2, [0.0])
    module.weights = nn.Parameter(a.clone())
    return Objective(module.eval(), torch.zeros(5, 1).double(), torch.zeros(5, dtype=torch.int64), batch_size=3), h


def test_a_quadratic_gives_a_parabola() -> None:
    """O3: L(θ + αd) = L(θ) + ½α² Σ h d²."""
    o, h = bowl()
    found = loss_slice(o, points=9, extent=1.0, seed=0)
    bend = (h.flatten() * direction(o, 0, 0).square()).sum().item()
    assert found.steps == (-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0)
    for alpha, loss in zip(found.steps, found.losses, strict=True):
        assert loss.value == pytest.approx(LEVEL + alpha**2 * bend / 2)
    assert found.curvature.value == pytest.approx(bend)


def test_the_middle_is_the_loss_itself_to_the_last_bit() -> None:
    o = objective(case("conv-bn", dtype=torch.float32))
    found = loss_slice(o, points=5, extent=0.7, seed=0)
    assert found.losses[2].value == o.losses().numpy().mean()
    assert loss_plane(o, points=3, extent=1.0, seed=0).losses[1][1] == o.loss()


@pytest.mark.parametrize("name", ["mlp-tanh", "conv-bn"])
def test_curvature_is_the_second_derivative_along_the_direction(name: str) -> None:
    c = case(name)
    o = objective(c)
    d = direction(o, 0, 0)
    found = loss_slice(o, points=3, extent=1e-3, seed=0)
    assert found.curvature.value == pytest.approx((d @ oracles.dense_hessian(*c) @ d).item(), rel=1e-4)
    assert found.curvature.n == 7


@pytest.mark.parametrize("name", ["conv-bn", "grouped", "attention"])
def test_every_filter_is_as_long_as_the_one_it_moves_and_vectors_stay(name: str) -> None:
    o = objective(case(name))
    d, other = direction(o, 0, 0), direction(o, 0, 1, beside=direction(o, 0, 0))
    for part, second, weight in zip(o.split(d), o.split(other), o.theta, strict=True):
        if weight.ndim == 1:
            assert not part.any() and not second.any()
            continue
        rows, seconds, lengths = part.flatten(1), second.flatten(1), weight.detach().flatten(1).norm(dim=1)
        torch.testing.assert_close(rows.norm(dim=1), lengths)
        torch.testing.assert_close(seconds.norm(dim=1), lengths)
        torch.testing.assert_close((rows * seconds).sum(1), torch.zeros_like(lengths))


def test_a_filter_of_one_weight_has_no_second_direction() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Linear(1, 3)).double().eval()
    o = objective(case("linear")._replace(module=module))
    second = o.split(direction(o, 0, 1, beside=direction(o, 0, 0)))
    assert second[0].any() and not second[2].any()
    assert o.split(direction(o, 0, 0))[2].any()


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_layers_may_be_rescaled(alpha: float) -> None:
    c = case("linear")._replace(module=mlp(nn.ReLU, bias=False).double())
    one, two = (
        loss_slice(o, points=7, extent=1.0, seed=0)
        for o in (objective(c), objective(c._replace(module=rescaled(c.module, alpha))))
    )
    assert [loss.value for loss in two.losses] == pytest.approx([loss.value for loss in one.losses], rel=1e-9)


def test_filters_before_batchnorm_may_be_rescaled_one_by_one() -> None:
    """The next layer sees the same, if the running statistics are scaled along (ε of BatchNorm set to zero)."""
    c, other = case("conv-bn"), case("conv-bn")
    factors = torch.tensor([0.1, 1.0, 3.0, 10.0], dtype=torch.float64)
    for module in (c.module, other.module):
        module[1].eps = 0.0  # type: ignore[index]  # a Sequential
    with torch.no_grad():
        conv, norm = other.module[0], other.module[1]  # type: ignore[index]  # a Sequential
        conv.weight.mul_(factors[:, None, None, None])
        norm.running_mean.mul_(factors)
        norm.running_var.mul_(factors**2)
    one, two = (loss_slice(objective(x), points=7, extent=1.0, seed=0) for x in (c, other))
    assert [loss.value for loss in two.losses] == pytest.approx([loss.value for loss in one.losses], rel=1e-9)


def test_directions_do_not_depend_on_the_checkpoint() -> None:
    """But for the scale of each filter, two networks see the same."""
    one, two = (objective(case("conv-bn", seed=seed)) for seed in (0, 1))
    for a, b in zip(one.split(direction(one, 4, 0)), two.split(direction(two, 4, 0)), strict=True):
        if a.ndim > 1:
            torch.testing.assert_close(nn.functional.normalize(a.flatten(1)), nn.functional.normalize(b.flatten(1)))


def test_the_plane_holds_the_slice() -> None:
    o = objective(case("mlp-relu"))
    line, plane = loss_slice(o, points=5, extent=0.5, seed=0), loss_plane(o, points=5, extent=0.5, seed=0)
    assert [row[2] for row in plane.losses] == pytest.approx([loss.value for loss in line.losses])
    assert plane.steps == line.steps and plane.losses[0] != plane.losses[4]
    d, e = direction(o, 0, 0), direction(o, 0, 1, beside=direction(o, 0, 0))
    with o.perturbed(-0.5 * d + 0.25 * e):
        assert plane.losses[0][3] == pytest.approx(o.loss())


def test_batch_size_changes_nothing_and_the_network_stays() -> None:
    c = case("conv-bn")
    before = {key: value.clone() for key, value in c.module.state_dict().items()}
    one, all_ = (loss_slice(objective(c, size), points=5, extent=1.0, seed=0) for size in (1, 7))
    assert [loss.value for loss in one.losses] == pytest.approx([loss.value for loss in all_.losses], rel=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in c.module.state_dict().items())


def test_progress_is_told() -> None:
    told: list[float] = []
    loss_slice(objective(case("linear")), points=3, extent=1.0, seed=0, on_progress=told.append)
    loss_plane(objective(case("linear")), points=3, extent=1.0, seed=0, on_progress=told.append)
    assert told == pytest.approx([1 / 3, 2 / 3, 1] * 2)


@pytest.mark.parametrize(("points", "extent"), [(4, 1.0), (1, 1.0), (5, 0.0), (5, math.inf)])
def test_a_grid_without_a_middle_is_refused(points: int, extent: float) -> None:
    with pytest.raises(ValueError, match="expected an odd number of at least 3 points and a positive extent, got"):
        loss_slice(objective(case("linear")), points=points, extent=extent, seed=0)
