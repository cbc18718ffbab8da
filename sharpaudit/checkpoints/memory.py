"""Is there room for what is about to be read? Asked before the memory is taken, because afterwards nobody is left to say so."""

from __future__ import annotations

import os
import re
from pathlib import Path

from sharpaudit.errors import EnvironmentFailure


def check(needed: int, what: str) -> None:
    """Refuse when `needed` bytes are more than there are.

    Raises:
        EnvironmentFailure: with both numbers.
    """
    there = available()
    if there is not None and needed > there:
        raise EnvironmentFailure(
            f"not enough memory for {what}: {needed / 2**30:,.2f} GiB needed, {there / 2**30:,.2f} GiB available",
            hint="use a machine with more memory",
        )


def available() -> int | None:
    """Bytes that this process could still take, or None where the system does not say."""
    found = [number for number in (_of_system(), _of_container()) if number is not None]
    return min(found, default=None)


def _of_system() -> int | None:
    """Linux counts what it could free as available; elsewhere the pages that are free."""
    stated = re.search(r"^MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    if stated:
        return int(stated[1]) * 1024
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if "SC_AVPHYS_PAGES" in names else None


def _of_container() -> int | None:
    """The limit of the control group, version 2 or 1, without what is already taken by its caches and processes."""
    limit = _text("/sys/fs/cgroup/memory.max") or _text("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    return int(limit) if limit.strip().isdigit() else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
