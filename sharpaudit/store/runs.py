"""A card, the per-example columns behind it and what its audit took: how are they kept together?

The card holds the hash of the columns, so a folder whose files do not fit together is refused. What differs from run to run
stands in a file of its own: the same audit leaves the same bytes everywhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sharpaudit import files
from sharpaudit.card import Card, Timing, codec
from sharpaudit.errors import CardError
from sharpaudit.store.files import write

REPORT = "report.json"
COLUMNS = "predictions.safetensors"
TIMING = "timing.json"
MAX_TIMING_BYTES = 1 << 20
MAX_COLUMN_BYTES = 4 * 2**30
"""Of one file of columns: 50,000 images under 95 corruptions take a tenth."""

Columns = Mapping[str, Mapping[str, np.ndarray]]
"""view → column name → values, one per example; and measurement → what its terms are over → terms (`metrics.terms`)."""


@dataclass(frozen=True)
class Run:
    """A card and the per-example columns behind it; no columns when only the card was kept."""

    card: Card
    columns: Columns

    @classmethod
    def sealed(cls, card: Card, columns: Columns) -> Run:
        """The run of `card` with these columns, whose hash the card takes on."""
        return cls(card.model_copy(update={"predictions": digest_of(columns)}), columns)


def save_run(folder: Path, run: Run) -> None:
    """Write the card, its columns and its timing; the card last, because its presence says that the run is complete."""
    run = Run.sealed(run.card, run.columns)
    write(folder / COLUMNS, pack(run.columns))
    if run.card.timing is not None:
        write(folder / TIMING, codec.dumps(run.card.timing.model_dump(mode="json")))
    write(folder / REPORT, codec.encode(run.card))


def load_run(path: Path) -> Run:
    """The run in the folder `path`, or the one whose `report.json` is `path`; columns are empty when only a card is there.

    Raises:
        CardError: no readable card, or columns that are not those it was made from.
    """
    report = path / REPORT if os.path.isdir(path) else path  # noqa: PTH112 - unlike Path.is_dir it raises for no name
    card, digest = codec.read_with_digest(report)
    if report.name != REPORT:
        return Run(card, {})
    card = _timed(card, report.with_name(TIMING))
    arrays = report.with_name(COLUMNS)
    if not arrays.exists():
        return Run(card, {})
    try:
        columns, metadata = unpack(files.read(arrays, most=MAX_COLUMN_BYTES))
    except (OSError, ValueError) as error:
        raise CardError("the stored predictions cannot be read", path=str(arrays), hint="measure again") from error
    ours = metadata.get("card") == digest if codec.is_first_version(card) else card.predictions == digest_of(columns)
    if not ours:
        raise CardError("the stored predictions were edited or belong to another card", path=str(arrays), hint="measure again")
    return Run(card, columns)


def _timed(card: Card, path: Path) -> Card:
    """The card with the timing stored at `path`; it decides nothing, so one that is absent or damaged is no error."""
    try:
        return card.model_copy(
            update={"timing": Timing.model_validate_json(files.read(path, most=MAX_TIMING_BYTES), strict=True)}
        )
    except (OSError, ValueError):
        return card


def digest_of(columns: Columns) -> str | None:
    """``sha256:…`` of all columns of all views, None where there are none."""
    if not columns:
        return None
    views = {view: digest_of_view(named) for view, named in columns.items()}
    return "sha256:" + hashlib.sha256(json.dumps(views, sort_keys=True).encode()).hexdigest()


def digest_of_view(named: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the columns of one view: names, types, shapes and values."""
    state = hashlib.sha256()
    for name in sorted(named):
        values = named[name]
        state.update(f"{name} {values.dtype} {values.shape}".encode())
        state.update(values.tobytes())
    return state.hexdigest()


def pack(columns: Columns) -> bytes:
    """Columns as one safetensors file."""
    return save({f"{view}|{name}": np.ascontiguousarray(v) for view, named in columns.items() for name, v in named.items()})


def unpack(data: bytes) -> tuple[Columns, Mapping[str, str]]:
    """The columns of `pack`, and the metadata of a file of version 1.0.

    Raises:
        ValueError: not a file of ours.
    """
    try:
        flat = load(data)  # first, because it bounds what the header may be
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    columns: dict[str, dict[str, np.ndarray]] = {}
    for key, values in flat.items():
        view, _, name = key.rpartition("|")
        columns.setdefault(view, {})[name] = values
    return columns, header.get("__metadata__", {})
