"""What does a safetensors file say about itself? The ``sharpaudit.*`` entries of its metadata; everything else is ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpaudit.checkpoints.preprocessing import from_metadata
from sharpaudit.errors import CheckpointError

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Metadata:
    """What the file states; None or empty where it states nothing."""

    architecture: str | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)


def read(entries: Mapping[str, str]) -> Metadata:
    """The statements in the metadata of a safetensors file.

    Raises:
        CheckpointError: an entry of ours that is not what it should be.
    """
    count = entries.get("sharpaudit.num_classes")
    if count is not None and not (count.isascii() and count.isdigit() and 0 < len(count) < 8):
        raise CheckpointError("metadata sharpaudit.num_classes is not a count")
    classes = _classes(entries["sharpaudit.classes"]) if "sharpaudit.classes" in entries else None
    num_classes = int(count) if count else None
    if classes and num_classes is not None and len(classes) != num_classes:
        raise CheckpointError(f"metadata states {num_classes} classes and names {len(classes)}")
    text = entries.get("sharpaudit.preprocessing")
    return Metadata(entries.get("sharpaudit.architecture"), num_classes, classes, from_metadata(text) if text else {})


def _classes(text: str) -> tuple[str, ...]:
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError("metadata sharpaudit.classes is not JSON") from error
    if not isinstance(names, list) or len(names) > MAX_CLASSES or not all(isinstance(name, str) for name in names):
        raise CheckpointError("metadata sharpaudit.classes is not a list of names")
    return tuple(names)
