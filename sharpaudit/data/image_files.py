"""What do image files hold? Their headers are looked at once; pixels are decoded on demand.

A set whose images are all grey has 1 channel, else 3. Alpha is dropped, palettes and CMYK become RGB, 16-bit grey keeps its high
byte; orientation tags are ignored, as torchvision does. Images of one size are kept as stored. Mixed sizes are resized on their
shorter side and cropped in the centre to the network's input size when they are decoded.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sharpaudit.card import Preprocessing
from sharpaudit.data.files import Allowance, open_regular
from sharpaudit.data.geometry import center_crop, resized_sides
from sharpaudit.data.images import ImageSet, Pixels
from sharpaudit.errors import DataError, UnsafeInput, clean
from sharpaudit.request import Reading

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The only decoders that are ever tried, whatever the file is called."""

GREY = frozenset({"1", "L", "I;16", "I;16B", "I;16L", "LA"})
COLOUR = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"})
THREADS, THREAD_PIXELS = 4, 1 << 22
"""Images decoded side by side, and about how many pixels these may have together unless one has more."""

PICTURE_TIMES = 32
"""Photographs are packed 3 to 20 times as JPEG or WebP, drawings hundreds of times; see `max_unpacked_bytes`."""
ALL_RESTS, ONE_REST = 3.0, 1 / 8
"""Parts of `max_unpacked_bytes` that the pictures of a folder may take beyond that together, and one of them."""
SCAN, MAX_SCANS = b"\xff\xda", 32
"""What begins each pass over the pixels of a JPEG, of which encoders write about ten; a pass can be a few bytes."""
FREE_READS, BYTES_PER_READ = 20_000, 64
"""Reads of a decoder that are not counted, and how long the others are in the mean at least."""

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


class MixedSizes(DataError):
    """Images of several sizes, and no network yet whose size they are to have."""


