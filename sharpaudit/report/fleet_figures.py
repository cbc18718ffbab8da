"""What do several checkpoints look like beside each other? Numbers between each two of them, and safety against flatness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharpaudit import stats
from sharpaudit.card import Measured
from sharpaudit.report import wording
from sharpaudit.report.marks import WIDTH, hairlines, shade, square
from sharpaudit.report.svg import BLUE, BOTTOM, GREY, PAPER, SKY, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 8
"""Flatness that spreads over more than this factor is drawn on a logarithmic axis."""

MOST_NUMBERED = 30
"""More points than this carry no number, and a larger square is not drawn."""

SIDE = 0.34
"""Inches of one square."""


def matrix(values: Sequence[Sequence[float]], numbers: Sequence[str], *, title: str, salt: str) -> str:
    """A square of numbers between each two checkpoints, called by `numbers`; deeper blue is more."""
    places = range(len(values))
    largest = max((abs(value) for row in values for value in row), default=0.0) or 1.0

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                square(axes, x, y, shade(abs(value) / largest, (PAPER, SKY)), f"{value:.2f}")
        axes.set(xlim=(0, len(values)), ylim=(len(values), 0), xlabel="checkpoint", ylabel="checkpoint", aspect="equal")
        for ticks in (axes.set_xticks, axes.set_yticks):
            ticks([i + 0.5 for i in places], numbers)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    length = SIDE * max(3, len(values))
    return drawing(length + 0.65, length + BOTTOM + 0.1, paint, label=f"{title} between each two checkpoints", salt=salt)


@dataclass(frozen=True)
class Axis:
    """One measurement over several checkpoints, as an axis of a scatter."""

    title: str
    measured: Sequence[Measured | None]
    """By checkpoint; None where it was not obtained."""


def scatter(axes: tuple[Sequence[Axis], Sequence[Axis]], *, salt: str) -> str:
    """Safety against flatness, a point and its two intervals for each checkpoint, numbered in order of the cards.

    Args:
        axes: of flatness, and of safety.
        salt: makes the ids of the drawing its own.
    """
    flatness, safety = axes

    def paint(figure: Figure) -> None:
        panels = figure.subplots(len(safety), len(flatness), sharex="col", sharey="row", squeeze=False)
        for row, vertical in zip(panels, safety, strict=True):
            row[0].set_ylabel(vertical.title)
            for axes, across in zip(row, flatness, strict=True):
                _points(axes, across, vertical)
        for axes, across in zip(panels[-1], flatness, strict=True):
            axes.set_xlabel(across.title)

    label = "Safety against flatness, one point with its intervals for each checkpoint"
    return drawing(2 * WIDTH, BOTTOM + 2.1 * len(safety), paint, label=label, salt=salt, left=0.65, top=0.3)


def _points(axes: Axes, across: Axis, upward: Axis) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    both = [(i, x, y) for i, (x, y) in enumerate(zip(across.measured, upward.measured, strict=True), 1) if x and y]
    values = [x.value for _, x, _ in both]
    floor = -math.inf
    if both and min(values) > 0 and max(values) > WIDE * min(values):
        floor = min(values) / 3
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for number, x, y in both:
        if x.ci:
            axes.hlines(y.value, max(x.ci.low, floor), x.ci.high, color=GREY, linewidth=0.9)
        if y.ci:
            axes.vlines(x.value, y.ci.low, y.ci.high, color=GREY, linewidth=0.9)
        if len(both) <= MOST_NUMBERED:
            axes.annotate(str(number), (x.value, y.value), xytext=(4, 3), textcoords="offset points", fontsize=8)
    axes.plot(values, [y.value for _, _, y in both], "o", color=BLUE, markersize=4.5)
    axes.locator_params(axis="y", nbins=5)
    hairlines(axes)
    if len(both) >= stats.MIN_MODELS and len(set(values)) > 1 and len({y.value for _, _, y in both}) > 1:
        tau = stats.kendall(values, [y.value for _, _, y in both])
        axes.set_title(f"τ = {wording.number(tau.value, tau.ci, show_interval=True)}", loc="right", fontsize=8, alpha=0.75)
