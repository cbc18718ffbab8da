"""How much time and memory does one file take? Each is read in a forked child that the system measures and holds to limits.

A child shares everything that is imported with its parent, so that a measurement takes milliseconds and holds nothing of the one
before. What it takes above its parent is what the file costs.
"""

from __future__ import annotations

import gc
import os
import pickle
import resource
import signal
import sys
import traceback
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from sharpaudit.cli import main

SECONDS = 5.0
"""Of processor time that any file may take."""
BYTES = 300 * 2**20
"""Memory that any file may take, beside `TIMES` its size."""
TIMES = 3
HARD_SECONDS = 20
HARD_BYTES = 6 * 2**30
"""Where a child is stopped, so that a failure is found and not waited for."""


RUNS = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "socket.connect", "socket.bind")
"""Audit events that nothing in a file may cause."""


@dataclass(frozen=True)
class Weight:
    """What one command cost and how it ended."""

    seconds: float
    num_bytes: int
    says: str
    """The end of what went to stderr, or of a traceback."""
    code: int | None
    """The exit code; None for a killed child."""
    ran: list[str]

    def problem(self, size: int) -> str | None:
        """What is wrong with it for a file of `size` bytes, if anything is."""
        allowed = BYTES + TIMES * size
        if self.ran:
            return f"ran {self.ran}"
        if self.code not in (0, 3, 4, 5, 6):
            return f"ended in {self.code}: {self.says}"
        if self.seconds > SECONDS:
            return f"took {self.seconds:.1f} s: {self.says}"
        if self.num_bytes > allowed:
            return f"took {self.num_bytes / 2**20:.0f} MB, allowed {allowed / 2**20:.0f}: {self.says}"
        if not self.says.replace("\n", "").isprintable():
            return f"says something that does not print: {self.says!r}"
        return None


def weigh(*arguments: str, memory: int = HARD_BYTES) -> Weight:
    """The weight of one `sharpaudit` command in a child, which may take so much `memory` beside that of its parent."""
    gc.collect()
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        _in_child(list(arguments), send, memory)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        told = pipe.read()
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if not told:
        return Weight(seconds, used.ru_maxrss * 1024, f"the child ended with status {status}", None, [])
    before, says, code, ran = pickle.loads(told)
    return Weight(seconds, used.ru_maxrss * 1024 - before, says, code, ran)


def _in_child(arguments: list[str], send: int, memory: int) -> None:
    told = StringIO()
    code: int | None = 0
    before = 0
    ran: list[str] = []
    try:
        signal.signal(signal.SIGXCPU, signal.SIG_DFL)
        pages = [int(number) for number in Path("/proc/self/statm").read_text().split()]
        before = pages[1] * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (pages[0] * resource.getpagesize() + memory, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CPU, (HARD_SECONDS, HARD_SECONDS + 1))
        sys.addaudithook(lambda event, given: ran.append(f"{event} {given!r:.100}") if event in RUNS else None)
        with redirect_stdout(StringIO()), redirect_stderr(told):
            main(arguments)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 70
    except BaseException:
        code = 70
        told.write(traceback.format_exc())
    os.write(send, pickle.dumps((before, told.getvalue()[-3000:], code, ran[:5])))
    os._exit(0)
