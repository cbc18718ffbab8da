"""Who is writing to this run folder? One process at a time; the others are told which, and since when.

On one machine the kernel's file lock decides: it ends with its process, however that ends. Between machines that share a folder,
where such locks may not reach, the holder touches the lock file every few seconds, and a lock not touched for a minute is stale.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from sharpaudit import files, strict_json
from sharpaudit.errors import CardError, EnvironmentFailure, UnsafeInput, clean
from sharpaudit.store.files import OTHER_OUTPUT, check_folder, require_file, write
from sharpaudit.store.runs import REPORT

LOCK = ".lock"
STATE = "state.json"

MAX_BYTES = 1 << 16
"""Of the lock and of the state; ours have a hundred."""

HEARTBEAT = 5.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without one after which the holder on another machine is taken for dead."""


@dataclass(frozen=True)
class State:
    """How far a run is."""

    doing: str
    fraction: float
    """Of the whole plan, 0 to 1."""
    running: bool
    """False when nobody is at work there any more."""
    pid: int
    seconds: float
    """Since the run began."""


class Claim:
    """A run folder that is ours to write to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._latest: tuple[str, float] = ("starting", 0.0)
        self._lock = _take(folder)
        self._beat = threading.Thread(target=self._keep_alive, daemon=True)
        self._beat.start()

    def progress(self, doing: str, fraction: float) -> None:
        """Say how far the run is; written to disk with the next heartbeat."""
        self._latest = doing, fraction

    def release(self) -> None:
        """Let others in."""
        self._stop.set()
        self._beat.join()
        self._write_state(running=False)
        os.ftruncate(self._lock, 0)
        os.close(self._lock)

    def _keep_alive(self) -> None:
        while True:
            with contextlib.suppress(OSError, EnvironmentFailure):  # a full disk must not end the run from here
                os.utime(self._lock)
                self._write_state(running=True)
            if self._stop.wait(HEARTBEAT):
                return

    def _write_state(self, *, running: bool) -> None:
        doing, fraction = self._latest
        state = State(doing, fraction, running, os.getpid(), time.monotonic() - self._started)
        with contextlib.suppress(EnvironmentFailure):
            write(self._folder / STATE, json.dumps(asdict(state), indent=2) + "\n")


def check(folder: Path) -> None:
    """Look, before any work, whether a run can be written to `folder`: new, empty, or holding an earlier run. Creates nothing.

    Raises:
        EnvironmentFailure: something else is there, or it cannot be written.
    """
    check_folder(folder)
    ours = [folder / REPORT, folder / STATE, folder / LOCK]
    try:
        strange = folder.exists() and any(folder.iterdir()) and not any(path.exists() for path in ours)
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot use the output folder: {error.strerror}", path=str(folder), hint=OTHER_OUTPUT
        ) from error
    if strange:
        raise EnvironmentFailure("the output exists and is not a run folder of ours", path=str(folder), hint=OTHER_OUTPUT)


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Hold `folder` for as long as the context lasts.

    Raises:
        EnvironmentFailure: as `check`, or another process is writing there.
    """
    check(folder)
    claim = Claim(folder)
    try:
        yield claim
    finally:
        claim.release()


def state_of(folder: Path) -> State | None:
    """How far the run in `folder` is, or None when no run was begun there.

    Raises:
        CardError: the state cannot be read.
    """
    path = folder / STATE
    try:
        state = State(**strict_json.load(files.read(path, most=MAX_BYTES)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CardError(f"the state of the run cannot be read: {clean(str(error))}", path=str(path)) from error
    return replace(state, running=state.running and _lives(folder / LOCK))


def _take(folder: Path) -> int:
    """The lock file, open, locked and bearing our name."""
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        require_file(path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError as error:
        raise EnvironmentFailure(
            f"the output folder is not writable: {error.strerror}", path=str(folder), hint="pass another -o"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            beyond_the_kernel = _lives(path, elsewhere=True)
        except BlockingIOError as error:
            raise _refusal(folder) from error
        except OSError:  # a file system without locks: signs of life decide
            beyond_the_kernel = _lives(path)
        if beyond_the_kernel:
            raise _refusal(folder)
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}).encode(), 0)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _holder(path: Path) -> tuple[int, str, float] | None:
    """Process, host and start of whoever holds the lock."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError, UnsafeInput):
        found = strict_json.load(files.read(path, most=MAX_BYTES))
        return int(found["pid"]), str(found["host"]), float(found["since"])
    return None


def _lives(path: Path, *, elsewhere: bool = False) -> bool:
    """Whether the holder shows signs of life; with `elsewhere`, only a holder on another machine counts."""
    holder = _holder(path)
    if holder is None or time.time() - path.stat().st_mtime > STALE:
        return False
    pid, host, _ = holder
    if host != socket.gethostname():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not elsewhere


def _refusal(folder: Path) -> EnvironmentFailure:
    """Names the holder, waiting a moment for one that has only just come."""
    deadline = time.monotonic() + 1.0
    while (holder := _holder(folder / LOCK)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    who = "another process"
    if holder:
        pid, host, since = holder
        place = "" if host == socket.gethostname() else f" on {clean(host)}"
        who = f"process {pid}{place}, at work for {max(0, round(time.time() - since))} s,"
    return EnvironmentFailure(f"{who} is writing to this run folder", path=str(folder), hint="wait for it, or pass another -o")
