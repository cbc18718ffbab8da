"""Which corrupted images have others published for this data set? Readers of the CIFAR-C and ImageNet-C layouts.

CIFAR-10-C and CIFAR-100-C are one ``<corruption>.npy`` of 5 × n rows each, lowest severity first, beside ``labels.npy``.
Tiny-ImageNet-C and ImageNet-C are trees ``<corruption>/<severity>/<wnid>/*.JPEG``, flat or under the groups in which they are
distributed; their classes are matched by WordNet id. The standard fifteen corruptions are expected, the four extra ones are
read where they are found. What sharpaudit synthesises is never read or named as one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharpaudit.corruptions import NAMES as CORRUPTIONS
from sharpaudit.corruptions import SEVERITIES, STANDARD15
from sharpaudit.data.arrays import class_indices
from sharpaudit.data.cifar import CIFAR10_CLASSES
from sharpaudit.data.files import Reading, check_link, missing, named_path
from sharpaudit.data.folder import LISTED, FolderImages, class_list, open_folder
from sharpaudit.data.images import ImageSet, Labels, numbered
from sharpaudit.data.npz import map_npy
from sharpaudit.errors import DataError, UnknownName, clean

FOLDERS = {
    "cifar10-c": "CIFAR-10-C",
    "cifar100-c": "CIFAR-100-C",
    "tiny-imagenet-c": "Tiny-ImageNet-C",
    "imagenet-c": "ImageNet-C",
}
"""The folder in which each set is distributed."""

CLASSES = {"cifar10-c": CIFAR10_CLASSES, "cifar100-c": numbered(100)}

Cell = tuple[str, int]
"""A corruption's name and its severity, 1 to 5."""


@dataclass(frozen=True)
class CorruptedSet:
    """A published set: one `ImageSet` a cell, all of the same images in the same order."""

    name: str
    cells: list[Cell]
    """Those that are there, in the order of `sharpaudit.corruptions.NAMES`."""
    missing: tuple[str, ...]
    """Cells of the standard fifteen that are not, or whose files are damaged; empty unless a partial set was allowed."""
    notes: tuple[str, ...]
    _read: Callable[[str, int], ImageSet]

    def cell(self, name: str, severity: int) -> ImageSet:
        """The images of one cell.

        Raises:
            UnknownName: the cell is not among `cells`.
            DataError: its images are damaged, or are not those of the other cells.
        """
        if (name, severity) not in self.cells:
            raise UnknownName("corruption cell", f"{name}/{severity}", (f"{name}/{level}" for name, level in self.cells))
        return self._read(name, severity)


def open_corrupted(
    spec: str,
    *,
    classes: Sequence[str] = (),
    allow_partial: bool = False,
    search: Sequence[Path] = (),
    reading: Reading | None = None,
) -> CorruptedSet:
    """The published set that `spec` names: ``cifar10-c``, ``cifar100-c``, ``tiny-imagenet-c``, ``imagenet-c``, or NAME:PATH.

    Args:
        spec: the set, and where it lies unless it is on the search path.
        classes: WordNet ids in the network's label order, for the folder trees; sorted ids unless given.
        allow_partial: go on without the cells that are missing.
        search: folders in which the set is looked for.
        reading: budgets and choices for foreign files.

    Raises:
        DataError: unknown, not found, damaged, or incomplete while `allow_partial` is false.
    """
    name, _, path = spec.partition(":")
    if name not in FOLDERS:
        raise DataError(f"unknown published set '{clean(name)}'", hint=f"known: {', '.join(FOLDERS)}")
    root = _root(name, [named_path(path)] if path else search, path)
    read = _open_arrays if name in CLASSES else partial(_open_tree, classes=classes)
    found = read(name, root, reading=reading or Reading())
    if found.missing and not allow_partial:
        raise DataError(
            f"{name} is incomplete: {_listed(found.missing)}", hint="--allow-partial goes on without them", path=root.name
        )
    return found


def _root(name: str, folders: Sequence[Path], typed: str) -> Path:
    for folder in folders:
        for place in (folder / FOLDERS[name], folder):
            if place.is_dir() and (place.name == FOLDERS[name] or typed):
                return place
    if typed:
        raise missing(Path(typed))
    searched = ", ".join(clean(str(folder)) for folder in folders) or "nowhere (SHARPAUDIT_DATA is not set)"
    raise DataError(f"no folder {FOLDERS[name]}", hint=f"searched: {searched}")


