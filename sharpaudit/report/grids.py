"""How accurate is the network under each corruption at each severity, as a grid?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.card import Card, Measured
from sharpaudit.card.measures import OF_CORRUPTION
from sharpaudit.report import tables, wording

LABEL = re.compile(r"[a-z0-9-]{1,30}")
"""What a set of corrupted images may be called in a caption; nothing else of a stored card goes there."""


@dataclass(frozen=True)
class Grid:
    """Corruption accuracy: a row for each corruption, grouped by family, a column for each severity."""

    severities: list[int]
    rows: list[GridRow]
    n: list[int]
    """The distinct numbers of images a cell."""
    clean: float | None
    half_width: float | None
    """The widest interval of a single cell, halved; None when no cell has one."""
    source: str
    """Where the corrupted images came from: ``synthetic-c``, or the name of a published set; empty where it is not known."""

    def families(self) -> Iterator[tuple[str, list[GridRow]]]:
        """The rows of each family, families in order of first appearance."""
        for family in dict.fromkeys(row.family for row in self.rows):
            yield family, [row for row in self.rows if row.family == family]


@dataclass(frozen=True)
class GridRow:
    """One corruption at every severity."""

    corruption: str
    family: str
    accuracy: list[float | None]
    """By severity; None where the cell was not measured."""
    mean: Measured | None
    """The mean over severities, as the card measured it."""


def corruption(card: Card) -> Grid | None:
    """The table ``corruption`` as a grid; None when the card has none."""
    table = tables.corruption(card)
    if not table:
        return None
    severities = sorted({cell.severity for cell in table})
    cells = {(cell.corruption, cell.severity): cell.accuracy for cell in table}
    families = {cell.corruption: cell.family for cell in table}
    by_name = {m.name: m for m in card.measurements if isinstance(m, Measured) and m.name.startswith(OF_CORRUPTION)}
    widths = [m.ci.high - m.ci.low for name, m in by_name.items() if name.count("/") == 2 and m.ci]
    clean = card.measured("clean.accuracy")
    label = card.corruptions.label if card.corruptions else ""
    return Grid(
        severities=severities,
        rows=[
            GridRow(name, family, [cells.get((name, s)) for s in severities], by_name.get(f"{OF_CORRUPTION}{name}"))
            for name, family in families.items()
        ],
        n=sorted({cell.n for cell in table}),
        clean=clean.value if clean else None,
        half_width=max(widths) / 2 if widths else None,
        source=label if LABEL.fullmatch(label) else "",
    )


def note(grid: Grid) -> str:
    """What a corruption grid shows: the number of images and how exact a cell is."""
    images = " or ".join(map(wording.count, grid.n))
    on = f" on {grid.source}" if grid.source else ""
    said = f"Accuracy{on} by corruption and severity; n = {images} images a cell"
    said += f", 95% interval of a cell at most ± {grid.half_width:.3f}" if grid.half_width else ""
    return said + (f"; without corruption {grid.clean:.3f}." if grid.clean is not None else ".")
