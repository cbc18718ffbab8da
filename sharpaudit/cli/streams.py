"""Where do results and errors go, when stdout may be closed, full, read no further, narrow, or of another century's encoding?"""

from __future__ import annotations

import os
import select
import shutil
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

NARROWEST, WIDEST = 20, 100
"""Columns: a table does not get narrower, and a sentence is not read more easily on longer lines."""


class Sink(FileIO):
    """A descriptor that is written to until it fails; the failure is kept and the rest discarded, so that work goes on."""

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write `data`, waiting where the other end takes no more for now."""
        if self.failure is None:
            try:
                while (written := super().write(data)) is None:
                    select.select([], [self], [])
                return written
            except OSError as error:
                self.failure = error
        return memoryview(data).nbytes


def prepare() -> None:
    """Make stdout and stderr take every text: UTF-8 as JSON asks for, odd bytes of file names escaped, failures kept for later.

    A closed descriptor is opened on the null device, so that no file of ours gets its number.
    """
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
        if number and stream is getattr(sys, f"__{name}__"):
            binary = BufferedWriter(Sink(number, "w", closefd=False))
            text = TextIOWrapper(
                binary, encoding="utf-8", errors="backslashreplace", line_buffering=binary.isatty() or number == 2
            )
            setattr(sys, name, text)


def failure() -> OSError | None:
    """Why stdout did not take everything, or None; a reader that had seen enough is no failure."""
    sys.stdout.flush()
    sink = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return sink.failure if isinstance(sink, Sink) and not isinstance(sink.failure, BrokenPipeError) else None


class Screen(TypedDict):
    """How much fits on a line, and whether colours are understood."""

    width: int
    colour: bool


def screen() -> Screen:
    """What stdout shows: 80 plain columns in a pipe, and on a terminal what it has and the user allows (``NO_COLOR``)."""
    if not sys.stdout.isatty():
        return {"width": 80, "colour": False}
    columns = shutil.get_terminal_size((80, 24)).columns
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "") in ("", "dumb")
    return {"width": min(WIDEST, max(NARROWEST, columns)), "colour": not plain}
