"""`sharpaudit compare`: two or more checkpoints or stored runs, side by side, with the uncertainty of every difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharpaudit.cli.app import Json, app, option
from sharpaudit.errors import CardError, UsageError

if TYPE_CHECKING:
    from sharpaudit.store import Run


@app.command()
def compare(
    subjects: Annotated[list[Path], typer.Argument(metavar="A B [C...]", help="Run folders, report.json files or checkpoints.")],
    data: Annotated[str | None, option("--data", "Test images, to audit checkpoints on.", metavar="D")] = None,
    train_data: Annotated[str | None, option("--train-data", "Training images, for the same.", metavar="D")] = None,
    arch: Annotated[str | None, option("--arch", "Architecture of the checkpoints; else from the files.")] = None,
    probes: Annotated[str, option("--probes", "quick, standard, deep, or probes separated by commas.")] = "standard",
    seed: Annotated[int, option("--seed", "Of every random choice.", min=0, max=2**63 - 1)] = 0,
    device: Annotated[str, option("--device", "auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Write comparison.json and .md there.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare audits of the same data: differences, disagreement, and whether sharper goes with safer.

    Stored runs need no model. Checkpoints are audited first, into sharpaudit-runs/NAME.
    """
    from sharpaudit import store
    from sharpaudit.card import codec
    from sharpaudit.compare import compare as compare_runs
    from sharpaudit.metrics.predictions import Predictions
    from sharpaudit.report.comparison import markdown, terminal

    if len(subjects) < 2:
        raise UsageError("expected at least two runs or checkpoints to compare, got one")
    stored = [(subject.is_dir() and (subject / store.REPORT).exists()) or subject.suffix == ".json" for subject in subjects]
    if not all(stored) and data is None:
        named = next(subject for subject, is_run in zip(subjects, stored, strict=True) if not is_run)
        raise UsageError(
            f"'{named.name}' is not a stored run, and auditing it needs --data", hint="see sharpaudit compare --help"
        )
    runs = [store.load_run(subject) for subject, is_run in zip(subjects, stored, strict=True) if is_run]
    if data is not None:
        checkpoints = [subject for subject, is_run in zip(subjects, stored, strict=True) if not is_run]
        audited = iter(_audit(checkpoints, data, train_data, arch, probes, seed, device))
        known = iter(runs)
        runs = [next(known) if is_run else next(audited) for is_run in stored]
    columns = [{view: Predictions.from_columns(named) for view, named in run.columns.items()} for run in runs]
    comparison = compare_runs([run.card for run in runs], columns)
    document = codec.dumps(comparison.model_dump(mode="json", by_alias=True))
    if out is not None:
        store.write(out / "comparison.json", document)
        store.write(out / "comparison.md", markdown(comparison))
    print(document if json else terminal(comparison), end="")


def _audit(
    checkpoints: list[Path], data: str, train_data: str | None, arch: str | None, probes: str, seed: int, device: str
) -> list[Run]:
    from sharpaudit.audit import Request
    from sharpaudit.cli.measure import audit_into, run_folders, search_path
    from sharpaudit.workbench import BenchSettings

    requests = [
        Request(
            checkpoint=checkpoint,
            data=data,
            train_data=train_data,
            architecture=arch,
            probes=probes,
            bench=BenchSettings(seed=seed, device=device),
            search=search_path(),
        )
        for checkpoint in checkpoints
    ]
    return [audit_into(folder, request) for folder, request in zip(run_folders(checkpoints), requests, strict=True)]
