"""Worst-case sharpness against closed forms and plain searches; each known bug of the public code has a test that shows it."""

import math

import pytest
import torch
from torch import Tensor, nn

from sharpaudit.ascent import Norm, lengths
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.average_case import average_case, unit_logits
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.worst_case import WorstCase, worst_case
from tests.cases import Case, case, mlp, real_resnet20
from tests.curvature.surfaces import chain, quadratic, rescaled, surface

SETTINGS: list[tuple[Norm, bool]] = [("l2", False), ("l2", True), ("linf", False), ("linf", True)]
each_setting = pytest.mark.parametrize(("norm", "adaptive"), SETTINGS)


def objective(c: Case, batch_size: int = 16) -> Objective:
    return Objective(*c, batch_size=batch_size)


def search(o: Objective, norm: Norm, radius: float, adaptive: bool, group: int = 128, iterations: int = 20) -> WorstCase:
    return worst_case(o, Ball.around(o, norm, radius, adaptive=adaptive), group=group, iterations=iterations, seed=0)


@pytest.mark.parametrize(
    ("norm", "adaptive", "truth"), [("l2", True, 0.08), ("linf", True, 0.14), ("l2", False, 0.015), ("linf", False, 0.02)]
)
def test_the_golden_quadratic(norm: Norm, adaptive: bool, truth: float) -> None:
    """O3: h = (3, 1), w = (2, −4), ρ = 0.1, at the minimum, where there is no slope to start from."""
    found = search(quadratic([3.0, 1.0], [2.0, -4.0]), norm, 0.1, adaptive)
    assert found.rise.value == pytest.approx(truth, rel=1e-6)
    assert found.converged and found.groups == 1


def test_the_box_of_keskar() -> None:
    """O3: Σ ½ h_i (ε(|w_i| + 1))²."""
    o = quadratic([3.0, 1.0], [2.0, -4.0])
    found = worst_case(o, Ball.keskar(o, 0.1), seed=0)
    assert found.rise.value == pytest.approx(0.005 * (3 * 9 + 25), rel=1e-6)


@each_setting
def test_a_slope_rises_by_its_dual_norm(norm: Norm, adaptive: bool) -> None:
    """ρ‖cg‖, exactly on a plane. Ascent along c·g/‖g‖, as in the public code, ends elsewhere on the adaptive ℓ2 ball."""
    slope, weights = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64), [1.0, -5.0, 0.2]
    o = surface(lambda w: slope @ (w - torch.tensor(weights, dtype=torch.float64)), weights)
    scaled = slope * torch.tensor(weights, dtype=torch.float64) if adaptive else slope
    found = search(o, norm, 0.05, adaptive, iterations=4)
    assert found.rise.value == pytest.approx(0.05 * (scaled.norm() if norm == "l2" else scaled.abs().sum()).item(), rel=1e-6)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_weight_of_zero_stays_zero_in_the_adaptive_ball(norm: Norm) -> None:
    """Dividing by |w| makes it NaN."""
    found = search(quadratic([3.0, 7.0], [2.0, 0.0]), norm, 0.1, adaptive=True)
    assert found.rise.value == pytest.approx(0.005 * 12, rel=1e-6)


@each_setting
@pytest.mark.parametrize("name", ["conv-bn"])
def test_nothing_rises_at_radius_zero(norm: Norm, adaptive: bool, name: str) -> None:
    found = search(objective(case(name, dtype=torch.float32), 2), norm, 0.0, adaptive, group=3, iterations=3)
    assert (found.rise.value, found.rise.standard_error, found.length, found.residual) == (0, 0, 0, 0)


def plain_search(o: Objective, ball: Ball, step: float) -> float:
    """20 steps of projected gradient ascent from θ, the best of them; written without the code under test."""
    u, best, base = torch.zeros_like(ball.scale), 0.0, o.loss()
    for _ in range(20):
        with o.perturbed(ball.scale * u):
            g = ball.scale * o.gradient()
        u = u + step * ball.radius * (g.sign() if ball.norm == "linf" else g / g.norm())
        u = u.clamp(-ball.radius, ball.radius) if ball.norm == "linf" else u * min(1.0, ball.radius / u.norm().item())
        with o.perturbed(ball.scale * u):
            best = max(best, o.loss() - base)
    return best


RADII = {("l2", False): 0.5, ("l2", True): 0.5, ("linf", False): 4e-3, ("linf", True): 0.05}


@each_setting
@pytest.mark.parametrize(
    "name", ["conv-bn", "attention", *(pytest.param(n, marks=pytest.mark.slow) for n in ("mlp-relu", "residual"))]
)
def test_it_finds_at_least_what_a_plain_search_finds(norm: Norm, adaptive: bool, name: str) -> None:
    o = objective(case(name, n=40), 40)
    ball = Ball.around(o, norm, RADII[norm, adaptive], adaptive=adaptive)
    found = worst_case(o, ball, group=40, seed=0)
    plain = max(plain_search(o, ball, step) for step in (0.125, 0.25, 1.0))
    assert found.rise.value >= plain * (1 - 1e-4)
    assert found.length <= ball.radius * (1 + 1e-12)
    assert found.rise.value >= average_case(o, ball_of_same_length(ball), draws=20, seed=0).plain.value


def ball_of_same_length(ball: Ball) -> Ball:
    """Draws that are (nearly) in the ball: Gaussian ones are ρ√P long."""
    shrink = math.sqrt(len(ball.scale)) if ball.norm == "l2" else 1
    return Ball(ball.norm, ball.radius / shrink, ball.scale)


