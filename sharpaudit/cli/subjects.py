"""What does a path on the command line stand for? A stored run, or a checkpoint that has to be audited first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharpaudit.cli.app import option, search_path
from sharpaudit.cli.layers import layers, probe_selection
from sharpaudit.errors import CardError, UsageError, clean

if TYPE_CHECKING:
    from sharpaudit.store import Run

Data = Annotated[str | None, typer.Option("--data", metavar="D", help="Test images, to audit checkpoints on.")]
TrainData = Annotated[str | None, option("--train-data", "Training images, for the same.", metavar="D")]
Architecture = Annotated[str | None, option("--arch", "Architecture of the checkpoints; else from the files.", metavar="ARCH")]
Probes = Annotated[str, option("--probes", "quick, standard, deep, or probes separated by commas.", metavar="PROBES")]
Seed = Annotated[int, option("--seed", "Of every random choice.", metavar="N", min=0, max=2**63 - 1)]
Device = Annotated[str, option("--device", "auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")]


@dataclass(frozen=True)
class Auditing:
    """How checkpoints among the subjects are audited."""

    data: str | None
    train_data: str | None
    arch: str | None
    seed: int
    device: str


def runs_of(context: typer.Context, subjects: Sequence[Path], auditing: Auditing) -> Iterator[Run]:
    """The run of each subject, read when it is its turn, so that a thousand can be taken one by one.

    A checkpoint is audited into sharpaudit-runs/NAME, or what is stored there of it is used; that comes before the first run.

    Raises:
        CardError: nothing is there, or no readable card.
        UsageError: a checkpoint, and no data to audit it on.
        SharpauditError: as an audit.
    """
    from sharpaudit import store

    for subject in subjects:
        if not os.path.exists(subject):  # noqa: PTH110 - unlike Path.exists it raises for no name
            raise CardError("there is no such run or checkpoint", path=str(subject), hint="`sharpaudit measure` makes runs")
        if subject.is_dir() and not _is_run(subject) and store.state_of(subject):
            raise CardError("the run is not finished", path=str(subject), hint="`sharpaudit show` says how far it is")
        if auditing.data is None and not _is_run(subject):
            raise UsageError("auditing a checkpoint needs --data", path=str(subject), hint="or give the folder of its run")
    audited = iter(_audit(context, [subject for subject in subjects if not _is_run(subject)], auditing))
    for subject in subjects:
        yield store.load_run(subject) if _is_run(subject) else next(audited)


def _is_run(subject: Path) -> bool:
    return (subject / "report.json").exists() or subject.suffix == ".json"


def _audit(context: typer.Context, checkpoints: list[Path], auditing: Auditing) -> list[Run]:
    if not checkpoints:
        return []
    _refuse_idle_settings(context)
    from sharpaudit.audit import Request
    from sharpaudit.cli.running import audit_into, run_folders
    from sharpaudit.workbench import BenchSettings

    requests = [
        Request(
            checkpoint=checkpoint,
            data=auditing.data or "",
            train_data=auditing.train_data,
            architecture=auditing.arch,
            probes=probe_selection(context),
            bench=BenchSettings(seed=auditing.seed, device=auditing.device),
            search=search_path(),
        )
        for checkpoint in checkpoints
    ]
    return [audit_into(folder, request) for folder, request in zip(run_folders(checkpoints), requests, strict=True)]


def _refuse_idle_settings(context: typer.Context) -> None:
    """Refuse to audit checkpoints while a file asks for something that only `measure` can do."""
    for layer in layers(context):
        idle = next((name for name in [*layer.values, *(["set"] if layer.options else [])] if name not in context.params), None)
        if idle is not None:
            hint = "`sharpaudit measure` the checkpoints and give their runs"
            raise UsageError(f"{context.info_name} cannot audit with '{clean(idle)}'", path=str(layer.path), hint=hint)
