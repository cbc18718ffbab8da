"""The climb on landscapes whose highest points are known, and its rule beside a transcription of the published algorithm."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpaudit.ascent import Landscape, Norm, checkpoints, climb, lengths, projected, steepest

NORMS: list[Norm] = ["l2", "linf"]
Vector = NDArray[np.float64]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plane(slopes: Tensor) -> Landscape:
    return lambda points: ((slopes * points).flatten(1).sum(1), slopes)


def bowl(hessians: Tensor) -> Landscape:
    """½ xᵀHx, a row a matrix."""

    def landscape(points: Tensor) -> tuple[Tensor, Tensor]:
        gradients = torch.einsum("bij,bj->bi", hessians, points)
        return (gradients * points).sum(1) / 2, gradients

    return landscape


def hill(tops: Tensor) -> Landscape:
    """−‖x − top‖²."""
    return lambda points: (-(points - tops).square().flatten(1).sum(1), 2 * (tops - points))


def waves(points: Tensor) -> tuple[Tensor, Tensor]:
    """Many summits."""
    return (points.mul(3).sin() + points).sum(1), 3 * points.mul(3).cos() + 1


@pytest.mark.parametrize("norm", NORMS)
def test_the_top_of_a_plane_is_its_dual_norm(norm: Norm) -> None:
    slopes = randn(3, 2, 4)
    found = climb(plane(slopes), torch.zeros(3, 2, 4).double(), norm=norm, radius=0.3, iterations=3)
    dual = slopes.flatten(1).norm(dim=1) if norm == "l2" else slopes.abs().flatten(1).sum(1)
    torch.testing.assert_close(found.heights, 0.3 * dual)


def test_the_top_of_a_bowl_is_its_largest_eigenvalue() -> None:
    roots = randn(4, 6, 6)
    hessians = roots @ roots.mT
    found = climb(bowl(hessians), 1e-3 * randn(4, 6), norm="l2", radius=0.3, iterations=200)
    torch.testing.assert_close(found.heights, 0.045 * torch.linalg.eigvalsh(hessians)[:, -1], rtol=1e-6, atol=0)


def test_the_top_of_a_bowl_in_a_box_is_a_corner() -> None:
    hessian = torch.diag(torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64))[None]
    found = climb(bowl(hessian), 1e-3 * randn(1, 3), norm="linf", radius=0.3, iterations=5)
    assert found.heights.item() == pytest.approx(0.045 * 6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_hill_is_climbed_to_its_top_or_to_the_rim_below_it(norm: Norm) -> None:
    tops = torch.tensor([[0.1, -0.05], [3.0, 4.0]], dtype=torch.float64)
    found = climb(hill(tops), torch.zeros(2, 2).double(), norm=norm, radius=1.0, iterations=300)
    rim = [0.6, 0.8] if norm == "l2" else [1.0, 1.0]
    torch.testing.assert_close(found.points, torch.tensor([[0.1, -0.05], rim]).double(), rtol=0, atol=5e-3)


def transcription(start: Vector, norm: Norm, radius: float, iterations: int) -> tuple[list[Vector], list[float]]:
    """Algorithm 1 of 2003.01690 for one point on `waves`, with the steps where it was and the best height after each.

    The paper leaves open what the last move is after a return to the best point; there is none.
    """

    def height(x: Vector) -> float:
        return float((np.sin(3 * x) + x).sum())

    def project(x: Vector) -> Vector:
        inside: Vector = np.clip(x, -radius, radius) if norm == "linf" else x * min(1.0, radius / float(np.linalg.norm(x)))
        return inside

    def move(x: Vector, eta: float) -> Vector:
        g = 3 * np.cos(3 * x) + 1
        return project(x + eta * (np.sign(g) if norm == "linf" else g / np.linalg.norm(g)))

    portions = [0.0, 0.22]
    while portions[-1] <= 1:
        portions.append(portions[-1] + max(portions[-1] - portions[-2] - 0.03, 0.06))
    w = [math.ceil(round(p * iterations, 9)) for p in portions if p <= 1 + 1e-9]
    eta, xs = 2 * radius, [start]
    best, x_best, history = height(start), start, [height(start)]
    etas, bests, moved, was, now = [eta], [best], [], start, start
    for k in range(1, iterations + 1):
        z = move(now, eta)
        ahead = z if k == 1 else project(now + 0.75 * (z - now) + 0.25 * (now - was))
        moved.append(height(ahead) > height(now))
        was, now = now, ahead
        xs.append(now)
        if height(now) > best:
            best, x_best = height(now), now
        history.append(best)
        if k in w[1:]:
            j = w.index(k)
            few = sum(moved[w[j - 1] :]) < 0.75 * (w[j] - w[j - 1])
            stuck = eta == etas[-1] and best == bests[-1]
            etas.append(eta)
            bests.append(best)
            if few or stuck:
                eta, now, was = eta / 2, x_best, x_best
    return xs, history


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("iterations", [1, 20, 100])
def test_it_is_the_published_algorithm(norm: Norm, iterations: int) -> None:
    """Step by step, through several halvings and returns."""
    start, seen = randn(20, 2) / 9, []

    def watched(points: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(points)
        return waves(points)

    found = climb(watched, start, norm=norm, radius=1.5, iterations=iterations)
    for row in range(20):
        xs, history = transcription(start[row].numpy(), norm, 1.5, iterations)
        np.testing.assert_allclose(torch.stack(seen)[:, row], np.array(xs), atol=1e-9)
        np.testing.assert_allclose(found.history[:, row], history, atol=1e-9)
    assert torch.equal(found.history[-1], found.heights)
    torch.testing.assert_close(waves(found.points)[0], found.heights)


def test_a_search_that_rises_below_its_best_goes_back_with_half_the_step() -> None:
    """The second published condition: neither best nor step has changed since the last checkpoint. They stand at 5, 9, 12."""
    seen: list[float] = []

    def scripted(points: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(points.item())
        return torch.tensor([99.0 if len(seen) == 1 else len(seen)]).double(), torch.ones_like(points)

    climb(scripted, torch.tensor([[0.1]]).double(), norm="linf", radius=1, step=0.02, iterations=20)
    assert seen[5] == pytest.approx(0.2)
    assert seen[6] == pytest.approx(0.1 + 0.75 * 0.01), "halved"
    assert seen[10] > seen[9] > seen[6], "not halved twice in a row"
    assert seen[13] == pytest.approx(0.1 + 0.75 * 0.005), "halved again"


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_point_leaves_the_ball_by_more_than_rounding(norm: Norm, dtype: torch.dtype) -> None:
    longest = []

    def watched(points: Tensor) -> tuple[Tensor, Tensor]:
        longest.append(lengths(points, norm).max().item())
        heights, gradients = waves(points)
        return heights.double(), gradients

    climb(watched, 10 * randn(4, 1000).to(dtype), norm=norm, radius=0.7, iterations=30)
    assert max(longest) <= 0.7 * (1 + 4 * torch.finfo(dtype).eps)
    assert max(longest) > 0.69


def test_rows_do_not_see_each_other() -> None:
    start = randn(3, 5) / 9
    together = climb(waves, start, norm="l2", radius=1.5, iterations=20)
    alone = [climb(waves, row[None], norm="l2", radius=1.5, iterations=20).heights for row in start]
    torch.testing.assert_close(together.heights, torch.cat(alone))


def test_points_are_confined_further() -> None:
    slopes = torch.tensor([[1.0, -1.0]], dtype=torch.float64)
    found = climb(
        plane(slopes), torch.zeros(1, 2).double(), norm="linf", radius=1, iterations=5, confine=lambda p: p.clamp(0, 0.5)
    )
    assert found.points.tolist() == [[0.5, 0.0]]


def test_nothing_moves_where_there_is_no_slope_or_no_room() -> None:
    seen: list[Tensor] = []

    def flat(points: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(points)
        return torch.zeros(1).double(), torch.zeros_like(points)

    start = randn(1, 3) / 9
    climb(flat, start, norm="l2", radius=1, iterations=9)
    assert all(torch.equal(points, start) for points in seen)
    assert climb(waves, start, norm="l2", radius=0, iterations=9).points.tolist() == [[0, 0, 0]]


def test_heights_that_are_no_numbers_are_passed_by() -> None:
    """A loss can overflow; the search comes back from there with a shorter step."""

    def cliff(points: Tensor) -> tuple[Tensor, Tensor]:
        over = points.norm(dim=1) > 0.5
        return torch.where(over, math.inf, points.sum(1)), torch.where(over[:, None], math.nan, torch.ones_like(points))

    found = climb(cliff, torch.zeros(1, 2).double(), norm="l2", radius=1, iterations=50)
    assert 0.6 < found.heights.item() <= 0.5 * math.sqrt(2) + 1e-12


def test_checkpoints_are_the_published_ones() -> None:
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(20)) == [5, 9, 12, 14, 16, 18, 19, 20]


def test_progress_is_told() -> None:
    told: list[float] = []
    climb(waves, randn(1, 2), norm="l2", radius=1, iterations=4, on_progress=told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("norm", NORMS)
def test_projection_is_the_nearest_point_and_ascent_the_steepest(norm: Norm) -> None:
    points, others = 2 * randn(1, 3), projected(randn(500, 3, seed=1), norm, 0.8)
    near = projected(points, norm, 0.8)
    assert lengths(near, norm).item() == pytest.approx(0.8)
    assert (others - points).norm(dim=1).min() >= (near - points).norm() - 1e-12
    slope = randn(1, 3, seed=2)
    assert (others / 0.8 * slope).sum(1).max() <= (steepest(slope, norm) * slope).sum() + 1e-12
    assert torch.equal(projected(near / 2, norm, 0.8), near / 2)
