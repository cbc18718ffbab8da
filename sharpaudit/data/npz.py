"""Which arrays does an ``.npz`` or ``.npy`` file hold? Headers are believed only as far as the bytes behind them go.

A 128-byte header may claim terabytes, a member may be a pickle, and a deflated member may unpack a thousandfold, so every
declared size is compared with the stored one and with the budget before anything is allocated.
"""

from __future__ import annotations

import math
import os
import sys
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sharpaudit.data.arrays import class_names, image_set
from sharpaudit.data.files import Allowance, open_regular, within_budget
from sharpaudit.data.images import IMAGE_OVERHEAD, ImageSet
from sharpaudit.errors import DataError, UnsafeInput, clean
from sharpaudit.files import read_up_to
from sharpaudit.request import Reading

IMAGE_KEYS = ("images", "x", "X", "data", "x_test", "X_test", "test_images", "image", "features", "arr_0")
LABEL_KEYS = ("labels", "y", "Y", "targets", "target", "y_test", "test_labels", "label", "arr_1")
CLASS_KEYS = ("classes", "class_names", "label_names", "target_names")

MAX_DIRECTORY = 1 << 20
"""Bytes of an archive's directory, of which `zipfile` makes ten times as many."""

MAX_HEADER, MAX_AXES = 10_000, 8


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
        with open_regular(path) as file, zipfile.ZipFile(_ShortReads(file)) as archive:
            allowance = Allowance(reading, times=2)
            allowance.weigh(file.seek(0, 2))
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
                return _read_member(archive, members[key], reading, allowance)

            images, labels = read(IMAGE_KEYS, "images"), read(LABEL_KEYS, "labels")
            converted = 0 if images.dtype == np.uint8 else images.size
            allowance.take(converted + IMAGE_OVERHEAD * labels.size, f"'{clean(path.name)}'")
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
        header = _header(file.read(MAX_HEADER), clean(path.name))
        _agree(header, file.seek(0, 2) - header.length, clean(path.name))
        return np.memmap(file, header.dtype, "c", header.length, header.shape, header.order)


class _ShortReads:
    """A file for `zipfile`, which takes the whole directory of an archive into memory, however long it says it is."""

    def __init__(self, file: BufferedReader) -> None:
        self._file, self._size = file, os.fstat(file.fileno()).st_size
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, num_bytes: int = -1, /) -> bytes:
        """As of a file; all that is left for a negative number."""
        asked = num_bytes if num_bytes >= 0 else self._size - self._file.tell()
        if asked > MAX_DIRECTORY:
            raise UnsafeInput(f"the archive's directory has {asked:,} bytes, the limit is {MAX_DIRECTORY:,}")
        return self._file.read(asked)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, reading: Reading, allowance: Allowance) -> NDArray[Any]:
    name = clean(info.filename)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnsafeInput(f"member '{name}' is packed in a way that NumPy never uses", hint="write it again with np.savez")
    within_budget(info.file_size, reading, f"member '{name}'")
    try:
        with archive.open(info) as file:
            header = _header(file.read(MAX_HEADER), name)
        stored = info.file_size - header.length
        _agree(header, stored, name)
        allowance.take(stored, f"member '{name}'")
        with archive.open(info) as file:
            file.read(header.length)
            content = read_up_to(file.read, stored)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError, zlib.error) as error:
        raise DataError(f"member '{name}' is damaged: {clean(str(error))}", hint="fetch the file again") from error
    if len(content) != stored:
        raise DataError(f"member '{name}' is truncated: expected {stored:,} bytes, got {len(content):,}", hint="fetch it again")
    return np.frombuffer(content, dtype=header.dtype).reshape(header.shape, order=header.order)


@dataclass(frozen=True)
class _Header:
    """What an npy header declares, and how long it is."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]
    length: int


def _header(head: bytes, name: str) -> _Header:
    """The header at the beginning of `head`, which holds no more of the file than a header may have."""
    file = BytesIO(head)
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
    possible = len(shape) <= MAX_AXES and all(type(size) is int and 0 <= size <= sys.maxsize for size in shape)
    if not possible or dtype.itemsize * math.prod(max(size, 1) for size in shape) > sys.maxsize:
        raise DataError(f"'{name}' declares an impossible shape", hint="write it with np.save")
    return _Header(shape, "F" if fortran else "C", dtype, file.tell())


def _agree(header: _Header, stored: int, name: str) -> None:
    declared = header.dtype.itemsize * math.prod(header.shape)
    if declared != stored:
        raise DataError(
            f"'{name}' declares {declared:,} bytes {header.shape} and holds {stored:,}",
            hint="truncated or damaged: fetch it again",
        )


def _looks_like(path: Path) -> str:
    with open_regular(path) as file:
        return f"it begins with {clean(repr(file.read(24)))}"