def _open_arrays(name: str, root: Path, *, reading: Reading) -> CorruptedSet:
    """A set of ``.npy`` files; each is opened once and memory-mapped, so the budget of `reading` is not touched."""
    stored = map_npy(root / "labels.npy")
    mapped: dict[str, NDArray[Any]] = {}
    lacking: list[str] = []
    for corruption in CORRUPTIONS:
        path = root / f"{corruption}.npy"
        if path.exists():
            check_link(path, root, reading)
            images = map_npy(path)
            if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3) or len(images) % 5 or not len(images):
                lacking.append(f"{corruption} (expected 8-bit images (5n, 32, 32, 3), got {images.dtype} {images.shape})")
            else:
                mapped[corruption] = images
        elif corruption in STANDARD15:
            lacking.append(corruption)
    n = max((len(images) // 5 for images in mapped.values()), default=0)
    for corruption, images in list(mapped.items()):
        if len(images) != 5 * n:
            lacking.append(f"{corruption} ({len(images):,} rows, expected {5 * n:,})")
            del mapped[corruption]
    if not mapped:
        raise _nothing_usable(name, root, lacking)
    labels = _one_block(stored, n, len(CLASSES[name]))

    def read(corruption: str, severity: int) -> ImageSet:
        rows = slice((severity - 1) * n, severity * n)
        return ImageSet(f"{name}/{corruption}/{severity}", mapped[corruption][rows], labels, CLASSES[name])

    others = sorted(path.name for path in root.iterdir() if path.stem not in (*CORRUPTIONS, "labels"))
    return CorruptedSet(name, _all_severities(mapped), tuple(lacking), _left_out(others), read)


def _one_block(stored: NDArray[Any], n: int, num_classes: int) -> Labels:
    """The labels of one severity from ``labels.npy``, which repeats them for every severity or holds them once."""
    if stored.shape not in ((n,), (5 * n,)):
        raise DataError(f"labels.npy has shape {stored.shape}, expected ({n},) or ({5 * n},)", hint="fetch it again")
    labels, _ = class_indices(stored, num_classes)
    if not np.array_equal(labels, np.tile(labels[:n], len(labels) // n)):
        raise DataError("labels.npy differs between severities, expected the same labels five times", hint="fetch it again")
    return labels[:n]


def _open_tree(name: str, root: Path, *, classes: Sequence[str], reading: Reading) -> CorruptedSet:
    """A tree of image folders; cells are listed when the set is opened and read when they are asked for."""
    places = {path.name: path for path in (*root.glob("*/*"), *root.glob("*")) if path.name in CORRUPTIONS and path.is_dir()}
    for path in places.values():
        check_link(path, root, reading)
        check_link(path.parent, root, reading)
    folders = {(corruption, severity): places[corruption] / str(severity) for corruption, severity in _all_severities(places)}
    cells = [cell for cell, folder in folders.items() if folder.is_dir()]
    lacking = [corruption for corruption in STANDARD15 if corruption not in places]
    lacking += [f"{corruption}/{severity}" for corruption, severity in folders if (corruption, severity) not in cells]
    if not cells:
        raise _nothing_usable(name, root, lacking)

    first = folders[cells[0]]
    present = sorted(path.name for path in first.iterdir() if path.is_dir() and not path.name.startswith("."))
    listed = class_list(root)
    wordnet_ids = _label_order(name, present, classes if listed is None else listed)
    expected = _relative_paths(open_folder(first, classes=wordnet_ids, reading=reading), first)
    filled = {path.partition("/")[0] for path in expected}
    lacking += [
        f"{cells[0][0]}/{cells[0][1]}/{clean(wordnet_id)} (no images)" for wordnet_id in present if wordnet_id not in filled
    ]

    def read(corruption: str, severity: int) -> ImageSet:
        folder = folders[corruption, severity]
        data = open_folder(folder, classes=wordnet_ids, reading=reading)
        odd = sorted(set(expected) ^ set(_relative_paths(data, folder)))
        if odd:
            raise DataError(
                f"{corruption}/{severity} holds other images than {cells[0][0]}/{cells[0][1]}: {len(odd)} differ, "
                f"the first is '{clean(odd[0])}'",
                hint="fetch it again",
                path=root.name,
            )
        return replace(data, name=f"{name}/{corruption}/{severity}")

    groups = {path.parent for path in places.values()}
    others = sorted(path.name for path in root.iterdir() if path not in groups and path.name not in (*places, LISTED))
    return CorruptedSet(name, cells, tuple(lacking), _left_out(others), read)


def _label_order(name: str, present: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    if not classes or set(present) <= {line.split()[0] for line in classes}:
        return tuple(classes or present)
    if len(present) == len(classes):
        return tuple(present)  # display names in the usual order of sorted WordNet ids
    raise DataError(
        f"{name} has {len(present)} class folders, the network {len(classes)} classes that are not their names",
        hint=f"list the WordNet ids in the network's order, one a line, in {LISTED} beside the corruptions",
    )


def _relative_paths(data: ImageSet, root: Path) -> list[str]:
    images = data.images
    assert isinstance(images, FolderImages)
    return [path.relative_to(root).as_posix() for path in images.paths]


def _all_severities(names: Iterable[str]) -> list[Cell]:
    present = set(names)
    return [(name, severity) for name in CORRUPTIONS if name in present for severity in SEVERITIES]


def _nothing_usable(name: str, root: Path, lacking: Sequence[str]) -> DataError:
    return DataError(
        f"nothing of {name} can be used: {_listed(lacking)}", hint="expected the corruptions in the folder", path=root.name
    )


def _listed(lacking: Sequence[str]) -> str:
    return ", ".join(lacking[:8]) + (f" and {len(lacking) - 8} more" if len(lacking) > 8 else "")


def _left_out(names: Sequence[str]) -> tuple[str, ...]:
    return (f"not a corruption, left out: {', '.join(clean(name) for name in names[:8])}",) if names else ()
