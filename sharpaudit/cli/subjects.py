"""What does a path on the command line stand for? A stored run, or a checkpoint that has to be audited first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sharpaudit.cli.layers import requests
from sharpaudit.cli.parameters import with_parameters
from sharpaudit.errors import CardError, UsageError
from sharpaudit.request import Request

if TYPE_CHECKING:
    from sharpaudit.store import Run

OPTIONS = with_parameters(
    Request, shown=("data", "train_data", "architecture", "probes", "seed", "device", "trusted_keys"), optional=("data",)
)
"""The options of a command that audits the checkpoints among its subjects: all of ``measure``, the usual ones in its help."""


def runs_of(context: typer.Context, subjects: Sequence[Path], settings: Mapping[str, Any]) -> Iterator[Run]:
    """The run of each subject, read when it is its turn, so that a thousand can be taken one by one.

    A checkpoint is audited into sharpaudit-runs/NAME, or what is stored there of it is used; that comes before the first run.

    Raises:
        CardError: nothing is there, or no readable card.
        UsageError: a checkpoint, and no data to audit it on or only trusted keys to vouch for it.
        UnsafeInput: a run that no trusted key has signed.
        SharpauditError: as an audit.
    """
    from sharpaudit import store
    from sharpaudit.signatures import read_keys

    trusted = read_keys(Path(settings["trusted_keys"])) if "trusted_keys" in settings else None
    for subject in subjects:
        if not os.path.exists(subject):  # noqa: PTH110 - unlike Path.exists it raises for no name
            raise CardError("there is no such run or checkpoint", path=str(subject), hint="`sharpaudit measure` makes runs")
        if subject.is_dir() and not _is_run(subject) and store.state_of(subject):
            raise CardError("the run is not finished", path=str(subject), hint="`sharpaudit show` says how far it is")
        if trusted is not None and not _is_run(subject):
            hint = "measure it, sign the run, and give that"
            raise UsageError("nobody has signed an audit that is still to be made", path=str(subject), hint=hint)
        if "data" not in settings and not _is_run(subject):
            raise UsageError("auditing a checkpoint needs --data", path=str(subject), hint="or give the folder of its run")
    audited = iter(_audit(context, [subject for subject in subjects if not _is_run(subject)], settings))
    for subject in subjects:
        yield store.load_run(subject, trusted) if _is_run(subject) else next(audited)


def _is_run(subject: Path) -> bool:
    return (subject / "report.json").exists() or subject.suffix == ".json"


def _audit(context: typer.Context, checkpoints: list[Path], settings: Mapping[str, Any]) -> list[Run]:
    if not checkpoints:
        return []
    from sharpaudit.cli.running import audit_into, run_folders

    asked = requests(context, checkpoints, settings)
    return [audit_into(folder, each) for folder, each in zip(run_folders(checkpoints), asked, strict=True)]
