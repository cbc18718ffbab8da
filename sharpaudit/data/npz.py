"""Which arrays does an ``.npz`` or ``.npy`` file hold? Headers are believed only as far as the bytes behind them go.

A 128-byte header may claim terabytes, a member may be a pickle, and a deflated member may unpack a thousandfold, so every
declared size is compared with the stored one and with the budget before anything is allocated.
"""

from __future__ import annotations

import math
import sys
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sharpaudit.data.arrays import class_names, image_set
from sharpaudit.data.files import open_regular, within_budget
from sharpaudit.data.images import ImageSet
from sharpaudit.errors import DataError, UnsafeInput, clean
from sharpaudit.files import read_up_to
from sharpaudit.request import Reading

IMAGE_KEYS = ("images", "x", "X", "data", "x_test", "X_test", "test_images", "image", "features", "arr_0")
LABEL_KEYS = ("labels", "y", "Y", "targets", "target", "y_test", "test_labels", "label", "arr_1")
CLASS_KEYS = ("classes", "class_names", "label_names", "target_names")

BOMB_RATIO = 1100
"""Deflate cannot compress better than 1,032 to 1; above this the sizes lie."""

MAX_HEADER = 10_000


def open_npz(
    path: Path, *, reading: Reading, name: str | None = None, classes: tuple[str, ...] | None = None, origin: str = ""
) -> ImageSet:
    """The images and labels of an ``.npz`` file, in stored order; where the file names no classes, those that `origin` gives.

    Raises:
        DataError: not an npz, members missing or damaged, or arrays that hold no labelled images.
        UnsafeInput: a pickled member, a compression bomb, an array over the budget.
    """
    name = name or f"npz:{clean(path.name)}"
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if len(members) != len(archive.infolist()):
                raise UnsafeInput(f"'{clean(path.name)}' holds two members of one name", hint="write it again with np.savez")

            def read(keys: tuple[str, ...], what: str) -> NDArray[Any]:
                key = next((key for key in keys if key in members), None)
                if key is None:
                    listed = ", ".join(clean(member) for member in list(members)[:8])
                    raise DataError(
                        f"no {what} in '{clean(path.name)}': it holds {listed or 'nothing'}", hint=f"known: {', '.join(keys)}"
                    )
                return _read_member(archive, members[key], reading)

            images, labels = read(IMAGE_KEYS, "images"), read(LABEL_KEYS, "labels")
            if any(key in members for key in CLASS_KEYS):
                classes, origin = class_names(read(CLASS_KEYS, "classes")), clean(path.name)
    except (zipfile.BadZipFile, NotImplementedError) as error:  # the latter: a version or a compression nobody has yet
        raise DataError(f"'{clean(path.name)}' is not an npz (ZIP) file: {clean(str(error))}", hint=_looks_like(path)) from error
    return image_set(name, images, labels, classes, reading=reading, origin=origin)


def map_npy(path: Path) -> NDArray[Any]:
    """The array of an ``.npy`` file, memory-mapped once its header agrees with its size; writes never reach the file.

    Raises:
        DataError: not an npy file, or truncated.
        UnsafeInput: a pickle.
    """
    with open_regular(path) as file:
        shape, fortran, dtype = _header(file, clean(path.name))
        start = file.tell()
        stored = file.seek(0, 2) - start
        _agree(shape, dtype, stored, clean(path.name))
        return np.memmap(file, dtype=dtype, mode="c", offset=start, shape=shape, order="F" if fortran else "C")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, reading: Reading) -> NDArray[Any]:
    name = clean(info.filename)
    if info.file_size > BOMB_RATIO * max(info.compress_size, 1):
        raise UnsafeInput(f"member '{name}' unpacks {info.compress_size:,} bytes to {info.file_size:,}: a compression bomb")
    within_budget(info.file_size, reading, f"member '{name}'")
    try:
        with archive.open(info) as file:
            shape, fortran, dtype = _header(file, name)
            stored = info.file_size - file.tell()
            _agree(shape, dtype, stored, name)
            content = read_up_to(file.read, stored)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise DataError(f"member '{name}' is damaged: {clean(str(error))}", hint="fetch the file again") from error
    if len(content) != stored:
        raise DataError(f"member '{name}' is truncated: expected {stored:,} bytes, got {len(content):,}", hint="fetch it again")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that the npy header at the file's position declares."""
    try:
        version = npy.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = npy.read_array_header_1_0(file, max_header_size=MAX_HEADER)
        else:
            shape, fortran, dtype = npy.read_array_header_2_0(file, max_header_size=MAX_HEADER)
    except (ValueError, EOFError, SyntaxError, TypeError, RecursionError, MemoryError, tokenize.TokenError) as error:
        raise DataError(f"'{name}' has no readable npy header: {clean(str(error))}", hint="write it with np.save") from error
    if dtype.hasobject:
        raise UnsafeInput(f"'{name}' holds Python objects, which only a pickle can read; pickles are never read")
    if dtype.kind not in "biufcSU" or not dtype.itemsize:
        raise DataError(
            f"'{name}' has the unsupported type {clean(str(dtype))}", hint="store numbers, and class names as strings"
        )
    if any(size < 0 for size in shape) or dtype.itemsize * math.prod(max(size, 1) for size in shape) > sys.maxsize:
        raise DataError(f"'{name}' declares the impossible shape {shape}")
    return shape, fortran, dtype


def _agree(shape: tuple[int, ...], dtype: np.dtype[Any], stored: int, name: str) -> None:
    declared = dtype.itemsize
    for size in shape:
        declared *= size
    if declared != stored:
        raise DataError(
            f"'{name}' declares {declared:,} bytes {shape} and holds {stored:,}", hint="truncated or damaged: fetch it again"
        )


def _looks_like(path: Path) -> str:
    with open_regular(path) as file:
        return f"it begins with {clean(repr(file.read(24)))}"
