"""Which images and classes does a folder of class folders hold?

Rules, because folder layouts differ and a wrong label order ruins every number silently:

- Each folder directly under the root is a class; images at any depth below it belong to it. Hidden names, other files and files
  beside the class folders are left out and counted in the notes.
- Classes follow the sorted folder names, or numeric order when every name is an integer ("0", "1", "10", ... would otherwise
  be sorted as text). ``classes.txt`` overrides both: one class a line, folder name first, an optional display name after it;
  its lines may name more classes than there are folders (ImageNet-A holds 200 of 1,000).
- Images are read in sorted path order and decoded on demand. A folder whose images are all grey has 1 channel, else 3. Alpha is
  dropped, palettes and CMYK become RGB, 16-bit grey keeps its high byte; orientation tags are ignored, as torchvision does.
- Images of one size are kept as stored. Mixed sizes are resized on their shorter side and cropped in the centre to the
  network's input size when they are decoded.
"""

from __future__ import annotations

import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharpaudit.card import Preprocessing
from sharpaudit.data.files import check_link, missing, open_regular, read_text
from sharpaudit.data.geometry import center_crop, resized_sides
from sharpaudit.data.images import ImageSet, Pixels
from sharpaudit.errors import DataError, UnsafeInput, clean
from sharpaudit.request import Reading

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The only decoders that are ever tried, whatever the file is called."""

GREY = frozenset({"1", "L", "I;16", "I;16B", "I;16L", "LA"})
COLOUR = frozenset({"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"})
LISTED = "classes.txt"
MAX_LIST_BYTES = 1 << 20
MAX_DEPTH = 32
"""Folders within a class folder, one in the other."""
THREADS = 4

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
    reading: Reading

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: slice | NDArray[np.int64]) -> Pixels:
        indices = np.arange(len(self))[key]
        with _quiet(), ThreadPoolExecutor(THREADS) as pool:
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


def open_folder(
    root: Path, *, preprocessing: Preprocessing | None = None, classes: Sequence[str] = (), reading: Reading
) -> ImageSet:
    """The labelled images under `root`, by the rules above; `classes`, where given, are the folder names in label order.

    Raises:
        DataError: no class folders, no images, a mode or a mixture of sizes that no rule covers, a damaged image.
        UnsafeInput: a link out of the folder, or an image over the pixel budget.
    """
    if not root.is_dir():
        raise missing(root) if not root.exists() else DataError(f"expected a folder, got the file '{clean(root.name)}'")
    entries = _entries(root)
    folders = [entry for entry in entries if _is_folder(entry, root, reading)]
    if not folders:
        raise DataError("no class folders: expected PATH/<class>/<image>", hint="npz:PATH reads arrays", path=clean(root.name))
    names, label_of, notes = _classes(root, [folder.name for folder in folders], classes)
    ignored: Counter[str] = Counter(_kind(entry) for entry in entries if entry not in folders and entry.name != LISTED)
    folders.sort(key=lambda folder: label_of[folder.name])
    found = [(path, label_of[folder.name]) for folder in folders for path in _image_paths(folder, root, reading, ignored)]
    filled = {label for _, label in found}
    empty = [name for name, label in label_of.items() if label not in filled]
    notes += [f"{count} {kind} left out" for kind, count in sorted(ignored.items())]
    notes += [f"class folders without images: {', '.join(clean(name) for name in empty[:8])}"] if empty else []
    origin = "folder names" if classes or not (root / LISTED).is_file() else LISTED
    name = f"imagefolder:{clean(root.name)}"
    return image_files(name, found, names, notes, origin=origin, preprocessing=preprocessing, reading=reading)


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
    images = FolderImages(tuple(path for path, _ in scan.kept), (len(scan.kept), *shape), resize, reading)
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
    for index, (path, label) in enumerate(found):
        try:
            with _opened(path, index, reading) as image:
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
        with open_regular(path) as file, Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > reading.max_pixels:
                raise UnsafeInput(f"{what} would unpack to {image.width * image.height:,} pixels", hint=limit)
            yield image
    except Image.DecompressionBombError as error:
        raise UnsafeInput(f"{what}: {clean(str(error))}", hint=limit) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error) as error:
        raise DataError(f"{what} cannot be decoded: {clean(str(error))}", hint="--on-bad-sample skip leaves it out") from error


def _to_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image` as 8-bit grey (``L``) or ``RGB``."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # straight to RGB would warn about transparency
    return image if image.mode == mode else image.convert(mode)


def _classes(root: Path, folders: list[str], given: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Class names, the label of each folder, and what decided the order."""
    if given:
        return *_ordered(given, folders), []
    lines = class_list(root)
    if lines is not None:
        return *_ordered(lines, folders), [f"class order from {LISTED}"]
    if all(name.isascii() and name.isdigit() for name in folders):
        folders = sorted(folders, key=lambda name: (int(name), name))
        notes = ["class folders are integers: sorted as numbers"]
    else:
        notes = []
    return tuple(clean(name) for name in folders), {name: index for index, name in enumerate(folders)}, notes


def class_list(root: Path) -> list[str] | None:
    """The lines of ``classes.txt`` in `root`, or None where there is no such file."""
    if not (root / LISTED).is_file():
        return None
    return [line for line in read_text(root / LISTED, most=MAX_LIST_BYTES).splitlines() if line.strip()]


def _ordered(lines: Sequence[str], folders: list[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names and the label of each folder from lines that begin with a folder's name."""
    for keys in ([line.strip() for line in lines], [line.split()[0] for line in lines]):
        if len(set(keys)) == len(keys) and set(folders) <= set(keys):
            names = [line.strip().removeprefix(key).strip() or key for line, key in zip(lines, keys, strict=True)]
            label_of = {key: index for index, key in enumerate(keys) if key in set(folders)}
            return tuple(clean(name) for name in names), label_of
    unlisted = sorted(set(folders) - {line.split()[0] for line in lines})
    shown = ", ".join(clean(name) for name in unlisted[:5]) or "a line is repeated"
    raise DataError(f"the class list does not name every class folder once: {shown}", hint="one class a line, folder name first")


def _image_paths(folder: Path, root: Path, reading: Reading, ignored: Counter[str], above: tuple[Path, ...] = ()) -> list[Path]:
    """The image files below `folder`, sorted by path; what is left out is counted in `ignored`."""
    real = folder.resolve()
    if real in above:
        raise UnsafeInput(f"the link '{clean(folder.name)}' leads back to a folder above it", hint="remove the link")
    if len(above) >= MAX_DEPTH:
        raise UnsafeInput(f"more than {MAX_DEPTH} folders within folders below the class '{clean(above[0].name)}'")
    paths = []
    for entry in _entries(folder):
        if _is_folder(entry, root, reading):
            paths += _image_paths(entry, root, reading, ignored, (*above, real))
        elif _kind(entry) == "images":
            check_link(entry, root, reading)
            paths.append(entry)
        else:
            ignored[_kind(entry)] += 1
    return paths


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"cannot list the folder '{clean(folder.name)}': {error.strerror}", hint="check its permissions"
        ) from error


def _is_folder(entry: Path, root: Path, reading: Reading) -> bool:
    if entry.name.startswith(".") or not entry.is_dir():
        return False
    check_link(entry, root, reading)
    return True


def _kind(entry: Path) -> str:
    if entry.name.startswith("."):
        return "hidden entries"
    return "images" if entry.suffix.lower() in SUFFIXES else "other files"
