"""What does a foreign JSON document say? Read strictly: an object, no key twice, finite numbers, bounded nesting."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from sharpaudit.errors import CheckpointError, UnsafeInput, clean


def parse(text: bytes, what: str) -> dict[str, Any]:
    """The object in `text`; `what` names the document in messages.

    Raises:
        CheckpointError: not JSON, not an object, or nested too deep.
        UnsafeInput: a key occurs twice, so that two readers would disagree.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UnsafeInput(f"{what} holds '{clean(key)}' twice")
            found[key] = value
        return found

    try:
        document = json.loads(text.decode("utf-8-sig"), object_pairs_hook=unique, parse_constant=_refuse)
        if rb"\u" in text:
            json.dumps(document, ensure_ascii=False).encode()  # fails on half a surrogate pair, which no file can hold
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise CheckpointError(f"{what} is not JSON: {clean(reason)}") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{what} is not a JSON object")
    return document


def is_text(text: str) -> bool:
    """Whether `text` can be written to a file: a pickle or an escape of JSON may hold half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
