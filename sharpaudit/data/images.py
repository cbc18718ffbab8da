"""Which images, in which order, with which labels? The one record that every reader of this package returns."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import DataRecord
from sharpaudit.errors import DataError, UsageError

Pixels = NDArray[np.uint8]
"""Images as stored, before any preprocessing: (n, h, w, channels), channels 1 to 4."""

Labels = NDArray[np.int64]

HASH_CHUNK, HASH_BYTES = 256, 16 << 20
"""Images hashed at a time, and their bytes unless one has more; bounds memory, never changes the hash."""

IMAGE_OVERHEAD = 48
"""Bytes that an image takes beside its pixels: its label and its hash, and what Python needs for them."""


class Images(Protocol):
    """What an array of images and a folder that decodes on demand have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, channels)."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any:
        """The images of a slice or an integer array, as `Pixels`."""


@dataclass(frozen=True)
class Selection:
    """Some images of a lazy source, in the order of `indices`; still lazy."""

    source: Images
    indices: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, h, w, channels)."""
        return (len(self.indices), *self.source.shape[1:])

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> Pixels:
        pixels: Pixels = self.source[self.indices[key]]
        return pixels


@dataclass(frozen=True, eq=False)
class Hashes:
    """What one pass over a set gives."""

    whole: str
    each: NDArray[np.uint64]
    """Of each image: the first 64 bits of its SHA-256, enough to find equal ones among billions of pairs."""
    stamp: str
    """Of the files, where images are decoded on demand."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images in a fixed order. Nothing here is random, augmented or shuffled."""

    name: str
    """How the user would ask for it again, base names only: ``digits``, ``npz:test.npz``."""
    images: Images
    """(n, h, w, channels) 8-bit pixels: an array, or a sequence that decodes on demand."""
    labels: Labels
    """(n,) indices into `classes`."""
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What was converted, reordered or left out on the way in."""
    warnings: tuple[str, ...] = ()
    """What to know before trusting any number about these images."""
    classes_declared: bool = True
    """False when the source names no classes; they are then numbered up to the largest label."""
    classes_origin: str = ""
    """Who named the classes, and so decided their order."""
    ran_user_code: bool = False
    """Whether a Python file of the user's made the images."""

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.images):
            raise DataError(f"expected one label per image, got {len(self.labels)} labels for {len(self.images)} images")
        if not len(self.labels):
            raise DataError("the data set has 0 samples", hint="check the path, the split and the filters", path=self.name)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    @property
    def index_hash(self) -> str:
        """SHA-256 over the shape, the image bytes and the labels, in order. Equal pixels hash alike whatever file held them."""
        return self._hashes.whole

    @cached_property
    def _hashes(self) -> Hashes:
        """From one pass over the images, however many are decoded for it."""
        digest = hashlib.sha256(repr((len(self), *self.shape)).encode())
        stamp, each, size = _stamp(self.images), bytearray(), math.prod(self.shape)
        for images, _ in self.batches(max(1, min(HASH_CHUNK, HASH_BYTES // size))):
            pixels = memoryview(images.tobytes())
            digest.update(pixels)
            for start in range(0, len(pixels), size):
                each += hashlib.sha256(pixels[start : start + size]).digest()[:8]
        digest.update(self.labels.astype("<i8").tobytes())
        return Hashes(digest.hexdigest(), np.frombuffer(each, dtype="<u8"), stamp)

    def require_unchanged(self) -> None:
        """Refuse images that are decoded on demand and are no longer those of `index_hash`.

        Raises:
            DataError: a file was written to since, and other pixels came out of it.
        """
        if _stamp(self.images) != self._hashes.stamp and replace(self).index_hash != self.index_hash:
            raise DataError(
                "the images changed during the audit", hint="measure again when nothing writes to them", path=self.name
            )

    def record(self) -> DataRecord:
        """The set's entry on a card."""
        return DataRecord(
            name=self.name,
            n=len(self),
            index_hash=self.index_hash,
            classes=list(self.classes),
            classes_origin=self.classes_origin or None,
            notes=list(self.notes),
            warnings=list(self.warnings),
            ran_user_code=self.ran_user_code,
        )

    def batches(self, size: int) -> Iterator[tuple[Pixels, Labels]]:
        """Images and labels in order, at most `size` at a time; the last batch may be shorter."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield self.images[part], self.labels[part]

    def limited(self, n: int) -> ImageSet:
        """The first `n` examples.

        Raises:
            UsageError: `n` is not between 1 and the number of examples.
        """
        if not 1 <= n <= len(self):
            raise UsageError(f"expected a limit between 1 and {len(self)}, got {n}", path=self.name)
        return self if n == len(self) else self._selected(slice(n))

    def take(self, indices: NDArray[np.int64]) -> ImageSet:
        """The examples at `indices`, in that order."""
        return self._selected(np.asarray(indices, dtype=np.int64))

    def without_alpha(self) -> ImageSet:
        """The same images without a fourth channel, where they have one; only arrays do."""
        if self.shape[2] != 4 or not isinstance(self.images, np.ndarray):
            return self
        return replace(self, images=self.images[..., :3], notes=(*self.notes, "dropped the fourth (alpha) channel"))

    def _selected(self, key: slice | NDArray[np.int64]) -> ImageSet:
        lazy = not isinstance(self.images, np.ndarray)
        images = Selection(self.images, np.arange(len(self))[key]) if lazy else self.images[key]
        labels = self.labels[key]
        present, before = (np.count_nonzero(np.bincount(some)) for some in (labels, self.labels))
        lost = (
            f"only {present:,} of {before:,} classes are among the {len(labels):,} of {len(self):,} images that are used; "
            "no number says anything of the others"
        )
        warnings = (*self.warnings, lost) if present < before else self.warnings
        return replace(self, images=images, labels=labels, warnings=warnings)


def numbered(num_classes: int) -> tuple[str, ...]:
    """Class names ``0``, ``1``, ... for a source that has none."""
    return tuple(str(index) for index in range(num_classes))


def num_shared(first: ImageSet, second: ImageSet) -> int:
    """How many images of `second` also stand in `first`, byte for byte: leakage between a training and a test set."""
    return int(np.isin(second._hashes.each, first._hashes.each).sum()) if first.shape == second.shape else 0


def _stamp(images: Images) -> str:
    """When and how large the files of a lazy source were last written; empty for what is held in memory."""
    if isinstance(images, Selection):
        return _stamp(images.source)
    paths: Sequence[Path] = getattr(images, "paths", ())
    written = ((status.st_size, status.st_mtime_ns, status.st_ino) for status in map(Path.stat, paths))
    return hashlib.sha256(repr(list(written)).encode()).hexdigest() if paths else ""
