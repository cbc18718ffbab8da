"""Where do results and errors go, when stdout may be closed, full, read no further, or in an encoding of another century?"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def prepare() -> None:
    """Make stdout and stderr take every text: UTF-8 as JSON asks for, odd bytes of file names escaped, closed ones discarded.

    A closed descriptor is opened on the null device, so that no file of ours gets its number.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - for the life of the process
        elif isinstance(stream, TextIOWrapper) and name != "stdin":
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def flush() -> OSError | None:
    """Why what was printed cannot be written, or None.

    Text that could not be written stays in the buffer and would fail once more when the interpreter ends, so it is let go.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
