"""A card, the per-example columns behind it and what its audit took: how are they kept together?

The card holds the hash of the columns, so a folder whose files do not fit together is refused. What differs from run to run
stands in a file of its own: the same audit leaves the same bytes everywhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from sharpaudit import files, signatures
from sharpaudit.card import Card, Timing, codec
from sharpaudit.errors import CardError, UnsafeInput
from sharpaudit.store.files import write

REPORT = "report.json"
COLUMNS = "predictions.safetensors"
TIMING = "timing.json"
SIGNATURE = "report.sig"
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
    signed_by: str | None = None
    """The trusted key that signed both; None where nobody asked."""

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


def load_run(path: Path, trusted: Sequence[signatures.PublicKey] | None = None) -> Run:
    """The run in the folder `path`, or the one whose `report.json` is `path`; columns are empty when only a card is there.

    Args:
        path: where it is.
        trusted: the keys one of which must have signed card and columns; None asks for no signature.

    Raises:
        CardError: no readable card, or columns that are not those it was made from.
        UnsafeInput: it is not signed with a trusted key, or was changed since.
    """
    report = _report(path)
    stored = _stored(report)
    signed_by = None if trusted is None else _signer(report, stored, trusted)
    return _decoded(report, stored, signed_by)


def sign_run(folder: Path, key: Path) -> str:
    """Sign the run in `folder` with the private key in the file `key`, and return the key's fingerprint.

    Raises:
        CardError: as `load_run`.
        UsageError: the key cannot sign.
        EnvironmentFailure: the package for signatures is not installed, or the signature cannot be written.
    """
    report = _report(folder)
    if report.name != REPORT:
        raise CardError("a card out of its run folder cannot be signed", path=str(report), hint="give the folder of the run")
    stored = _stored(report)
    _decoded(report, stored, None)
    signature, fingerprint = signatures.sign(_hashes(stored), key, what=report.absolute().parent.name)
    write(report.with_name(SIGNATURE), signature)
    return fingerprint


def _report(path: Path) -> Path:
    return path / REPORT if os.path.isdir(path) else path  # noqa: PTH112 - unlike Path.is_dir it raises for no name


def _stored(report: Path) -> dict[str, bytes]:
    """The bytes of the card and, beside one in its folder, of its columns."""
    stored, arrays = {REPORT: codec.read_bytes(report)}, report.with_name(COLUMNS)
    if report.name == REPORT and os.path.lexists(arrays):
        try:
            stored[COLUMNS] = files.read(arrays, most=MAX_COLUMN_BYTES)
        except OSError as error:
            raise CardError("the stored predictions cannot be read", path=str(arrays), hint="measure again") from error
    return stored


def _decoded(report: Path, stored: Mapping[str, bytes], signed_by: str | None) -> Run:
    card, digest = codec.decode_with_digest(stored[REPORT], source=str(report))
    if report.name == REPORT:
        card = _timed(card, report.with_name(TIMING))
    if COLUMNS not in stored:
        return Run(card, {}, signed_by)
    arrays = str(report.with_name(COLUMNS))
    try:
        columns, metadata = unpack(stored[COLUMNS])
    except ValueError as error:
        raise CardError("the stored predictions cannot be read", path=arrays, hint="measure again") from error
    ours = metadata.get("card") == digest if codec.is_first_version(card) else card.predictions == digest_of(columns)
    if not ours:
        raise CardError("the stored predictions were edited or belong to another card", path=arrays, hint="measure again")
    return Run(card, columns, signed_by)


def _hashes(stored: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in stored.items()}


def _signer(report: Path, stored: Mapping[str, bytes], trusted: Sequence[signatures.PublicKey]) -> str:
    """Who signed the bytes that were read, and nothing of the run that is no longer there."""
    if report.name != REPORT:
        raise UnsafeInput("a card out of its run folder has no signature", path=str(report), hint="give the folder of the run")
    how, came = "`sharpaudit sign RUN --key KEY`, by someone you trust", _hashes(stored)
    signed = signatures.verified(report.with_name(SIGNATURE), trusted, whose="the run", how=how)
    for name in (REPORT, COLUMNS):
        if came.get(name) != signed.files.get(name):
            what = "was changed since, or is another run's" if name in came else "is missing"
            message = f"{name} {what}: it is not what {signed.key} signed"
            raise UnsafeInput(message, path=str(report.parent), hint=f"measure again, then {how}")
    return str(signed.key)


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
