"""Which images and labels do a pair of MNIST idx files hold?"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sharpaudit.data.arrays import image_set
from sharpaudit.data.files import Allowance, find, open_regular, searched, within_budget
from sharpaudit.data.images import IMAGE_OVERHEAD, ImageSet
from sharpaudit.errors import DataError, clean
from sharpaudit.files import CHUNK, read_up_to
from sharpaudit.request import Reading

STEM = {"test": "t10k", "train": "train"}
UNSIGNED_BYTE = 8


def open_mnist(split: str, folders: Sequence[Path], *, reading: Reading) -> ImageSet:
    """The MNIST-style `split` in the first of `folders` that has it; classes ``0`` to ``9``.

    Raises:
        DataError: none of the folders holds the canonical files.
    """
    stem = STEM[split]
    paths = [
        find([f"{stem}-{kind}-idx{rank}-ubyte", f"{stem}-{kind}-idx{rank}-ubyte.gz"], folders)
        for kind, rank in (("images", 3), ("labels", 1))
    ]
    if paths[0] is None or paths[1] is None:
        raise DataError(f"no {stem}-images-idx3-ubyte and {stem}-labels-idx1-ubyte files", hint=searched("mnist", folders))
    name = "mnist" if split == "test" else f"mnist:{split}"
    return open_idx(paths[0], paths[1], classes=tuple("0123456789"), name=name, reading=reading)


def open_idx(
    images: Path, labels: Path, *, reading: Reading, classes: Sequence[str] | None = None, name: str | None = None
) -> ImageSet:
    """The set held by one idx file of images and one of labels, each plain or gzipped."""
    name = name or f"idx:{clean(images.name)},{clean(labels.name)}"
    return image_set(
        name, _read(images, 3, reading), _read(labels, 1, reading), classes, reading=reading, origin="the ten digits"
    )


def _read(path: Path, rank: int, reading: Reading) -> NDArray[Any]:
    """The array of one idx file: two zero bytes, the type, the rank, big-endian sizes, then the values (LeCun 1998)."""
    name = clean(path.name)
    with open_regular(path) as file:
        packed = file.seek(0, 2)
        file.seek(0)
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        read = _unpacking(file) if gzipped else file.read
        try:
            header = read_up_to(read, 4 + 4 * rank)
            if header[:4] != bytes([0, 0, UNSIGNED_BYTE, rank]) or len(header) < 4 + 4 * rank:
                raise DataError(
                    f"expected an idx file of unsigned bytes with {rank} axes, '{name}' begins with {header[:4].hex(' ')}"
                )
            shape = tuple(int(size) for size in np.frombuffer(header, ">u4", offset=4))
            declared = math.prod(shape)
            within_budget(declared, reading, f"'{name}'")
            if gzipped:
                allowance = Allowance(reading, times=2)
                allowance.weigh(packed)
                allowance.take(declared + IMAGE_OVERHEAD * shape[0], f"'{name}'")
            content = read_up_to(read, declared + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"'{name}' is damaged: {clean(str(error))}", hint="fetch it again") from error
    if len(content) != declared:
        more = "or more " if len(content) > declared else ""
        raise DataError(f"'{name}' declares {declared:,} bytes {shape} and holds {len(content):,} {more}".rstrip())
    return np.frombuffer(content, np.uint8).reshape(shape)


def _unpacking(file: BufferedReader) -> Callable[[int], bytes]:
    """A ``read`` of what the one gzip stream in `file` unpacks to.

    `gzip` itself reads headers byte by byte and takes any number of streams, of which a file can hold a million empty ones.
    """
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def read(num_bytes: int) -> bytes:
        while not stream.eof:
            part = stream.unconsumed_tail or file.read(CHUNK)
            if not part:
                raise EOFError("the gzip stream is cut short")
            if made := stream.decompress(part, num_bytes):
                return made
        if stream.unused_data or file.read(1):
            raise OSError("something follows the gzip stream")
        return b""

    return read
