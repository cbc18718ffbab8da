"""Which numbers and times do the texts on the command line stand for, and how is a time written there?"""

from __future__ import annotations

import re
from math import inf, isfinite

from sharpaudit.errors import UsageError, clean


def numbers(flag: str, text: str | None, counts: tuple[int, ...], *, whole: bool = False) -> tuple[float, ...] | None:
    """The numbers in a text such as 0.5,0.5,0.5, of which there must be one of `counts`; None when there is no text.

    Raises:
        UsageError: another count, or something else than finite numbers; with `whole`, also fractions.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in counts or not all(isfinite(number) and (not whole or number.is_integer()) for number in found):
        expected = " or ".join(map(str, counts)) + (" whole" if whole else "")
        raise UsageError(f"{flag}: expected {expected} numbers separated by commas, got '{clean(text)}'")
    return found


def duration(flag: str, text: str | None) -> float:
    """Seconds of a text such as 90s, 10m or 1h30m; infinite when there is none.

    Raises:
        UsageError: a text of another form.
    """
    if text is None:
        return inf
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise UsageError(f"{flag}: expected a time such as 90s, 10m or 1h30m, got '{clean(text)}'")
    return float(seconds)


def time_in_words(seconds: float) -> str:
    """A time as a person says it: 40 s, 46 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
