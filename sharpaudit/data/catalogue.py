"""Which data sets are there, where are they looked for, and are they what they should be?

`listing` opens every named set that can be found, `describe` one, and `verify` reads one whole: every image decodes, every file
of a set that sharpaudit made has the hash it was written with, every cell of a corrupted set holds the images of the clean set,
in their order, and severities rise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import DataRecord
from sharpaudit.corruptions import FAMILY, STANDARD15
from sharpaudit.data import NAMES, open_images
from sharpaudit.data.corrupted import CorruptedSet
from sharpaudit.data.files import named_path
from sharpaudit.data.images import ImageSet
from sharpaudit.data.paired import is_stored, open_paired
from sharpaudit.data.published import FOLDERS
from sharpaudit.data.synthetic import LABEL, file_hash, read_manifest
from sharpaudit.errors import DataError, SharpauditError
from sharpaudit.request import Reading

COMPARED, COMPARED_BYTES = 256, 4 << 20
"""Images of each cell that are compared with the clean ones, as many of them as have so many pixels together, but two."""

RISING = ("noise", "blur")
"""Families whose severities take an image ever farther from the clean one; glass blur is the exception."""

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Entry:
    """A named set and what was found under its name."""

    name: str
    found: bool
    num_images: int
    """Of a split or, for corrupted sets, of a cell; 0 where nothing was found."""
    shape: tuple[int, ...]
    """(height, width, channels)."""
    detail: str
    """What else there is to say, or why it was not found."""


def listing(search: Sequence[Path], reading: Reading | None = None) -> Iterator[Entry]:
    """Every set that has a name of its own, in alphabetical order, opened where it is found."""
    for name in sorted([name for name in NAMES if ":" not in name] + list(FOLDERS)):
        try:
            if name in FOLDERS:
                clean, stored = open_paired(name, allow_partial=True, search=search, reading=reading)
                yield Entry(name, True, len(clean), clean.shape, cells_in_words(stored))
            else:
                data = open_images(name, search=search, reading=reading)
                yield Entry(name, True, len(data), data.shape, f"{len(data.classes)} classes")
        except SharpauditError as error:
            yield Entry(name, False, 0, (), error.message)


def cells_in_words(stored: CorruptedSet) -> str:
    """How many corruptions and cells there are and which are missing."""
    names = {name for name, _ in stored.cells}
    lacking = f", missing: {', '.join(stored.missing)}" if stored.missing else ""
    extra = len(names - set(STANDARD15))
    return f"{len(names)} corruptions ({extra} beyond the fifteen), {len(stored.cells)} cells{lacking}"


@dataclass(frozen=True)
class Description:
    """One data set."""

    splits: dict[str, DataRecord]
    """``test`` and, where there is one, ``train``; hashed, so every image was read."""
    shape: tuple[int, ...]
    per_class: tuple[int, int]
    """Images of the smallest and of the largest class of the test split."""
    stored: CorruptedSet | None
    """The corrupted images of a ``-c`` set."""


def describe(spec: str, *, search: Sequence[Path] = (), reading: Reading | None = None) -> Description:
    """The data set that `spec` names, with what is missing from it.

    Raises:
        SharpauditError: as `open_images` and `open_paired`.
    """
    stored = None
    if is_stored(spec):
        test, stored = open_paired(spec, allow_partial=True, search=search, reading=reading)
    else:
        test = open_images(spec, search=search, reading=reading)
    splits = {"test": test.record()}
    if stored is None and not spec.endswith((":test", ":train")):
        with suppress(SharpauditError):  # most forms have no second split
            splits["train"] = open_images(f"{spec}:train", search=search, reading=reading).record()
    counts = np.bincount(test.labels)
    return Description(splits, test.shape, (int(counts[counts > 0].min()), int(counts.max())), stored)


@dataclass(frozen=True)
class Verified:
    """A file or a cell that was read whole."""

    name: str
    num_images: int | None
    """None for a file."""
    sha256: str | None
    """Of the file's bytes, or `ImageSet.index_hash` of the cell; None where it cannot be read."""
    distance: float | None = None
    """Mean absolute difference from the clean images, grey levels."""
    problem: str | None = None


def verify(
    spec: str, *, search: Sequence[Path] = (), reading: Reading | None = None, on_progress: Progress = lambda fraction: None
) -> Iterator[Verified]:
    """Read everything that `spec` names and yield what was read, with what is wrong with it.

    Raises:
        SharpauditError: it cannot be opened at all.
    """
    if not is_stored(spec):
        data = open_images(spec, search=search, reading=reading)
        yield Verified(data.name, len(data), data.index_hash)
        return
    clean, stored = open_paired(spec, allow_partial=True, search=search, reading=reading)
    if spec.startswith(f"{LABEL}:"):
        yield from _files(named_path(spec.partition(":")[2]))
    yield Verified(clean.name, len(clean), clean.index_hash)
    yield from (Verified(cell, None, None, problem="missing") for cell in stored.missing)
    distances: dict[str, list[float]] = {}
    for done, cell in enumerate(stored.cells, 1):
        found = _cell(cell, stored, clean)
        if found.distance is not None:
            before = distances.setdefault(cell[0], [])
            before.append(found.distance)
            falling = len(before) == 5 and before == sorted(before, reverse=True)
            if falling and FAMILY[cell[0]] in RISING and cell[0] != "glass_blur":
                found = replace(found, problem="severities fall from 1 to 5: stored in reverse?")
        yield found
        on_progress(done / len(stored.cells))


def _files(root: Path) -> Iterator[Verified]:
    """The files of a set of ours against its manifest."""
    for name, expected in read_manifest(root).files.items():
        try:
            came = file_hash(root / name)
        except DataError as error:
            yield Verified(name, None, None, problem=error.message)
            continue
        yield Verified(name, None, came, problem=None if came == expected else "not the bytes that were written")


def _cell(cell: tuple[str, int], stored: CorruptedSet, clean: ImageSet) -> Verified:
    name = f"{cell[0]}/{cell[1]}"
    try:
        data = stored.cell(*cell)
        sha256 = data.index_hash
    except SharpauditError as error:
        return Verified(name, None, None, problem=error.message)
    if not stored.paired or data.shape != clean.shape:
        return Verified(name, len(data), sha256)
    rows = np.arange(min(max(2, min(COMPARED, COMPARED_BYTES // math.prod(data.shape))), len(data)))
    before, after = (np.asarray(images.images[rows], dtype=np.float64) for images in (clean, data))
    problem = None
    if len(rows) > 1 and _likeness(after, before) <= _likeness(after, np.roll(before, 1, axis=0)):
        problem = "its images are no more like the clean ones of the same rows than like others: another order?"
    return Verified(name, len(data), sha256, float(np.abs(after - before).mean()), problem)


def _likeness(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Mean correlation of the images of two sets, row by row."""
    a, b = (images.reshape(len(images), -1) for images in (first, second))
    a, b = (images - images.mean(1, keepdims=True) for images in (a, b))
    norms = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return float(np.mean((a * b).sum(1) / np.maximum(norms, 1e-9)))
