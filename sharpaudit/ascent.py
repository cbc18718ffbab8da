"""How does one climb to the highest point of a ball, when no one step length suits the start and the end?

Projected gradient ascent with the Auto-PGD rule (Croce & Hein 2020, 2003.01690, algorithm 1): long steps with momentum first; at
checkpoints that come closer and closer, a search whose steps have stopped paying halves its step and goes back to its best
point. Many searches run side by side, each with a step of its own: the rows of one tensor. The search of weight space is one
row; an attack on a batch of images has a row an image.

The landscape is called once at the start and once a step, and must give the gradient with the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["l2", "linf"]

Landscape = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points (b, ...) → their heights (b,), in float64, and the gradients (b, ...)."""

MOMENTUM = 0.25
"""Share of the last move in the next one."""

PAYING = 0.75
"""Share of steps between two checkpoints that must have led upward."""


@dataclass(frozen=True)
class Summit:
    """The best that each search found."""

    points: Tensor
    """(b, ...)."""
    heights: Tensor
    """(b,), float64."""
    history: Tensor
    """The best height before the first step and after each, (iterations + 1, b)."""


def climb(
    landscape: Landscape,
    start: Tensor,
    *,
    norm: Norm,
    radius: float,
    iterations: int,
    step: float = 2,
    confine: Callable[[Tensor], Tensor] = lambda points: points,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Summit:
    """The highest point that each search meets in the ball of `radius` about 0, by Auto-PGD.

    The height found is a lower bound of the highest there is. Heights that are not finite are never the best.

    Args:
        landscape: what is climbed.
        start: where each search begins, (b, ...); taken into the ball first.
        norm: of the ball, over all but the first axis.
        radius: of the ball.
        iterations: steps, each one call of `landscape`.
        step: length of the first step, in radii; 2 is the published choice.
        confine: a further projection of points in the ball, such as onto pixels that exist; it must not leave the ball.
        on_progress: called with the share of the steps that are done.
    """

    def inside(points: Tensor) -> Tensor:
        return confine(projected(points, norm, radius))

    points = previous = inside(start)
    heights, gradients = landscape(points)
    best, best_points, best_gradients = heights, points, gradients
    steps = torch.full_like(heights, step * radius)
    history = [best]
    rises = torch.zeros_like(heights)
    last, last_steps, last_best = 0, steps, best
    stops = checkpoints(iterations)
    for k in range(1, iterations + 1):
        ahead = inside(points + _by_row(steps, points) * steepest(gradients, norm))
        if k > 1:
            ahead = inside(points + (1 - MOMENTUM) * (ahead - points) + MOMENTUM * (points - previous))
        previous, points, below = points, ahead, heights
        heights, gradients = landscape(points)
        rises += heights > below
        better = (heights > best) & heights.isfinite()
        best = torch.where(better, heights, best)
        best_points = torch.where(_by_row(better, points), points, best_points)
        best_gradients = torch.where(_by_row(better, points), gradients, best_gradients)
        history.append(best)
        if k in stops:
            tired = (rises < PAYING * (k - last)) | ((steps == last_steps) & (best == last_best))
            last, last_steps, last_best = k, steps, best
            steps = torch.where(tired, steps / 2, steps)
            back = _by_row(tired, points)
            points, gradients = torch.where(back, best_points, points), torch.where(back, best_gradients, gradients)
            previous, heights = torch.where(back, best_points, previous), torch.where(tired, best, heights)
            rises = torch.zeros_like(rises)
        on_progress(k / iterations)
    return Summit(best_points, best, torch.stack(history))


def checkpoints(iterations: int) -> frozenset[int]:
    """The steps after which the step length is reconsidered: 0.22 of all, then gaps that shrink by 0.03 each down to 0.06."""
    found, at, gap = set(), 0.0, 0.22
    while at + gap <= 1:
        at += gap
        found.add(math.ceil(round(at * iterations, 9)))
        gap = max(gap - 0.03, 0.06)
    return frozenset(found)


def steepest(gradients: Tensor, norm: Norm) -> Tensor:
    """The move of length 1 that climbs most, row by row; none where the gradient is zero."""
    if norm == "linf":
        return gradients.sign()
    length = lengths(gradients, norm)
    return gradients * _by_row(torch.where(length > 0, 1 / length, 0), gradients)


def projected(points: Tensor, norm: Norm, radius: float) -> Tensor:
    """The nearest points of the ball about 0; points inside stay as they are."""
    if norm == "linf":
        return points.clamp(-radius, radius)
    length = lengths(points, norm)
    return torch.where(_by_row(length > radius, points), points * _by_row(radius / length, points), points)


def lengths(points: Tensor, norm: Norm) -> Tensor:
    """The norm of each row, (b,), float64."""
    order = 2 if norm == "l2" else math.inf
    length: Tensor = torch.linalg.vector_norm(points.flatten(1), order, dim=1, dtype=torch.float64)
    return length


def _by_row(values: Tensor, like: Tensor) -> Tensor:
    """One value a row, shaped and typed to be combined with `like`."""
    values = values if values.dtype == torch.bool else values.to(like.dtype)
    return values.view(-1, *[1] * (like.ndim - 1))