@pytest.mark.slow
@pytest.mark.real
@each_setting
def test_it_finds_at_least_what_a_plain_search_finds_on_a_real_resnet20(norm: Norm, adaptive: bool) -> None:
    o = objective(real_resnet20(16))
    ball = Ball.around(
        o, norm, {("l2", False): 0.05, ("linf", False): 5e-4, ("linf", True): 2e-3}.get((norm, adaptive), 0.25), adaptive=adaptive
    )
    found = worst_case(o, ball, group=16, seed=0)
    assert found.rise.value >= max(plain_search(o, ball, step) for step in (0.125, 1.0)) * (1 - 1e-3)
    assert found.length <= ball.radius * (1 + 1e-6)


@each_setting
@pytest.mark.parametrize("alpha", [5.0])
def test_the_adaptive_form_does_not_see_a_rescaling(norm: Norm, adaptive: bool, alpha: float) -> None:
    c = case("linear")._replace(module=mlp(nn.ReLU, bias=False).double())
    pairs = [
        (chain(1.0), chain(alpha)),
        (objective(c), objective(c._replace(module=rescaled(c.module, alpha)))),
    ]
    for before, after in pairs:
        one, two = (search(o, norm, 0.1, adaptive, iterations=6).rise.value for o in (before, after))
        if adaptive:
            assert two == pytest.approx(one, rel=1e-6)
        else:
            assert abs(two / one - 1) > 0.05


def test_the_normalised_form_does_not_see_the_scale_of_the_logits() -> None:
    c, doubled = case("mlp-tanh", n=12), case("mlp-tanh", n=12)
    with torch.no_grad():
        for p in list(doubled.module.parameters())[-2:]:
            p.mul_(2)
    found = [search(objective(x).variant(readout=unit_logits), "linf", 0.01, True, iterations=5).rise.value for x in (c, doubled)]
    plain = [search(objective(x), "linf", 0.01, True, iterations=5).rise.value for x in (c, doubled)]
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert abs(plain[1] / plain[0] - 1) > 0.1


def test_groups_are_declared_even_and_mixed() -> None:
    """7 examples sorted by class in groups of at most 3: sizes 3, 2, 2, every third example, weighted by size."""
    c = case("mlp-tanh", n=7)
    order = c.labels.argsort()
    c = Case(c.module, c.inputs[order], c.labels[order])
    found = search(objective(c), "l2", 0.1, False, group=3, iterations=5)
    parts = [search(objective(Case(c.module, c.inputs[i::3], c.labels[i::3])), "l2", 0.1, False, iterations=5) for i in range(3)]
    rises = [part.rise.value for part in parts]
    assert found.groups == 3 and found.rise.n == 3
    assert found.rise.value == pytest.approx((3 * rises[0] + 2 * rises[1] + 2 * rises[2]) / 7, rel=1e-9)
    assert found.rise.standard_error == pytest.approx(torch.tensor(rises).std().item() / math.sqrt(3), rel=1e-6)
    assert found.length == pytest.approx(max(part.length for part in parts))
    whole = search(objective(c), "l2", 0.1, False, iterations=5)
    assert whole.groups == 1 and whole.rise.n == 7, "one group: the interval is over its examples"
    assert found.rise.value > whole.rise.value, "a group has less to agree on"


def test_the_rise_is_that_of_a_perturbation_in_the_ball() -> None:
    """The mean and the spread over the examples of the one group, at the perturbation that the last search returns."""
    o = objective(case("mlp-relu", n=9))
    seen: list[Tensor] = []

    class Watched(Ball):
        def perturbation(self, u: Tensor) -> Tensor:
            seen.append(u)
            return super().perturbation(u)

    ball = Watched("l2", 0.3, torch.ones(o.num_parameters).double())
    found = worst_case(o, ball, iterations=4, seed=0)
    with o.perturbed(seen[-1]):
        rises = o.losses()
    rises = rises - o.losses()
    assert found.rise.value == pytest.approx(rises.mean().item(), rel=1e-12)
    assert found.rise.standard_error == pytest.approx(rises.std().item() / 3, rel=1e-12)
    assert found.length == pytest.approx(lengths(seen[-1][None], "l2").item())
    assert len(seen) == 3 * (4 + 1) + 1, "every search runs"


@each_setting
def test_batch_size_changes_nothing_and_the_network_stays(norm: Norm, adaptive: bool) -> None:
    c = case("conv-bn", n=14)
    before = {key: value.clone() for key, value in c.module.state_dict().items()}
    one, all_ = (search(objective(c, size), norm, RADII[norm, adaptive], adaptive, group=7, iterations=8) for size in (1, 14))
    assert one.rise.value == pytest.approx(all_.rise.value, rel=1e-7)
    assert all(torch.equal(value, before[key]) for key, value in c.module.state_dict().items())


def test_passes_and_progress_are_counted() -> None:
    o, told = objective(case("linear", n=7)), list[float]()
    o.gradient()
    before = dict(o.passes)
    worst_case(o, Ball.around(o, "l2", 0.1), group=3, iterations=4, seed=0, on_progress=told.append)
    spent = {kind: (o.passes[kind] - before[kind]) / 7 for kind in ("forward", "backward")}
    assert spent == {"forward": 3 * 5 + 2, "backward": 3 * 5}
    assert told == sorted(told) and told[-1] == pytest.approx(1) and len(told) == 3 * 3 * 4


def test_a_search_that_is_still_rising_has_not_converged() -> None:
    """The creeping and the striding search have one step each, and the last one finds more."""
    found = search(objective(case("mlp-gelu", n=20)), "l2", 2.0, False, iterations=1)
    assert not found.converged and found.residual > 0.05
