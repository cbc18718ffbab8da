"""Which bytes are we about to parse, and what are they? Opened once, read whole, hashed, recognised by content."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sharpaudit import files
from sharpaudit.checkpoints import memory
from sharpaudit.errors import CheckpointError, clean, closest
from sharpaudit.request import Limits

FOREIGN = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the weights"),
    (rb"\s*(?i:<!doctype html|<html|<head|<body|<\?xml)", "looks like HTML (a failed download?)"),
    (rb"GGUF|ggml|lmgg", "a GGUF/GGML file"),
    (rb"\x89HDF\r\n", "HDF5 (Keras or TensorFlow weights)"),
    (rb".{4}TFL3", "a TensorFlow Lite model"),
    (rb"(?s)\x08[\x01-\x0f].{0,200}(pytorch|onnx|tf2onnx|skl2onnx|graph|ai\.)", "an ONNX model"),
    (rb"[\x81-\x8f][\xa0-\xbf](params|model|opt|step|state)", "msgpack (Flax or JAX weights)"),
    (
        rb"(?s)(?=.{257}ustar).*?(sys_info|storages|tensors)\0",
        "a checkpoint of torch before 0.2 (a tar archive): load and save it again with torch",
    ),
    (rb"(?s).{257}ustar", "a tar archive: unpack it first"),
    (rb"\x93NUMPY", "a NumPy array, not a checkpoint"),
    (rb"GIF8|\x89PNG|\xff\xd8\xff|BM.{4}\0\0|RIFF....WEBP", "a picture"),
    (rb"%PDF", "a PDF document"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", "a compressed archive: unpack it first"),
    (rb"\x7fELF|MZ|#!", "a program"),
    (rb"\s*[\[{]", "JSON text, not weights"),
)
"""Leading bytes (a regular expression) and what they announce."""


@dataclass(frozen=True)
class Source:
    """A file that was read once; `data` is what is parsed and what is hashed."""

    path: Path
    data: bytes = field(repr=False)

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the bytes that were parsed."""
        return hashlib.sha256(self.data).hexdigest()


def read(path: Path, limits: Limits) -> Source:
    """The bytes of the regular file at `path`.

    Raises:
        CheckpointError: missing, unreadable, empty, or changed while being read.
        UnsafeInput: a pipe, a device or a socket, or larger than allowed.
        EnvironmentFailure: larger than the memory there is.
    """
    try:
        with files.open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            memory.check(size, "the file")
            limits.check("max_file_bytes", size, "bytes in the file")
            data = files.read_whole(file, most=size)
    except OSError as error:
        raise _cannot_read(path, error) from error
    if not data:
        raise CheckpointError("the file is empty: 0 bytes", path=str(path), hint="download or save it again")
    return Source(path, data)


def foreign_format(data: bytes) -> str | None:
    """What the file is, if its first bytes say that it is not a checkpoint."""
    head = data[:4096]
    for pattern, name in FOREIGN:
        if re.match(pattern, head):
            size = re.search(rb"\nsize (\d{1,20})\n", head) if "LFS" in name else None
            return f"{name} ({len(data)} bytes here, {int(size[1]):,} in the real file)" if size else name
    return None


def _cannot_read(path: Path, error: OSError) -> CheckpointError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return CheckpointError("no such file", path=str(path), hint=_nearest(path))
        case errno.EACCES:
            return CheckpointError("permission denied", path=str(path), hint=f"ask its owner for read access{_owner(path)}")
        case errno.ESTALE:
            return CheckpointError("the file changed while being read", path=str(path), hint="wait until it is written")
    return CheckpointError(f"cannot read the file: {error.strerror}", path=str(path), hint="check the path")


def _nearest(path: Path) -> str:
    """What to do about a path that is not there: the names in its folder, the most similar or else the first."""
    if not os.path.isdir(path.parent):  # noqa: PTH112 - unlike Path.is_dir it raises for no name
        return f"check the path: there is no folder '{clean(str(path.parent))}'"
    names = [name for name in _names(path.parent) if not name.startswith(".")]
    similar = closest(path.name, names, limit=3)
    if similar:
        return f"nearest: {', '.join(map(clean, similar))}"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"check the path: its folder holds {', '.join(map(clean, names[:3])) or 'nothing'}{more}"


def _owner(path: Path) -> str:
    try:
        return f" (owned by {clean(path.owner())})"
    except (OSError, KeyError):
        return ""


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return []
