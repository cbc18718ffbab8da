"""Every error a user can meet, and the exit code each one ends in.

    SharpauditError                 70  a defect of sharpaudit itself, unless a class below says otherwise
    ├── UsageError                   2  the command line, a config file or a policy is wrong
    │   └── UnknownName              2  a name we do not know; lists the known ones and the closest
    ├── InputError                   3  a file was understood well enough to say why it cannot be used
    │   ├── CheckpointError          3  unreadable, truncated, not a checkpoint, non-finite weights
    │   ├── ArchitectureError        3  no network fits the weights, or several do
    │   ├── DataError                3  images or labels cannot be used
    │   └── CardError                3  a stored card is not one we can read
    ├── UnsafeInput                  4  refused for safety: the file carries code, lies or bombs
    ├── EnvironmentFailure           5  memory, disk, lock, device, time limit
    └── Interrupted                130  Ctrl-C; 143 after SIGTERM

Messages are one line: what was expected, what came; the hint says what to do next. Text that came from a file goes through
`clean` before it reaches any message, because names in a checkpoint can be long and hold terminal escapes; what was forgotten
there prints all the same, because every error makes its own message printable.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the process tells its caller; one meaning each."""

    DONE = 0
    GATE_FAILED = 1
    USAGE = 2
    INPUT = 3
    UNSAFE = 4
    ENVIRONMENT = 5
    INCONCLUSIVE = 6
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


WORST_FIRST = (
    ExitCode.INTERNAL,
    ExitCode.UNSAFE,
    ExitCode.INPUT,
    ExitCode.ENVIRONMENT,
    ExitCode.INCONCLUSIVE,
    ExitCode.GATE_FAILED,
    ExitCode.DONE,
)
"""With several checkpoints the process ends in the first of these that occurred."""


class SharpauditError(Exception):
    """The root of the tree: a message, where it happened and what to do next."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None, path: str | None = None) -> None:
        self.message = printable(message)
        self.hint = hint and printable(hint)
        self.path = path
        super().__init__(self.message)

    def __str__(self) -> str:
        """The one line a user sees: ``error[CODE]: what - where - what to do``."""
        parts = [self.message, self.path and clean(self.path), self.hint]
        return f"error[{self.code}]: " + " - ".join(part for part in parts if part)

    def as_json(self) -> dict[str, dict[str, str | None]]:
        """The same error as the document that ``--json`` prints."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint, "path": self.path}}


class UsageError(SharpauditError):
    """The command line, a configuration file or a policy asks for something that cannot be."""

    code = "usage"
    exit_code = ExitCode.USAGE


class UnknownName(UsageError):
    """A name that is not among the known ones."""

    code = "unknown-name"

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        close = closest(name, known, limit=1)
        message = f"unknown {kind} '{clean(name)}'" + (f"; did you mean '{close[0]}'?" if close else "")
        super().__init__(message, hint=f"known: {', '.join(known)}")


class InputError(SharpauditError):
    """An input file was rejected."""

    code = "input"
    exit_code = ExitCode.INPUT


class CheckpointError(InputError):
    """The checkpoint is unreadable, damaged, or not a checkpoint."""

    code = "checkpoint"


class ArchitectureError(InputError):
    """No known network fits the weights exactly, or the one that was named does not."""

    code = "architecture"


class DataError(InputError):
    """Images or labels cannot be used as they are."""

    code = "data"


class CardError(InputError):
    """A stored card cannot be read, or two cards cannot be compared."""

    code = "card"


class UnsafeInput(SharpauditError):
    """Refused for safety: the input carries code, lies about its size, or reaches outside its folder."""

    code = "unsafe"
    exit_code = ExitCode.UNSAFE


class EnvironmentFailure(SharpauditError):
    """The machine cannot do it: memory, disk, lock, device or time."""

    code = "environment"
    exit_code = ExitCode.ENVIRONMENT


class Interrupted(SharpauditError):
    """The user, or a scheduler, asked us to stop."""

    code = "interrupted"
    exit_code = ExitCode.INTERRUPTED


def printable(text: str) -> str:
    """`text` with every character that does not print as ``\\xNN``: terminal escapes, line breaks, what turns the direction."""
    return (
        text
        if text.isprintable()
        else "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    )


def clean(text: str, limit: int = 120) -> str:
    """Foreign text made safe for a terminal or a log: printable characters stay, others become ``\\xNN``; cut at `limit`.

    Rich strips only BEL, BS, VT, FF and CR; ESC and the 8-bit CSI would pass, so this is done before any renderer.
    """
    shown = printable(text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def closest(name: str, known: Iterable[str], *, limit: int = 5) -> list[str]:
    """Up to `limit` of the `known` names that a typing error could have turned into `name`, best first."""
    folded = {candidate.casefold(): candidate for candidate in known}
    return [folded[match] for match in difflib.get_close_matches(name.casefold(), list(folded), n=limit, cutoff=0.6)]
