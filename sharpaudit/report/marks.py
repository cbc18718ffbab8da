"""Which marks do the drawings share?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharpaudit.report.svg import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 4.6
"""Inches of every figure, so that text has one size on a page."""


def hairlines(axes: Axes) -> None:
    """A faint grid behind what is drawn."""
    axes.grid(color=INK, alpha=0.12, linewidth=0.5)
    axes.set_axisbelow(True)


def whiskers(axes: Axes, way: str, where: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> None:
    """Intervals from `lows` to `highs`: ``v`` upright, else lying."""
    lines = axes.vlines if way == "v" else axes.hlines
    lines(where, lows, highs, color=colour, linewidth=1.6)


def square(axes: Axes, x: int, y: int, colour: str, text: str) -> None:
    """A cell of a table at column `x` and row `y`, with its text."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x + 0.015, y + 0.04), 0.97, 0.92, facecolor=colour, linewidth=0))
    axes.text(x + 0.5, y + 0.52, text, ha="center", va="center", fontsize=8, color="#14181d")


def shade(share: float, colours: Sequence[str]) -> str:
    """The colour at `share` of the way through `colours`, which stand at equal distances."""
    stretch = share * (len(colours) - 1)
    step = min(int(stretch), len(colours) - 2)
    pairs = [(int(colours[step][i : i + 2], 16), int(colours[step + 1][i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * (stretch - step)):02x}" for a, b in pairs)
