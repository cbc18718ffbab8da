"""How is a time written on the command line?"""

from __future__ import annotations


def time_in_words(seconds: float) -> str:
    """A time as a person says it: 40 s, 46 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60} min"
