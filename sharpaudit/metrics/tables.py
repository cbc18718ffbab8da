"""Do a card's tables follow from the predictions kept beside it? Accuracy by class, reliability bins, cells of corruptions.

Other tables (spectra, slices, radii, rescalings) need the network, and so do the hashes of the corrupted images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from sharpaudit.card import Card, Scalar, Table
from sharpaudit.errors import clean
from sharpaudit.metrics.calibration import BINS, reliability
from sharpaudit.metrics.corruption import FAMILY
from sharpaudit.metrics.sources import Views, corruption_cells, source
from sharpaudit.stats import wilson

EXACT = 1e-9
"""Sums in another order; all these numbers are of the size of 1."""

Rows = Sequence[Sequence[Scalar]]


def wrong_tables(card: Card, views: Views) -> Iterator[str]:
    """The tables that say something else than the predictions."""
    known = {"class": _by_class, "reliability": _reliability, "corruption": _cells}
    for name, table in card.tables.items():
        if name in known and not _agree(table, *known[name](card, views)):
            yield f"the table {clean(name)} does not follow from the predictions"


def _agree(table: Table, columns: Sequence[str], rows: Rows) -> bool:
    """Whether `table` has these rows in these of its columns; without any to compare with it may say what it likes."""
    if not rows:
        return True
    if not set(columns) <= set(table.columns) or len(table.rows) != len(rows):
        return False
    places = [table.columns.index(column) for column in columns]
    pairs = (
        (row[place], value) for row, told in zip(table.rows, rows, strict=True) for place, value in zip(places, told, strict=True)
    )
    return all(_close(given, found) for given, found in pairs)


def _close(given: Scalar, found: Scalar) -> bool:
    if isinstance(given, str | None) or isinstance(found, str | None):
        return given == found
    return abs(given - found) <= EXACT * max(1.0, abs(found))


def _by_class(card: Card, views: Views) -> tuple[Sequence[str], Rows]:
    rows: list[list[Scalar]] = []
    if (view := views.get("clean")) is not None:
        for index, label in enumerate(card.data.classes):
            if n := int(np.count_nonzero(view.labels == index)):
                hits = int(np.count_nonzero(view.correct & (view.labels == index)))
                ci = wilson(hits, n)
                rows.append([label, n, hits / n, ci.low, ci.high])
    return ["label", "n", "accuracy", "low", "high"], rows


def _reliability(card: Card, views: Views) -> tuple[Sequence[str], Rows]:
    view, run = views.get("clean"), card.probes.get("calibration")
    bins = run.options.get("bins", BINS) if run else BINS
    if view is None or not isinstance(bins, int):
        return [], []
    found = reliability(view.confidence, view.correct, max(1, min(bins, len(view))))
    columns = ["bin_low", "bin_high", "count", "confidence", "accuracy"]
    return columns, [[each.low, each.high, each.n, each.confidence, each.accuracy] for each in found]


def _cells(card: Card, views: Views) -> tuple[Sequence[str], Rows]:
    cells, table = corruption_cells(views), card.tables["corruption"]
    names = [name for name in ("accuracy", "nll", "ece", "flip_rate") if name != "flip_rate" or "clean" in views]
    columns = ["corruption", "family", "severity", "n", *names]
    listed = [(row.get("corruption"), row.get("severity")) for row in table.records()]
    order = listed if set(listed) == set(cells) else sorted(cells)  # of rows it has none
    rows: list[list[Scalar]] = []
    for name, severity in order:
        behind = [source(f"corruption.{what}/{name}/{severity}", views, card.data.classes) for what in names]
        values = [found.value if found else None for found in behind]
        rows.append([name, FAMILY.get(str(name)), severity, len(cells[str(name), int(severity or 0)]), *values])
    return columns, rows
