"""What do the tables of a card look like? Reliability, corruption, classes, spectrum, loss slice: one drawing each.

Every drawing is an ``<svg>`` element, the same for the same rows, with axes that name their unit. matplotlib is imported when
something is drawn, never before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sharpaudit import stats
from sharpaudit.card.prose import signed
from sharpaudit.report import wording
from sharpaudit.report.grids import Grid
from sharpaudit.report.marks import WIDTH, hairlines, shade, square, whiskers
from sharpaudit.report.svg import BLUE, BOTTOM, GREY, INK, ORANGE, PAPER, SKY, VERMILION, drawing
from sharpaudit.report.tables import ClassAccuracy, ReliabilityBin, SlicePoint, SpectrumNode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 30
"""More classes than this are not drawn one by one: the worst of them are."""

LONGEST_LABEL = 24


def reliability(bins: Sequence[ReliabilityBin], *, salt: str) -> str:
    """Accuracy against confidence with Wilson intervals, and below it how many images stand in each bin."""
    filled = [
        (b.confidence, b.accuracy, b.count) for b in bins if b.count and b.confidence is not None and b.accuracy is not None
    ]
    intervals = [stats.wilson(round(accuracy * count), count) for _, accuracy, count in filled]

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.4, 1], gridspec_kw={"hspace": 0.12})
        above.plot([0, 1], [0, 1], color=INK, alpha=0.45, linewidth=0.8, dashes=(4, 3))
        whiskers(above, "v", [c for c, _, _ in filled], [ci.low for ci in intervals], [ci.high for ci in intervals], BLUE)
        above.plot([c for c, _, _ in filled], [a for _, a, _ in filled], "o", color=BLUE, markersize=4.5, clip_on=False)
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        above.text(0.03, 0.97, "underconfident", alpha=0.6, va="top", fontsize=8)
        above.text(0.97, 0.03, "overconfident", alpha=0.6, ha="right", fontsize=8)
        widths = [b.bin_high - b.bin_low for b in bins]
        below.bar([b.bin_low for b in bins], [b.count for b in bins], widths, align="edge", color=GREY, linewidth=0)
        below.set(xlabel="confidence", ylabel="images")
        below.locator_params(axis="y", nbins=3)
        for axes in (above, below):
            hairlines(axes)

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
        whiskers(axes, "h", places, [low for _, low, _, _ in shown], [high for _, _, high, _ in shown], BLUE)
        axes.plot([accuracy for accuracy, _, _, _ in shown], places, "o", color=BLUE, markersize=4.5)
        axes.set_yticks(places, [_label(label) for _, _, _, label in shown])
        axes.set(xlabel="accuracy", ylim=(len(shown) - 0.4, -0.6))
        axes.locator_params(axis="x", nbins=6)
        axes.tick_params(axis="y", length=0)
        hairlines(axes)

    height, left = BOTTOM + 0.1 + 0.22 * max(1, len(shown)), _room([label for _, _, _, label in shown])
    return drawing(WIDTH, height, paint, label="Accuracy of each class with its 95% interval, worst first", salt=salt, left=left)


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
            whiskers(axes, "v", where, lows, highs, colour)
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
        hairlines(axes)

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
        hairlines(axes)

    label = "Loss along a random, filter-normalised direction through the weights"
    return drawing(WIDTH, 2.8, paint, label=label, salt=salt)


def _cell(axes: Axes, x: int, y: int, change: float | None, limit: float) -> None:
    """One square with its number: grey where nothing was measured, deeper orange for larger loss, deeper blue for gain."""
    share = 0.0 if change is None else min(1.0, abs(change) / limit)
    colour = GREY if change is None else shade(share, (PAPER, ORANGE, VERMILION) if change <= 0 else (PAPER, SKY))
    square(axes, x, y, colour, "–" if change is None else signed(change, 0))


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
