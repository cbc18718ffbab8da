"""Which images do the binary CIFAR-10 and CIFAR-100 files hold? The pickled "python" version is recognised and never read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from sharpaudit.data.arrays import image_set
from sharpaudit.data.files import find, open_regular, read_text, searched, within_budget
from sharpaudit.data.images import ImageSet
from sharpaudit.data.npz import open_npz
from sharpaudit.errors import DataError, clean
from sharpaudit.request import Reading

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Split = Literal["train", "test"]

FILES: dict[tuple[str, Split], tuple[str, ...]] = {
    ("cifar10", "test"): ("test_batch.bin",),
    ("cifar10", "train"): tuple(f"data_batch_{index}.bin" for index in range(1, 6)),
    ("cifar100", "test"): ("test.bin",),
    ("cifar100", "train"): ("train.bin",),
}
FOLDERS = {
    "cifar10": ("cifar-10-batches-bin", "cifar10", "CIFAR-10"),
    "cifar100": ("cifar-100-binary", "cifar100", "CIFAR-100"),
}
PICKLED = ("cifar-10-batches-py", "cifar-100-python", "data_batch_1", "test_batch")
NUM_LABELS = {"cifar10": 1, "cifar100": 2}
"""Label bytes before each image; the fine label of CIFAR-100 is the second."""
PIXEL_BYTES = 3 * 32 * 32
MAX_NAMES_BYTES = 1 << 16


def open_cifar(name: str, split: Split, folders: Sequence[Path], *, reading: Reading) -> ImageSet:
    """A split of ``cifar10`` or ``cifar100`` from the first of `folders` that holds its binary files or an npz named after it.

    Raises:
        DataError: nothing found, or files that are not whole records.
    """
    inside = [place for folder in folders for place in (folder, *(folder / sub for sub in FOLDERS[name]))]
    full_name = name if split == "test" else f"{name}:{split}"
    classes = CIFAR10_CLASSES if name == "cifar10" else None
    for folder in inside:
        paths = [folder / file for file in FILES[name, split]]
        if all(path.is_file() for path in paths):
            listed = _names(folder)
            origin = "the names file beside the images" if listed else f"the names of {name}"
            return _open_binary(full_name, paths, NUM_LABELS[name], listed or classes, reading, origin)
        archive = find([f"{name}_{split}*.npz", f"{name}-{split}*.npz"], [folder])
        if archive is not None:
            found = open_npz(archive, reading=reading, name=full_name, classes=classes, origin=f"the names of {name}")
            return replace(found, notes=(*found.notes, f"read from {clean(archive.name)}"))
    raise _not_found(name, split, folders, inside)


def _open_binary(
    name: str, paths: Sequence[Path], num_labels: int, classes: Sequence[str] | None, reading: Reading, origin: str
) -> ImageSet:
    width = num_labels + PIXEL_BYTES
    parts = []
    for path in paths:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            within_budget(size, reading, f"'{clean(path.name)}'")
            if size % width:
                raise DataError(
                    f"'{clean(path.name)}' has {size:,} bytes, expected a multiple of {width:,}", hint="fetch it again"
                )
            file.seek(0)
            parts.append(np.frombuffer(file.read(size), np.uint8).reshape(-1, width))
    rows = np.concatenate(parts)
    images = rows[:, num_labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return image_set(name, np.ascontiguousarray(images), rows[:, num_labels - 1], classes, reading=reading, origin=origin)


def _names(folder: Path) -> tuple[str, ...] | None:
    path = find(["fine_label_names.txt", "batches.meta.txt"], [folder])
    if path is None:
        return None
    return tuple(clean(line.strip()) for line in read_text(path, most=MAX_NAMES_BYTES).splitlines() if line.strip())


def _not_found(name: str, split: Split, folders: Sequence[Path], inside: Sequence[Path]) -> DataError:
    if find(PICKLED, inside) is not None:
        return DataError(
            f"only the pickled 'python' version of {name} was found; pickles are never read",
            hint="fetch the 'binary version', or save an npz with images and labels",
        )
    files = ", ".join(FILES[name, split])
    return DataError(f"no {split} split of {name}: expected {files} or {name}_{split}*.npz", hint=searched(name, folders))
