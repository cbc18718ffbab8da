"""A card and the per-example columns behind it: how are they kept together?

The columns file carries the digest of the card it belongs to; a folder whose two files do not fit together is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sharpaudit.card import Card, codec
from sharpaudit.errors import CardError
from sharpaudit.store.files import write

REPORT = "report.json"
COLUMNS = "predictions.safetensors"

Columns = Mapping[str, Mapping[str, np.ndarray]]
"""view → column name → values, one per example."""


@dataclass(frozen=True)
class Run:
    """A card and the per-example columns behind it; no columns when only the card was kept."""

    card: Card
    columns: Columns


def save_run(folder: Path, run: Run) -> None:
    """Write the card and its columns into `folder`; the card last, because its presence says that the run is complete."""
    write(folder / COLUMNS, pack(run.columns, {"card": codec.digest(run.card)}))
    write(folder / REPORT, codec.encode(run.card))


def load_run(path: Path) -> Run:
    """The run in the folder `path`, or the one whose `report.json` is `path`; columns are empty when only a card is there.

    Raises:
        CardError: no readable card, or columns that belong to another card.
    """
    report = path / REPORT if os.path.isdir(path) else path  # noqa: PTH112 - unlike Path.is_dir it raises for no name
    card, digest = codec.read_with_digest(report)
    arrays = report.with_name(COLUMNS)
    if report.name != REPORT or not arrays.exists():
        return Run(card, {})
    try:
        columns, metadata = unpack(arrays.read_bytes())
    except (OSError, ValueError) as error:
        raise CardError("the stored predictions cannot be read", path=str(arrays), hint="measure again") from error
    if metadata.get("card") != digest:
        raise CardError("the stored predictions belong to another card", path=str(arrays), hint="measure again")
    return Run(card, columns)


def pack(columns: Columns, metadata: Mapping[str, str]) -> bytes:
    """Columns as one safetensors file."""
    flat = {f"{view}|{name}": np.ascontiguousarray(v) for view, named in columns.items() for name, v in named.items()}
    return save(flat, metadata=dict(metadata))


def unpack(data: bytes) -> tuple[Columns, Mapping[str, str]]:
    """The columns and the metadata of `pack`.

    Raises:
        ValueError: not a file of ours.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        flat = load(data)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    columns: dict[str, dict[str, np.ndarray]] = {}
    for key, values in flat.items():
        view, _, name = key.rpartition("|")
        columns.setdefault(view, {})[name] = values
    return columns, header.get("__metadata__", {})
