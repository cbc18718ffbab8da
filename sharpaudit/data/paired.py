"""Which clean images stand beside a published corrupted set, image by image?

Published sets hold no clean images, and an audit needs them: as the view that everything is compared with, and to know which
image each corrupted one comes from. CIFAR's arrays keep the order of the test set, which their labels can confirm; the trees of
ImageNet-C and Tiny-ImageNet-C keep the file names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Preprocessing
from sharpaudit.data import ImageSet, open_images
from sharpaudit.data.corrupted import CorruptedSet
from sharpaudit.data.image_files import FolderImages
from sharpaudit.data.published import FOLDERS, open_corrupted
from sharpaudit.data.synthetic import LABEL, open_synthetic
from sharpaudit.errors import DataError
from sharpaudit.request import Reading


def is_stored(spec: str, *, synthesise: bool = False) -> bool:
    """Whether `spec` asks for stored corrupted images; with `synthesise`, those of others are not wanted."""
    name = spec.partition(":")[0]
    return name == LABEL or (name in FOLDERS and not synthesise)


def clean_spec(spec: str) -> str:
    """The clean images behind a published set, as `open_images` understands it: ``cifar10:PATH`` for ``cifar10-c:PATH``."""
    name, colon, path = spec.partition(":")
    return name.removesuffix("-c") + colon + path if name in FOLDERS else spec


def open_paired(
    spec: str,
    *,
    limit: int | None = None,
    allow_partial: bool = False,
    preprocessing: Preprocessing | None = None,
    search: Sequence[Path] = (),
    reading: Reading | None = None,
) -> tuple[ImageSet, CorruptedSet]:
    """The clean images and the published corrupted ones that `spec` names, the same images in the same order.

    Where the file names of a tree do not say which clean image an image comes from, the corrupted set stays in its own order
    and its `paired` is False.

    Args:
        spec: ``cifar10-c``, ``cifar100-c``, ``tiny-imagenet-c``, ``imagenet-c``, ``synthetic-c:PATH``, or NAME:PATH.
        limit: keep the first so many images.
        allow_partial: go on without the cells that are missing.
        preprocessing: of the network; decides how a folder of mixed sizes is resized and cropped when it is decoded.
        search: folders in which both sets are looked for; for NAME:PATH also PATH and the folder that holds it.
        reading: budgets and choices for foreign files.

    Raises:
        DataError: either set is not found, damaged or incomplete, or their labels differ.
        UsageError: a limit that the set cannot meet.
    """
    name, _, path = spec.partition(":")
    if name == LABEL:
        clean, found = open_synthetic(path, allow_partial=allow_partial, reading=reading)
    else:
        near = (Path(path), Path(path).parent) if path else ()
        try:
            clean = open_images(clean_spec(name), preprocessing=preprocessing, search=(*near, *search), reading=reading)
        except DataError as error:
            raise DataError(f"{name} needs its clean images beside it: {error.message}", hint=error.hint) from error
        stored = open_corrupted(spec, classes=clean.classes, allow_partial=allow_partial, search=search, reading=reading)
        clean, found = _paired(clean, stored)
    if limit is None:
        return clean, found
    return clean.limited(limit), _taking(found, np.arange(limit)) if found.paired else found


def _paired(clean: ImageSet, found: CorruptedSet) -> tuple[ImageSet, CorruptedSet]:
    first = found.cell(*found.cells[0])
    by_name = isinstance(first.images, FolderImages)
    pairs = _pairs_by_name(clean, first) if by_name else _pairs_by_order(clean, first, found.name)
    if not len(pairs):
        note = "file names do not say which clean image each corrupted one comes from: nothing is compared image by image"
        return clean, replace(found, notes=(*found.notes, note))
    ours, theirs = pairs.T
    alone = {
        "clean images without a corrupted one": len(clean) - len(ours),
        "corrupted images without a clean one": len(first) - len(ours),
    }
    notes = tuple(f"{count:,} {what} left out" for what, count in alone.items() if count)
    kept = clean.take(ours) if len(ours) < len(clean) else clean
    return replace(kept, notes=(*kept.notes, *notes)), replace(_taking(found, theirs), paired=True)


def _pairs_by_order(clean: ImageSet, first: ImageSet, name: str) -> NDArray[np.int64]:
    """(n, 2): the rows that both have; their labels must agree."""
    n = min(len(clean), len(first))
    other = np.flatnonzero(clean.labels[:n] != first.labels[:n])
    if len(other):
        raise DataError(
            f"{len(other):,} of {n:,} labels of {name} differ from those of {clean.name}, the first at image {other[0]}",
            hint="the clean images must be the test set in its original order",
        )
    return np.stack([np.arange(n), np.arange(n)], axis=1)


def _pairs_by_name(clean: ImageSet, first: ImageSet) -> NDArray[np.int64]:
    """(n, 2): rows of the same class and file name, in the order of the clean set; none where the names are not kept."""
    ours, theirs = (data.images.paths if isinstance(data.images, FolderImages) else () for data in (clean, first))
    place = {(int(label), path.stem): row for row, (label, path) in enumerate(zip(first.labels, theirs, strict=True))}
    keys = [(int(label), path.stem) for label, path in zip(clean.labels, ours, strict=False)]
    return np.array([(row, place[key]) for row, key in enumerate(keys) if key in place], dtype=np.int64).reshape(-1, 2)


def _taking(found: CorruptedSet, rows: NDArray[np.int64]) -> CorruptedSet:
    return replace(found, rows=rows if found.rows is None else found.rows[rows])
