"""What does a JSON document of a checkpoint say, or why is it refused?"""

from __future__ import annotations

from typing import Any

from sharpaudit import strict_json
from sharpaudit.errors import CheckpointError, UnsafeInput, clean


def parse(text: bytes, what: str) -> dict[str, Any]:
    """The object in `text`; `what` names the document in messages.

    Raises:
        CheckpointError: not JSON, not an object, nested too deep, or too many values.
        UnsafeInput: a key occurs twice, so that two readers would disagree.
    """
    try:
        return strict_json.load(text)
    except strict_json.Repeated as error:
        raise UnsafeInput(f"{what}: {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{what} is not JSON: {clean(str(error))}") from error