@dataclass(frozen=True)
class FolderImages:
    """Image files in a fixed order, decoded on demand; the same file always gives the same pixels."""

    paths: tuple[Path, ...]
    shape: tuple[int, ...]
    """(n, h, w, channels) after decoding."""
    resize: Preprocessing | None
    """How images of other sizes are brought to this height and width; None where all have it."""
    most_pixels: int
    """Of the largest stored image."""
    reading: Reading

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> Pixels:
        indices = np.arange(len(self))[key]
        threads = max(1, min(THREADS, THREAD_PIXELS // self.most_pixels))
        with _quiet(), ThreadPoolExecutor(threads) as pool:
            decoded = list(pool.map(self._decode, indices.tolist()))
        return np.stack(decoded) if decoded else np.empty((0, *self.shape[1:]), np.uint8)

    def _decode(self, index: int) -> Pixels:
        _, height, width, channels = self.shape
        with _opened(self.paths[index], index, self.reading) as image:
            image = _to_mode(image, "L" if channels == 1 else "RGB")
            if self.resize is not None:
                sides = resized_sides((image.height, image.width), (height, width), self.resize.crop_pct)
                top, left = center_crop(sides, (height, width))
                image = image.resize((sides[1], sides[0]), RESAMPLING[self.resize.interpolation])
                image = image.crop((left, top, left + width, top + height))
            pixels = np.asarray(image, dtype=np.uint8)
        if pixels.shape[:2] != (height, width):
            raise DataError(f"image {index}, '{clean(self.paths[index].name)}', changed while being read")
        return pixels.reshape(height, width, channels)


def image_files(
    name: str,
    found: Sequence[tuple[Path, int]],
    classes: tuple[str, ...],
    notes: Sequence[str] = (),
    *,
    origin: str = "folder names",
    preprocessing: Preprocessing | None,
    reading: Reading,
) -> ImageSet:
    """The set of the image files and labels in `found`, decoded on demand; their headers are looked at once, now."""
    if not found:
        raise DataError("the folder has 0 samples", hint=f"known suffixes: {', '.join(sorted(SUFFIXES))}", path=name)
    with _quiet():
        scan = _scan(found, reading)
    shape, resize, size_notes = _shape(scan, preprocessing)
    images = FolderImages(
        tuple(path for path, _ in scan.kept), (len(scan.kept), *shape), resize, max(h * w for h, w in scan.sizes), reading
    )
    labels = np.array([label for _, label in scan.kept], dtype=np.int64)
    return ImageSet(name, images, labels, classes, (*notes, *scan.notes, *size_notes), classes_origin=origin)


@dataclass(frozen=True)
class _Scan:
    """What the headers say of every image, before any is decoded."""

    kept: list[tuple[Path, int]]
    modes: Counter[str]
    sizes: Counter[tuple[int, int]]
    """(height, width) of the stored images."""
    notes: list[str]


def _scan(found: Sequence[tuple[Path, int]], reading: Reading) -> _Scan:
    scan = _Scan([], Counter(), Counter(), [])
    bad = []
    together, weighed = Allowance(reading, times=PICTURE_TIMES, rest=ALL_RESTS), set()
    for index, (path, label) in enumerate(found):
        try:
            with _opened(path, index, reading) as image:
                status = path.stat()
                if (status.st_dev, status.st_ino) not in weighed:  # one file weighs once, however many links lead to it
                    weighed.add((status.st_dev, status.st_ino))
                    together.weigh(status.st_size)
                together.take(_num_bytes(image), f"the images up to {index}, '{clean(path.name)}',")
                if reading.bad_samples == "skip":
                    image.load()
                mode, size = image.mode, (image.height, image.width)
        except DataError:
            if reading.bad_samples == "fail":
                raise
            bad.append(path.name)
            continue
        if mode not in GREY | COLOUR:
            raise DataError(
                f"image {index}, '{clean(path.name)}', has mode {clean(mode)}", hint="convert it to 8-bit grey or RGB"
            )
        scan.kept.append((path, label))
        scan.modes[mode] += 1
        scan.sizes[size] += 1
    if bad:
        scan.notes.append(f"skipped {len(bad)} damaged images: {', '.join(clean(name) for name in bad[:8])}")
    if not scan.kept:
        raise DataError("the folder has 0 samples that can be decoded", hint="fetch it again")
    return scan


def _shape(scan: _Scan, preprocessing: Preprocessing | None) -> tuple[tuple[int, int, int], Preprocessing | None, list[str]]:
    """(h, w, channels) of the decoded images, how they are resized if they are, and what was converted."""
    channels = 1 if GREY.issuperset(scan.modes) else 3
    plain = "L" if channels == 1 else "RGB"
    notes = [f"converted {count} images of mode {mode}" for mode, count in sorted(scan.modes.items()) if mode != plain]
    if len(scan.sizes) == 1:
        height, width = next(iter(scan.sizes))
        return (height, width, channels), None, notes
    if preprocessing is None:
        shown = ", ".join(f"{height}×{width}" for (height, width), _ in scan.sizes.most_common(5))
        raise MixedSizes(f"images of {len(scan.sizes)} sizes ({shown}, ...) and none to bring them to", hint="pass --input-size")
    _, height, width = preprocessing.input_size
    notes.append(f"resized and centre-cropped images of {len(scan.sizes)} sizes to {height}×{width}")
    return (height, width, channels), preprocessing, notes


class _Counted:
    """A file for Pillow, whose decoders written in Python read some formats a few bytes at a time: a budget on their work."""

    def __init__(self, file: BufferedReader, what: str) -> None:
        self._file, self._what = file, what
        self._left = FREE_READS + os.fstat(file.fileno()).st_size // BYTES_PER_READ
        self.seek, self.tell, self.close = file.seek, file.tell, file.close
        self.is_jpeg, self._scans = False, 0

    def read(self, num_bytes: int = -1, /) -> bytes:
        """As of a file."""
        data = self._file.read(num_bytes)
        self._left -= 1
        self._scans += data.count(SCAN) if self.is_jpeg else 0
        if self._left < 0 or self._scans > MAX_SCANS:
            raise UnsafeInput(f"{self._what} is made of too many small parts", hint="save it again")
        return data


def _num_bytes(image: Image.Image) -> int:
    return image.width * image.height * len(image.getbands())


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's warnings silenced: what it can decode is used, what it cannot is an error, and our pixel budget is stricter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _opened(path: Path, index: int, reading: Reading) -> Iterator[Image.Image]:
    """The image at `path`, its header checked and its pixels not yet decoded; failures inside the ``with`` name the file."""
    what = f"image {index}, '{clean(path.name)}'"
    limit = f"the limit is {reading.max_pixels:,} pixels (--max-pixels)"
    try:
        with open_regular(path) as file:
            counted = _Counted(file, what)
            with Image.open(cast("IO[bytes]", counted), formats=FORMATS) as image:
                if image.width * image.height > reading.max_pixels:
                    raise UnsafeInput(f"{what} would unpack to {image.width * image.height:,} pixels", hint=limit)
                alone = Allowance(reading, times=PICTURE_TIMES, rest=ONE_REST)
                alone.weigh(os.fstat(file.fileno()).st_size)
                alone.take(_num_bytes(image), what)
                counted.is_jpeg = image.format in ("JPEG", "MPO")
                yield image
    except Image.DecompressionBombError as error:
        raise UnsafeInput(f"{what}: {clean(str(error))}", hint=limit) from error
    except UnidentifiedImageError as error:
        hint = "--on-bad-sample skip leaves it out"
        raise DataError(f"{what} cannot be decoded: it is none of {', '.join(FORMATS)}", hint=hint) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error) as error:
        raise DataError(f"{what} cannot be decoded: {clean(str(error))}", hint="--on-bad-sample skip leaves it out") from error


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image` as 8-bit grey (``L``) or ``RGB``."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB would warn about transparency
    return image if image.mode == mode else image.convert(mode)
