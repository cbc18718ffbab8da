"""How far is it? A bar on a terminal, a line every half minute in CI and where no bar can be drawn, silence in a pipe."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Thread

from sharpaudit.errors import clean

EVERY = 30.0
"""Seconds between two lines."""

Report = Callable[[str, float], None]


def progress_bar(title: str) -> AbstractContextManager[Report]:
    """One bar for the whole plan on stderr, told what is being done and the fraction that is behind us."""
    title = clean(title, 40)
    terminal = sys.stderr.isatty()
    if os.environ.get("CI", "").lower() not in ("", "0", "false") or (terminal and os.environ.get("TERM") in (None, "", "dumb")):
        return lines(title, EVERY)
    return _bar(title) if terminal else _silence()


@contextmanager
def lines(title: str, every: float) -> Iterator[Report]:
    """A line each `every` seconds, from a thread, because a step may say nothing for long.

    It begins with a word of ours, since CI systems take lines that begin otherwise for commands.
    """
    latest: tuple[str, float] = ("starting", 0.0)
    done, started = Event(), time.monotonic()

    def tell() -> None:
        while not done.wait(every):
            doing, fraction = latest
            print(f"progress: {title}: {fraction:.0%} after {time.monotonic() - started:.0f} s, {clean(doing)}", file=sys.stderr)

    def report(doing: str, fraction: float) -> None:
        nonlocal latest
        latest = doing, fraction

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        done.set()
        thread.join()


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    described = TextColumn("{task.description}", markup=False)
    with Progress(described, BarColumn(), TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def report(doing: str, fraction: float) -> None:
            bar.update(task, completed=fraction, description=f"{title}: {clean(doing)}")

        yield report


@contextmanager
def _silence() -> Iterator[Report]:
    yield lambda doing, fraction: None
