"""Which names does a pattern stand for? ``corruption.accuracy/*/5`` is every corruption at the highest severity."""

from __future__ import annotations

import re

OPEN_ENDED = re.compile(r"clean\.accuracy/class/|sharpness\.")
"""Where the last ``*`` may span slashes: class labels can hold them, and norms and radii are several qualifiers."""


def matches(pattern: str, name: str) -> bool:
    """Whether `name` fits `pattern`: ``*`` stands for one qualifier, or for a label with all its slashes."""
    wanted, given = pattern.split("/"), name.split("/")
    if wanted[-1].endswith("*") and OPEN_ENDED.match(pattern) and len(given) > len(wanted):
        given[len(wanted) - 1 :] = ["/".join(given[len(wanted) - 1 :])]
    return len(wanted) == len(given) and all(map(_fits, wanted, given))


def _fits(pattern: str, part: str) -> bool:
    """Whether `part` is `pattern` with at least one character for every ``*``; in a time that grows with their lengths alone."""
    first, *others = pattern.split("*")
    if not others:
        return part == pattern
    *middle, last = others
    if not (part.startswith(first) and part.endswith(last)):
        return False
    position, end = len(first) + 1, len(part) - len(last)
    for text in middle:  # the leftmost place is as good as any
        found = part.find(text, position, end)
        if found < 0:
            return False
        position = found + len(text) + 1
    return position <= end
