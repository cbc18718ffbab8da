"""What is a stored set of corrupted images? One record for the published sets and for those that sharpaudit wrote."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import CorruptionSource
from sharpaudit.data.images import ImageSet
from sharpaudit.errors import DataError, UnknownName

Cell = tuple[str, int]
"""A corruption's name and its severity, 1 to 5."""

NUM_SAMPLED = 16
"""Images of each cell that the fingerprint of a set is made from."""


@dataclass(frozen=True)
class CorruptedSet:
    """Stored corrupted images: one `ImageSet` a cell, all of the same images in the same order."""

    name: str
    cells: list[Cell]
    """Those that are there, in the order of `sharpaudit.corruptions.NAMES`."""
    missing: tuple[str, ...]
    """Cells that were expected and are not there, or whose files are damaged; empty unless a partial set was allowed."""
    notes: tuple[str, ...]
    _read: Callable[[str, int], ImageSet]
    _sample: Callable[[str, int], Iterable[bytes]]
    """The bytes of a few images of a cell."""
    version: str | None = None
    """Of the functions of sharpaudit that made it; None for a published set."""
    rows: NDArray[np.int64] | None = None
    """Which of the images, in which order; None for all as they are stored."""
    paired: bool = False
    """Whether image i of a cell is image i of the clean set beside it (see `data.paired`)."""

    def cell(self, name: str, severity: int) -> ImageSet:
        """The images of one cell.

        Raises:
            UnknownName: the cell is not among `cells`.
            DataError: its images are damaged, or are not those of the other cells.
        """
        if (name, severity) not in self.cells:
            raise UnknownName("corruption cell", f"{name}/{severity}", (f"{name}/{level}" for name, level in self.cells))
        data = self._read(name, severity)
        return data if self.rows is None else data.take(self.rows)

    def relabelled(self, label: Callable[[ImageSet], ImageSet]) -> CorruptedSet:
        """The same set with the labels of every cell as `label` makes them."""
        return replace(self, _read=lambda name, severity: label(self._read(name, severity)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the labels and sixteen images of every cell; the whole of a set is gigabytes."""
        digest = hashlib.sha256(repr((self.name, self.version, self.cells)).encode())
        digest.update(self._read(*self.cells[0]).labels.astype("<i8").tobytes())
        digest.update(b"" if self.rows is None else self.rows.astype("<i8").tobytes())
        for cell in self.cells:
            for sample in self._sample(*cell):
                digest.update(hashlib.sha256(sample).digest())
        return digest.hexdigest()

    def record(self) -> CorruptionSource:
        """The set's entry on a card."""
        return CorruptionSource(
            label=self.name,
            version=self.version,
            fingerprint=self.fingerprint,
            missing=list(self.missing),
            paired=self.paired,
            notes=list(self.notes),
        )


def complete(found: CorruptedSet, root: Path) -> CorruptedSet:
    """The set, if nothing is missing from it.

    Raises:
        DataError: something is; the message lists it.
    """
    if found.missing:
        raise DataError(
            f"{found.name} is incomplete: {listed(found.missing)}", hint="--allow-partial goes on without them", path=root.name
        )
    return found


def listed(lacking: Sequence[str]) -> str:
    """The first eight, and how many more there are."""
    return ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")
