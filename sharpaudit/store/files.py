"""How is a file put in place? Under a temporary name, flushed to disk and renamed, so that a reader never sees half of it.

Only a regular file is ever replaced. A rename would put a file where a device was, take a link away from what it led to, and let
a FIFO's reader wait for ever.
"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from sharpaudit.errors import EnvironmentFailure

OTHER_OUTPUT = "pass another -o"

KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


def write(path: Path, content: str | bytes) -> None:
    """Put `content` at `path`, atomically and durably; folders on the way are made.

    Raises:
        EnvironmentFailure: something other than a file is there, the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    require_file(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write: {error.strerror}", path=str(path), hint="free space or pass another -o; finished probes are kept"
        ) from error


def check_file(path: Path) -> None:
    """Look, before any work, whether `write` may put a document at `path`: a new or a regular file in a folder that is there.

    Raises:
        EnvironmentFailure: something else is there, or the folder is missing or cannot be written.
    """
    require_file(path)
    if not os.path.isdir(path.parent):  # noqa: PTH112 - unlike Path.is_dir it raises for no name
        raise EnvironmentFailure("cannot write: there is no such folder", path=str(path.parent), hint="make it, or name another")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Look, before any work, whether files can be written into `folder`, which may have to be made. Creates nothing.

    Raises:
        EnvironmentFailure: something else is there or on the way, or it cannot be written.
    """
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        if not nearest.is_dir():
            raise EnvironmentFailure("expected a folder, got something else", path=str(folder), hint=OTHER_OUTPUT)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not the name of a folder"
        raise EnvironmentFailure(f"cannot use the output folder: {reason}", path=str(folder), hint=OTHER_OUTPUT) from error
    if not os.access(nearest, os.W_OK):
        raise EnvironmentFailure("the output folder is not writable", path=str(folder), hint=OTHER_OUTPUT)


def require_file(path: Path) -> None:
    """Refuse to replace what is not a regular file."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not the name of a file"
        raise EnvironmentFailure(f"cannot write: {reason}", path=str(path), hint="name another file") from error
    if not stat.S_ISREG(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "something else")
        raise EnvironmentFailure(
            f"expected a file or a new name to write to, got {kind}", path=str(path), hint="name another file"
        )
