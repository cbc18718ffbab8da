"""What does an audit leave behind? A run folder, written whole or not at all.

    RUN/report.json                the card
    RUN/predictions.safetensors    per-example columns of every view, so that two runs can be compared without their models

Files are written under a temporary name, flushed to disk and renamed over the old one, so a reader never sees half a file. The
arrays carry the digest of the card they belong to; a folder whose two files do not fit together is refused.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sharpaudit.card import Card, codec
from sharpaudit.errors import CardError, EnvironmentFailure

REPORT = "report.json"
COLUMNS = "predictions.safetensors"

Columns = Mapping[str, Mapping[str, np.ndarray]]
"""view → column name → values, one per example."""


@dataclass(frozen=True)
class Run:
    """A card and the per-example columns behind it; no columns when only the card was kept."""

    card: Card
    columns: Columns


def write(path: Path, content: str | bytes) -> None:
    """Put `content` at `path`, atomically and durably.

    Raises:
        EnvironmentFailure: the disk is full or the folder cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot write: {error.strerror}", path=str(path), hint="free space or pass another -o"
        ) from error


def claim(folder: Path) -> None:
    """Check, before the work begins, that a run can be written to `folder`: new, empty, or holding an earlier run.

    Raises:
        EnvironmentFailure: something else is there, or it cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / REPORT).exists())):
            raise EnvironmentFailure(
                "the output exists and is not a run folder of ours", path=str(folder), hint="pass another -o"
            )
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except OSError as error:
        raise EnvironmentFailure(f"cannot use the output folder: {error.strerror}", path=str(folder)) from error
    if not os.access(nearest, os.W_OK):
        raise EnvironmentFailure("the output folder is not writable", path=str(folder), hint="pass another -o")


def save_run(folder: Path, run: Run) -> None:
    """Write the card and its columns into `folder`; the card last, because its presence says that the run is complete."""
    flat = {f"{view}|{name}": np.ascontiguousarray(v) for view, named in run.columns.items() for name, v in named.items()}
    write(folder / COLUMNS, save(flat, metadata={"card": codec.digest(run.card)}))
    write(folder / REPORT, codec.encode(run.card))


def load_run(path: Path) -> Run:
    """The run in the folder `path`, or the one whose `report.json` is `path`; columns are empty when only a card is there.

    Raises:
        CardError: no readable card, or columns that belong to another card.
    """
    report = path / REPORT if path.is_dir() else path
    card = codec.read(report)
    arrays = report.with_name(COLUMNS)
    if report.name != REPORT or not arrays.exists():
        return Run(card, {})
    try:
        data = arrays.read_bytes()
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        flat = load(data)
    except (OSError, SafetensorError, ValueError) as error:
        raise CardError("the stored predictions cannot be read", path=str(arrays), hint="measure again") from error
    if header.get("__metadata__", {}).get("card") != codec.digest(card):
        raise CardError("the stored predictions belong to another card", path=str(arrays), hint="measure again")
    columns: dict[str, dict[str, np.ndarray]] = {}
    for key, values in flat.items():
        view, _, name = key.rpartition("|")
        columns.setdefault(view, {})[name] = values
    return Run(card, columns)
