"""How is a file put in place? Under a temporary name, flushed to disk and renamed, so that a reader never sees half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sharpaudit.errors import EnvironmentFailure


def write(path: Path, content: str | bytes) -> None:
    """Put `content` at `path`, atomically and durably.

    Raises:
        EnvironmentFailure: the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
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
