"""The command line: parse, one call, render, exit.

stdout carries only the result; progress, warnings and errors go to stderr. Every failure is one line,
``error[CODE]: what - where - what to do``, or with ``--json`` the same as one JSON document on stdout; the exit codes are
`errors.ExitCode`. Commands import what they run inside their functions, so that ``--help`` and the judging commands start
without torch.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import typer

from sharpaudit.cli import (  # noqa: F401 - importing a command registers it
    compare,
    config,
    convert,
    data,
    demo,
    doctor,
    gate,
    inspect,
    measure,
    probes,
    schema,
    show,
    sign,
    streams,
)
from sharpaudit.cli.app import app
from sharpaudit.cli.usage import refusal
from sharpaudit.errors import EnvironmentFailure, ExitCode, Interrupted, SharpauditError, clean

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave the process with one of `ExitCode`."""
    arguments = sys.argv[1:] if arguments is None else arguments
    streams.prepare()
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # spinning threads make small networks 2 to 7 times slower on a shared machine
    logging.basicConfig(level=logging.CRITICAL, format="%(name)s: %(message)s")
    with _interruptible() as interrupted:
        code = _run(arguments)
    if interrupted and code not in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):  # something swallowed it: a finaliser, an import
        code = _stopped(arguments, terminated=False)
    failure = streams.failure()
    if failure is not None:
        code = _fail(
            EnvironmentFailure(f"cannot write to stdout: {failure.strerror}", hint="free space there, or send it elsewhere"), []
        )
    sys.exit(code)


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Ctrl-C raises KeyboardInterrupt in the block, and is noted in case something there swallows it."""
    noted: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
        noted.append(number)
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _run(arguments: list[str]) -> int:
    try:
        result = app(arguments, prog_name="sharpaudit", standalone_mode=False)
        if result == ExitCode.INTERRUPTED:  # what the parser makes of Ctrl-C outside an audit
            return _stopped(arguments, terminated=False)
        return int(result or ExitCode.DONE)
    except SharpauditError as error:
        return _fail(error, arguments)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help of the command
            print(error.format_message(), file=sys.stderr)
            return ExitCode.USAGE
        return _fail(refusal(error), arguments)
    except SystemExit as leave:  # the parser's, after shell completion
        return leave.code if isinstance(leave.code, int) else ExitCode.DONE
    except Exception as error:
        return _fail(_of_the_machine(error) or _crash(), arguments)
    except BaseException as stop:
        return _stopped(arguments, terminated=any(isinstance(cause, _Terminated) for cause in (stop, stop.__cause__)))


def _stopped(arguments: list[str], *, terminated: bool) -> int:
    again = f"to continue: sharpaudit {clean(shlex.join(arguments), limit=1000)}"
    code = _fail(Interrupted("terminated" if terminated else "interrupted", hint=again), arguments)
    return ExitCode.TERMINATED if terminated else code


def _fail(error: SharpauditError, arguments: list[str]) -> int:
    print(error, file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps(error.as_json(), indent=2, sort_keys=True))
    return error.exit_code


def _of_the_machine(error: Exception) -> SharpauditError | None:
    """The failure behind an error that is no defect of ours: memory that ran out, or a path that the system refused."""
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error)):
        return EnvironmentFailure("the memory that this process may take ran out", hint="raise its limit or use a larger machine")
    if isinstance(error, OSError) and error.filename is not None:
        return EnvironmentFailure(f"{error.strerror or error}", path=os.fsdecode(error.filename), hint="check the path")
    return None


def _crash() -> SharpauditError:
    """A defect of ours: the traceback goes to a file, one line to the user."""
    kind = sys.exc_info()[0]
    message = f"a defect in sharpaudit ({kind.__name__ if kind else 'unknown'})"
    try:
        handle, name = tempfile.mkstemp(prefix="sharpaudit-crash-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exc(file=file)
    except OSError as error:
        return SharpauditError(message, hint=f"no crash file: {error.strerror}; set TMPDIR and run it again")
    return SharpauditError(message, path=name, hint="please report this file")


class _Terminated(BaseException):
    """SIGTERM arrived."""


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise _Terminated
