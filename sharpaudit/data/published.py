"""Which corrupted images have others published for this data set? Readers of the CIFAR-C and ImageNet-C layouts.

CIFAR-10-C and CIFAR-100-C are one ``<corruption>.npy`` of 5 × n rows each, lowest severity first, beside ``labels.npy``.
Tiny-ImageNet-C and ImageNet-C are trees ``<corruption>/<severity>/<wnid>/*.JPEG``, flat or under the groups in which they are
distributed; their classes are matched by WordNet id. The standard fifteen corruptions are expected, the four extra ones are
read where they are found. What sharpaudit synthesises (see `synthetic`) is never read or named as one of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharpaudit.corruptions import NAMES as CORRUPTIONS
from sharpaudit.corruptions import SEVERITIES, STANDARD15
from sharpaudit.data.arrays import class_indices
from sharpaudit.data.cifar import CIFAR10_CLASSES
from sharpaudit.data.corrupted import NUM_SAMPLED, Cell, CorruptedSet, complete, listed
from sharpaudit.data.files import check_link, missing, named_path, open_regular, searched
from sharpaudit.data.folder import LISTED, class_list, open_folder
from sharpaudit.data.image_files import FolderImages
from sharpaudit.data.images import ImageSet, Labels, numbered
from sharpaudit.data.npz import map_npy
from sharpaudit.errors import DataError, clean
from sharpaudit.request import Reading
from sharpaudit.stats import evenly_spaced

FOLDERS = {
    "cifar10-c": "CIFAR-10-C",
    "cifar100-c": "CIFAR-100-C",
    "tiny-imagenet-c": "Tiny-ImageNet-C",
    "imagenet-c": "ImageNet-C",
}
"""The folder in which each set is distributed."""

MANIFEST = "manifest.json"
"""Stands beside the arrays that sharpaudit made, and never beside published ones."""

README = "README.txt"

SAMPLE_BYTES = 1 << 16
"""Of an image file, at most so much goes into the fingerprint."""

CLASSES = {"cifar10-c": CIFAR10_CLASSES, "cifar100-c": numbered(100)}


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
    if (root / MANIFEST).exists():
        raise DataError(
            f"'{clean(root.name)}' holds corruptions that sharpaudit made, not the published {FOLDERS[name]}",
            hint=f"synthetic-c:{clean(str(root))} reads them",
        )
    reading = reading or Reading()
    if name in CLASSES:
        found = open_arrays(root, Layout(name, CLASSES[name], STANDARD15, shape=(32, 32, 3)), reading=reading)
    else:
        found = _open_tree(name, root, classes=classes, reading=reading)
    return found if allow_partial else complete(found, root)


def _root(name: str, folders: Sequence[Path], typed: str) -> Path:
    for folder in folders:
        for place in (folder / FOLDERS[name], folder):
            if place.is_dir() and (place.name == FOLDERS[name] or typed):
                return place
    if typed:
        raise missing(Path(typed))
    ours = "--synthesise makes corruptions of our own, called synthetic-c"
    raise DataError(f"no folder {FOLDERS[name]}", hint=f"{searched(name, folders)}; {ours}")


@dataclass(frozen=True)
class Layout:
    """What an array set should hold."""

    name: str
    classes: tuple[str, ...]
    expected: tuple[str, ...]
    """Corruptions without which it is incomplete."""
    shape: tuple[int, int, int]
    """(height, width, channels)."""
    severities: tuple[int, ...] = SEVERITIES


def open_arrays(root: Path, layout: Layout, *, reading: Reading) -> CorruptedSet:
    """A set of ``.npy`` files; each is opened once and memory-mapped, so the budget of `reading` is not touched."""
    stored = map_npy(root / "labels.npy")
    blocks = len(layout.severities)
    mapped: dict[str, NDArray[Any]] = {}
    lacking: list[str] = []
    for corruption in CORRUPTIONS:
        path = root / f"{corruption}.npy"
        if path.exists():
            check_link(path, root, reading)
            images = map_npy(path)
            if images.dtype != np.uint8 or images.shape[1:] != layout.shape or len(images) % blocks or not len(images):
                sides = ", ".join(map(str, layout.shape))
                lacking.append(f"{corruption} (expected 8-bit images ({blocks}n, {sides}), got {images.dtype} {images.shape})")
            else:
                mapped[corruption] = images
        elif corruption in layout.expected:
            lacking.append(corruption)
    n = max((len(images) // blocks for images in mapped.values()), default=0)
    for corruption, images in list(mapped.items()):
        if len(images) != blocks * n:
            lacking.append(f"{corruption} ({len(images):,} rows, expected {blocks * n:,})")
            del mapped[corruption]
    if not mapped:
        raise _nothing_usable(layout.name, root, lacking)
    labels = _one_block(stored, n, blocks, len(layout.classes))

    def block(corruption: str, severity: int) -> NDArray[Any]:
        start = layout.severities.index(severity) * n
        return mapped[corruption][start : start + n]

    def read(corruption: str, severity: int) -> ImageSet:
        return ImageSet(f"{layout.name}/{corruption}/{severity}", block(corruption, severity), labels, layout.classes)

    def sample(corruption: str, severity: int) -> list[bytes]:
        return [image.tobytes() for image in block(corruption, severity)[evenly_spaced(n, NUM_SAMPLED)]]

    known = (*CORRUPTIONS, "labels", "clean")
    others = sorted(path.name for path in root.iterdir() if path.stem not in known and path.name not in (MANIFEST, README))
    cells = [(name, severity) for name, severity in _all_severities(mapped) if severity in layout.severities]
    return CorruptedSet(layout.name, cells, tuple(lacking), _left_out(others), read, sample)


def _one_block(stored: NDArray[Any], n: int, blocks: int, num_classes: int) -> Labels:
    """The labels of one severity from ``labels.npy``, which repeats them for every severity or holds them once."""
    if stored.shape not in ((n,), (blocks * n,)):
        raise DataError(f"labels.npy has shape {stored.shape}, expected ({n},) or ({blocks * n},)", hint="fetch it again")
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

    def sample(corruption: str, severity: int) -> Iterable[bytes]:
        for index in evenly_spaced(len(expected), NUM_SAMPLED):
            path = folders[corruption, severity] / expected[index]
            if path.is_file():
                with open_regular(path) as file:
                    yield file.read(SAMPLE_BYTES)

    groups = {path.parent for path in places.values()}
    others = sorted(path.name for path in root.iterdir() if path not in groups and path.name not in (*places, LISTED))
    return CorruptedSet(name, cells, tuple(lacking), _left_out(others), read, sample)


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
        f"nothing of {name} can be used: {listed(lacking)}", hint="expected the corruptions in the folder", path=root.name
    )


def _left_out(names: Sequence[str]) -> tuple[str, ...]:
    return (f"not a corruption, left out: {', '.join(clean(name) for name in names[:8])}",) if names else ()
