"""What images and labels do these raw arrays hold? Every array source ends here, so the rules stand in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharpaudit.data.images import ImageSet, Labels, Pixels, numbered
from sharpaudit.errors import DataError, clean
from sharpaudit.files import CHUNK
from sharpaudit.request import Reading

CHANNELS = (1, 2, 3, 4)
MIN_SIDE = 2
USUAL_RANGES = ((0, 1), (-1, 1), (0, 255), (0, 65535))
"""Of black and white in files of images."""
MAX_CLASSES = 100_000

Array = NDArray[Any]


def image_set(
    name: str,
    images: Array,
    labels: Array,
    classes: Sequence[str] | None,
    *,
    reading: Reading,
    notes: tuple[str, ...] = (),
    origin: str = "",
    ran_user_code: bool = False,
) -> ImageSet:
    """A checked set from raw arrays: 8-bit channels-last images, integer labels within the classes, which `origin` names.

    Raises:
        DataError: a shape, type, range or length that no rule covers; the message says what was expected.
    """
    if not images.ndim or not labels.ndim:
        raise DataError(f"expected arrays of images and labels, got shapes {images.shape} and {labels.shape}", path=name)
    if len(images) != len(labels):
        raise DataError(f"expected one label per image, got {len(labels)} labels for {len(images)} images", path=name)
    if not len(images):
        raise DataError("the data set has 0 samples", path=name)
    images, layout_notes = channels_last(images)
    pixels, range_notes = eight_bit(images, reading.input_range)
    indices, label_notes = class_indices(labels, None if classes is None else len(classes))
    return ImageSet(
        name=name,
        images=pixels,
        labels=indices,
        classes=numbered(int(indices.max()) + 1) if classes is None else tuple(classes),
        notes=notes + layout_notes + range_notes + label_notes,
        classes_declared=classes is not None,
        classes_origin=origin if classes is not None else "numbered",
        ran_user_code=ran_user_code,
    )


def channels_last(images: Array) -> tuple[Array, tuple[str, ...]]:
    """`images` as (n, h, w, channels) with 1 to 4 channels, and what was done.

    The channel axis is the last or the second: the one of size 1 to 4, and where both are, the one that leaves square images.
    """
    notes: tuple[str, ...] = ()
    if images.ndim == 3:
        images = images[..., None]
    elif images.ndim != 4:
        raise DataError(
            f"expected images (n, h, w), (n, h, w, c) or (n, c, h, w), got shape {images.shape}", hint="reshape flattened images"
        )
    else:
        _, first, between, last = images.shape
        axes = [axis for axis, size in ((1, first), (3, last)) if size in CHANNELS]
        if len(axes) == 2 and (first == between) != (between == last):
            axes = [3 if first == between else 1]
        if len(axes) != 1:
            raise DataError(
                f"expected one channel axis of size 1 to 4, got shape {images.shape}", hint="store images as (n, h, w, c)"
            )
        if axes == [1]:
            images, notes = np.moveaxis(images, 1, 3), ("moved the channel axis last",)
    if min(images.shape[1:3]) < MIN_SIDE:
        raise DataError(f"expected images of at least {MIN_SIDE}×{MIN_SIDE} pixels, got {images.shape[1]}×{images.shape[2]}")
    return images, notes


def eight_bit(images: Array, input_range: tuple[float, float] | None) -> tuple[Pixels, tuple[str, ...]]:
    """`images` as 8-bit intensities, and what was done. Floating point is scaled from `input_range`, [0, 1] unless given."""
    if images.dtype == np.uint8 and input_range is None:
        return images, ()
    if images.dtype.kind not in "uif":
        raise DataError(f"expected images of type uint8 or float, got {images.dtype}")
    low, high = _extremes(images)
    black, white = input_range or ((0.0, 1.0) if images.dtype.kind == "f" else (0.0, 255.0))
    if not black <= low <= high <= white:
        raise DataError(
            f"expected pixels in [{black:g}, {white:g}], got {low:g} to {high:g}",
            hint=f"say what black and white are, as in --input-range {_usual_range(low, high)}",
        )
    pixels, error = np.empty(images.shape, np.uint8), 0.0
    for part in _parts(images):
        scaled = (np.asarray(images[part], dtype=np.float64) - black) * (255 / (white - black))
        pixels[part] = np.rint(scaled)
        error = max(error, float(np.abs(scaled - pixels[part]).max()))
    note = f"scaled {images.dtype} pixels from [{black:g}, {white:g}] to 8 bits"
    return pixels, (f"{note}, rounding by up to {error:.2f} grey levels" if error > 1e-3 else note,)


def _extremes(images: Array) -> tuple[float, float]:
    """The smallest and the largest pixel, all of which must be finite."""
    found = []
    for part in _parts(images):
        if not np.isfinite(images[part]).all():
            index = part.start + int(np.argwhere(~np.isfinite(images[part]))[0][0])
            raise DataError(f"image {index} holds a NaN or infinite pixel", hint="repair or remove it")
        found.append((float(images[part].min()), float(images[part].max())))
    return min(low for low, _ in found), max(high for _, high in found)


def _parts(images: Array) -> Iterator[slice]:
    """Slices of a few images each: what is computed from all of them at once would take several times their memory."""
    size = max(1, CHUNK // (images[0].size or 1))
    return (slice(start, start + size) for start in range(0, len(images), size))


def _usual_range(low: float, high: float) -> str:
    """The narrowest of the usual ranges that holds pixels from `low` to `high`, as one writes it, if one does."""
    return next((f"{black},{white}" for black, white in USUAL_RANGES if black <= low and high <= white), "LOW,HIGH")


def class_indices(labels: Array, num_classes: int | None) -> tuple[Labels, tuple[str, ...]]:
    """`labels` as (n,) 64-bit class indices, and what was done."""
    notes: tuple[str, ...] = ()
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels, notes = labels[:, 0], ("flattened labels of shape (n, 1)",)
    if labels.ndim != 1:
        hint = "take the argmax of one-hot labels" if labels.ndim == 2 else None
        raise DataError(f"expected labels of shape (n,), got {labels.shape}", hint=hint)
    if labels.dtype.kind not in "ui":
        raise DataError(f"expected integer labels, got {labels.dtype}", hint="store class indices as integers")
    low, high = int(labels.min()), int(labels.max())
    limit = MAX_CLASSES if num_classes is None else num_classes
    if low < 0 or high >= limit:
        raise DataError(
            f"expected labels 0 to {limit - 1}, got {low} to {high}", hint="are these labels one-based, or of another data set?"
        )
    return labels.astype(np.int64, copy=False), notes


def class_names(raw: Array) -> tuple[str, ...]:
    """Names stored as an array of strings, made printable."""
    if raw.ndim != 1 or raw.dtype.kind not in "US" or len(raw) > MAX_CLASSES:
        raise DataError(
            f"expected at most {MAX_CLASSES:,} class names as a 1-D array of strings, got {raw.dtype} of shape {raw.shape}"
        )
    return tuple(clean(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)) for name in raw)
