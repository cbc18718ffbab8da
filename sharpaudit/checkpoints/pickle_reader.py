"""What does a pickle describe, without running any of it?

A pickle is a program for a stack machine whose dangerous instructions import a name and call it. This is the same machine with
those instructions made inert: a global is a `Global` (its name, never imported), a call is an `Inert` record of what would
have been called. Only a handful of constructors are understood (`constructors`), and they build dictionaries and tensor
descriptions of our own. Opcodes and their arguments are decoded by the standard library's `pickletools.genops`, which
executes nothing and checks lengths against the bytes that are there.

Why not subclass `pickle.Unpickler`: the C machine still grows its memo to any index a file names (``LONG_BINPUT`` 2³²−1 touches
64 GB), hashes nested tuples recursively until the process dies, and calls `__setstate__` or ``extend`` by attribute.
"""

from __future__ import annotations

import io
import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.pickle_machine import Constructor, Machine
from sharpaudit.errors import CheckpointError, UnsafeInput, clean

OPCODES_AT_A_TIME = 256
"""Counted together, because counting each costs a tenth of reading it."""


@dataclass(eq=False, slots=True)
class Contents:
    """What a pickle held."""

    root: object
    length: int
    """Bytes up to and including STOP."""
    globals: list[str]
    """Every name it mentioned, in order of appearance."""
    calls: list[str]
    """Names that it would have run and that are not plain data: code."""


def read(
    data: bytes,
    meter: Meter,
    *,
    start: int = 0,
    constructors: dict[str, Constructor] | None = None,
    persistent: Callable[[object], object] | None = None,
) -> Contents:
    """The contents of the pickle at `start` of `data`.

    Args:
        data: the file.
        meter: counts the work, also that of other pickles in the file.
        start: where the pickle begins.
        constructors: what to build for calls of these globals; they must not run anything either.
        persistent: what a persistent id (``torch`` keeps storages there) stands for.

    Raises:
        CheckpointError: truncated or malformed.
        UnsafeInput: more work than allowed, or damaged after a call of code.
    """
    machine = Machine(constructors or {}, persistent, meter)
    stream = io.BytesIO(data)
    stream.seek(start)
    try:
        with warnings.catch_warnings(action="ignore"):  # protocol 0 strings with odd escapes warn while being decoded
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
                if count % OPCODES_AT_A_TIME == 0:
                    meter.step(OPCODES_AT_A_TIME)
                machine.step(opcode.name, argument)
        meter.step(count % OPCODES_AT_A_TIME)
        root = machine.stack[-1]
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, CheckpointError) as error:
        if machine.calls:
            raise UnsafeInput(f"the file is damaged and carries code: {clean(next(iter(machine.calls)))}") from error
        if isinstance(error, CheckpointError):
            raise
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"damaged or truncated pickle near byte {stream.tell()}: {clean(reason)}") from error
    return Contents(root, stream.tell() - start, list(machine.globals), list(machine.calls))
