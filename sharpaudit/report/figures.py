"""What do the tables of a card look like? Reliability, corruption, classes, spectrum, loss slice: one drawing each.

Every drawing is an ``<svg>`` element, the same for the same rows, with axes that name their unit. matplotlib is imported when
something is drawn, never before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sharpaudit import stats
from sharpaudit.card import Measured
from sharpaudit.report import wording
from sharpaudit.report.outline import Grid
from sharpaudit.report.svg import BLUE, BOTTOM, GREY, INK, ORANGE, PAPER, SKY, VERMILION, drawing
from sharpaudit.report.tables import ClassAccuracy, ReliabilityBin, SlicePoint, SpectrumNode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 30
"""More classes than this are not drawn one by one: the worst of them are."""

LONGEST_LABEL = 24

WIDE = 8
"""Flatness that spreads over more than this factor is drawn on a logarithmic axis."""

MOST_NUMBERED = 30
"""More points than this carry no number."""

WIDTH = 4.6
"""Inches of every figure, so that text has one size on a page."""


def reliability(bins: Sequence[ReliabilityBin], *, salt: str) -> str:
    """Accuracy against confidence with Wilson intervals, and below it how many images stand in each bin."""
    filled = [
        (b.confidence, b.accuracy, b.count) for b in bins if b.count and b.confidence is not None and b.accuracy is not None
    ]
    intervals = [stats.wilson(round(accuracy * count), count) for _, accuracy, count in filled]

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1], gridspec_kw={"hspace": 0.12})
        above.plot([0, 1], [0, 1], color=INK, alpha=0.45, linewidth=0.8, dashes=(4, 3))
        _whiskers(above, "v", [c for c, _, _ in filled], [ci.low for ci in intervals], [ci.high for ci in intervals], BLUE)
        above.plot([c for c, _, _ in filled], [a for _, a, _ in filled], "o", color=BLUE, markersize=4.5, clip_on=False)
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        above.text(0.03, 0.97, "underconfident", alpha=0.6, va="top", fontsize=8)
        above.text(0.97, 0.03, "overconfident", alpha=0.6, ha="right", fontsize=8)
        widths = [b.bin_high - b.bin_low for b in bins]
        below.bar([b.bin_low for b in bins], [b.count for b in bins], widths, align="edge", color=GREY, linewidth=0)
        below.set(xlabel="confidence", ylabel="images")
        below.locator_params(axis="y", nbins=3)
        for axes in (above, below):
            _hairlines(axes)

    label = "Reliability diagram: accuracy against confidence, and the number of images by confidence"
    return drawing(WIDTH, 4.3, paint, label=label, salt=salt)


def corruption(grid: Grid, *, salt: str) -> str:
    """Change of accuracy from clean, in percentage points: a row for each corruption, a column for each severity."""
    clean = grid.clean or 0.0
    families = list(grid.families())
    changes = {row.corruption: [None if a is None else 100 * (a - clean) for a in row.accuracy] for row in grid.rows}
    limit = max([10.0, *(abs(c) for cells in changes.values() for c in cells if c is not None)])
    columns = range(len(grid.severities))
    row_height, gap = 0.23, 0.24

    def paint(figure: Figure) -> None:
        stacked = figure.subplots(
            len(families),
            1,
            sharex=True,
            squeeze=False,
            height_ratios=[len(rows) for _, rows in families],
            gridspec_kw={"hspace": gap * len(families) / (row_height * len(grid.rows))},
        )
        for axes, (family, rows) in zip(stacked[:, 0], families, strict=True):
            for y, row in enumerate(rows):
                for x, change in enumerate(changes[row.corruption]):
                    _cell(axes, x, y, change, limit)
            axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
            axes.set_xticks([x + 0.5 for x in columns], [str(severity) for severity in grid.severities])
            axes.set_yticks([y + 0.5 for y in range(len(rows))], [_label(row.corruption.replace("_", " ")) for row in rows])
            axes.set_title(_label(family), loc="left", alpha=0.65, fontsize=8, pad=3)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
        stacked[-1, 0].set_xlabel("severity")

    height = BOTTOM + row_height * len(grid.rows) + gap * len(families)
    label = "Change of accuracy under corruption, in percentage points, by corruption and severity"
    left = _room([row.corruption for row in grid.rows])
    return drawing(WIDTH, height, paint, label=label, salt=salt, left=left, top=gap)


def classes(rows: Sequence[ClassAccuracy], *, salt: str) -> str:
    """Accuracy by class with its interval, worst first."""
    known = sorted(
        (row.accuracy, _or(row.low, row.accuracy), _or(row.high, row.accuracy), row.label)
        for row in rows
        if row.accuracy is not None
    )
    shown = known[:MOST_CLASSES]
    places = range(len(shown))

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        _whiskers(axes, "h", places, [low for _, low, _, _ in shown], [high for _, _, high, _ in shown], BLUE)
        axes.plot([accuracy for accuracy, _, _, _ in shown], places, "o", color=BLUE, markersize=4.5)
        axes.set_yticks(places, [_label(label) for _, _, _, label in shown])
        axes.set(xlabel="accuracy", ylim=(len(shown) - 0.4, -0.6))
        axes.locator_params(axis="x", nbins=6)
        axes.tick_params(axis="y", length=0)
        _hairlines(axes)

    height, left = BOTTOM + 0.1 + 0.22 * max(1, len(shown)), _room([label for _, _, _, label in shown])
    return drawing(WIDTH, height, paint, label="Accuracy of each class with its 95 % interval, worst first", salt=salt, left=left)


def spectrum(nodes: Sequence[SpectrumNode], *, salt: str) -> str:
    """Spectral density of the Hessian: weight of each Ritz value on logarithmic axes, negative curvature in another colour."""
    negative = [node for node in nodes if node.node < 0 and node.weight > 0]
    positive = [node for node in nodes if node.node >= 0 and node.weight > 0]
    floor = min((node.weight for node in nodes if node.weight > 0), default=1.0) / 10
    where_all = [node.node for node in nodes]
    decade = math.floor(math.log10(max([1e-6, *map(abs, where_all)])))
    near_zero = 10.0 ** (decade - 3)
    powers = [10.0**exponent for exponent in range(decade - 2, decade + 2)]
    ticks = [*(-power for power in powers), 0.0, *powers]

    def paint(figure: Figure) -> None:
        from matplotlib.ticker import NullLocator

        axes = figure.subplots()
        for colour, name, part in ((VERMILION, "negative", negative), (BLUE, "positive", positive)):
            where = [node.node for node in part]
            lows, highs = [max(_or(n.low, n.weight), floor) for n in part], [_or(n.high, n.weight) for n in part]
            _whiskers(axes, "v", where, lows, highs, colour)
            axes.plot(where, [node.weight for node in part], "o", color=colour, markersize=4, label=name)
        axes.set_xscale("symlog", linthresh=near_zero)
        axes.set_yscale("log")
        axes.set_xticks([tick for tick in ticks if min([0.0, *where_all]) <= tick <= max([0.0, *where_all])])
        axes.xaxis.set_minor_locator(NullLocator())
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: _power_of_ten(value))
        axes.set(xlabel="eigenvalue of the Hessian", ylabel="share of the spectrum")
        axes.legend(title="curvature", fontsize=8, title_fontsize=8, loc="upper right")
        axes.yaxis.set_minor_locator(NullLocator())
        _hairlines(axes)

    label = "Spectral density of the Hessian: share of the spectrum against eigenvalue"
    return drawing(WIDTH, 3.2, paint, label=label, salt=salt)


def loss_slice(points: Sequence[SlicePoint], *, salt: str) -> str:
    """Loss along one random, filter-normalised direction."""
    ordered = sorted((point.alpha, point.loss) for point in points)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.axvline(0, color=INK, alpha=0.3, linewidth=0.8)
        axes.plot([alpha for alpha, _ in ordered], [loss for _, loss in ordered], color=BLUE, linewidth=1.6)
        axes.set(xlabel="step, in filter norms", ylabel="loss (nats)")
        _hairlines(axes)

    label = "Loss along a random, filter-normalised direction through the weights"
    return drawing(WIDTH, 2.8, paint, label=label, salt=salt)


def matrix(values: Sequence[Sequence[float]], *, title: str, salt: str) -> str:
    """A square of numbers between each two checkpoints, numbered from 1; deeper blue is more."""
    places = range(len(values))
    largest = max((abs(value) for row in values for value in row), default=0.0) or 1.0
    side = 0.34 if len(values) <= MOST_NUMBERED else 0.16

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                _square(axes, x, y, _shade(abs(value) / largest, (PAPER, SKY)), f"{value:.2f}" if side > 0.3 else "")
        axes.set(xlim=(0, len(values)), ylim=(len(values), 0), xlabel="checkpoint", ylabel="checkpoint", aspect="equal")
        for ticks in (axes.set_xticks, axes.set_yticks):
            ticks([i + 0.5 for i in places], [str(i + 1) if side > 0.3 or i % 10 == 9 else "" for i in places])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    length = side * max(3, len(values))
    return drawing(length + 0.65, length + BOTTOM + 0.1, paint, label=f"{title} between each two checkpoints", salt=salt)


@dataclass(frozen=True)
class Axis:
    """One measurement over several checkpoints, as an axis of a scatter."""

    title: str
    measured: Sequence[Measured | None]
    """By checkpoint; None where it was not obtained."""


def scatter(flatness: Sequence[Axis], safety: Sequence[Axis], *, salt: str) -> str:
    """Safety against flatness, a point and its two intervals for each checkpoint, numbered in order of the cards."""

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
    _hairlines(axes)
    if len(both) >= stats.MIN_MODELS and len(set(values)) > 1 and len({y.value for _, _, y in both}) > 1:
        tau = stats.kendall(values, [y.value for _, _, y in both])
        axes.set_title(f"τ = {wording.number(tau.value, tau.ci, show_interval=True)}", loc="right", fontsize=8, alpha=0.75)


def _hairlines(axes: Axes) -> None:
    axes.grid(color=INK, alpha=0.12, linewidth=0.5)
    axes.set_axisbelow(True)


def _whiskers(axes: Axes, way: str, where: Sequence[float], lows: Sequence[float], highs: Sequence[float], colour: str) -> None:
    lines = axes.vlines if way == "v" else axes.hlines
    lines(where, lows, highs, color=colour, linewidth=1.6)


def _cell(axes: Axes, x: int, y: int, change: float | None, limit: float) -> None:
    """One square with its number: grey where nothing was measured, deeper orange for larger loss, deeper blue for gain."""
    share = 0.0 if change is None else min(1.0, abs(change) / limit)
    colour = GREY if change is None else _shade(share, (PAPER, ORANGE, VERMILION) if change <= 0 else (PAPER, SKY))
    _square(axes, x, y, colour, "–" if change is None else wording.signed(change, 0))


def _square(axes: Axes, x: int, y: int, colour: str, text: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x + 0.015, y + 0.04), 0.97, 0.92, facecolor=colour, linewidth=0))
    axes.text(x + 0.5, y + 0.52, text, ha="center", va="center", fontsize=8, color="#14181d")


def _shade(share: float, colours: Sequence[str]) -> str:
    """The colour at `share` of the way through `colours`, which stand at equal distances."""
    stretch = share * (len(colours) - 1)
    step = min(int(stretch), len(colours) - 2)
    pairs = [(int(colours[step][i : i + 2], 16), int(colours[step + 1][i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * (stretch - step)):02x}" for a, b in pairs)


def _power_of_ten(value: float) -> str:
    if value == 0:
        return "0"
    exponent = round(math.log10(abs(value)))
    return ("−" if value < 0 else "") + (
        f"10{str(exponent).translate(wording.SUPERSCRIPT)}" if abs(exponent) > 1 else f"{abs(value):g}"
    )


def _room(labels: Sequence[str]) -> float:
    """Inches that the longest of the labels takes beside the axes."""
    return 0.2 + 0.068 * max((len(_label(label)) for label in labels), default=0)


def _label(text: str) -> str:
    return wording.foreign(text, LONGEST_LABEL)


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
