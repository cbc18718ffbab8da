"""What does a JSON document of somebody else's say? Read strictly: an object, no key twice, finite numbers, and of bounded size.

The standard library believes NaN, keeps the last of two equal keys, makes infinity of 1e999, and turns each two characters of
``[],[],`` into a hundred bytes of memory. Cards, headers and everything else that is JSON are read by this.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from sharpaudit.errors import clean

MAX_NODES = 1_000_000
"""Values in one document; the header of 50,000 tensors has 650,000."""
MAX_DEPTH = 64
"""Brackets within brackets; ours have ten."""

_BRACKETS_AND_STRINGS = re.compile(r'[\[{\]}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


class Repeated(ValueError):
    """A key occurs twice, so that two readers would disagree about the document."""


def load(text: str | bytes) -> dict[str, Any]:
    """The object in `text`.

    Raises:
        ValueError: not JSON, not an object, nested too deep, too many values, or text that no file can hold.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    _require_bounded(text)
    document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(document, dict):
        raise ValueError("expected an object")
    if r"\u" in text:
        json.dumps(document, ensure_ascii=False).encode()  # fails on half a surrogate pair
    return document


def is_text(text: str) -> bool:
    """Whether `text` can be written to a file: a pickle or an escape of JSON may hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_bounded(text: str) -> None:
    """Refuse a document that is nested too deep or has too many values, before anything is built from it."""
    commas = text.count(",")
    depth = nodes = inside = 0
    for token in _BRACKETS_AND_STRINGS.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            nodes += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deep")
        elif first == '"':
            inside += 0 if commas <= MAX_NODES else token[0].count(",")
        else:
            depth -= 1
        if nodes > MAX_NODES:
            break
    if nodes + commas - inside > MAX_NODES:
        raise ValueError(f"more than {MAX_NODES:,} values")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # adds
        raise Repeated(f"it holds '{clean(twice)}' twice")
    return found


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{clean(digits, 30)} is not a finite number")
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
