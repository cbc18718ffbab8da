"""How is a file opened that anybody may have put there? Once, only if it is a regular file, and no further than a limit.

A path can name a pipe that nobody writes to, a device that never ends, or a file that grows while it is read. Every reader of
this package opens through here, so that none of them waits, and none believes a size that it has not seen.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

from sharpaudit.errors import UnsafeInput

CHUNK = 1 << 20
"""Bytes read at a time."""


def open_regular(path: Path) -> BufferedReader:
    """The regular file at `path`, open for reading; nothing is waited for and nothing else is opened.

    Raises:
        OSError: missing, a folder, not readable, or no name that a file can have; `strerror` says which.
        UnsafeInput: a pipe, a device or a socket, also at the end of a link.
    """
    try:
        _require_regular(os.stat(path).st_mode, path)  # noqa: PTH116 - unlike Path.stat it takes every name
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError as error:  # a NUL, or half a surrogate pair
        raise OSError(errno.EINVAL, "not the name of a file", str(path)) from error
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)  # it may have been replaced since
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read(path: Path, *, most: int) -> bytes:
    """The bytes of the regular file at `path`, of which there may be at most `most`.

    Raises:
        OSError: as `open_regular`; more than `most` bytes, or others than when it was opened.
        UnsafeInput: as `open_regular`.
    """
    with open_regular(path) as file:
        return read_whole(file, most=most)


def read_whole(file: BufferedReader, *, most: int) -> bytes:
    """The bytes of a file just opened; no more are read than it states, and one more to see that it states them all.

    Raises:
        OSError: more than `most` bytes, or it changed while being read.
    """
    before = os.fstat(file.fileno())
    if before.st_size > most:
        raise OSError(errno.EFBIG, f"{before.st_size:,} bytes are more than the {most:,} it may have")
    data = file.read(before.st_size + 1)
    after = os.fstat(file.fileno())
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise OSError(errno.ESTALE, "the file changed while being read")
    return data


def read_up_to(read: Callable[[int], bytes], num_bytes: int) -> bytearray:
    """The next `num_bytes` that a file's `read` gives, or fewer where it ends.

    Grows with what is there, not with what was declared; arrays over the result are writable, as torch wants them.
    """
    content = bytearray()
    while len(content) < num_bytes and (part := read(min(CHUNK, num_bytes - len(content)))):
        content += part
    return content


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise UnsafeInput("not a regular file", path=str(path), hint="name a file, not a pipe, device or socket")
