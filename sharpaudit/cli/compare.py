"""`sharpaudit compare`: two or more checkpoints or stored runs, side by side, with the uncertainty of every difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharpaudit.cli.app import Json, app, option, output
from sharpaudit.cli.layers import ConfigFile, layers
from sharpaudit.errors import CardError, UsageError, clean

if TYPE_CHECKING:
    from sharpaudit.compare import Comparison
    from sharpaudit.store import Run


@app.command()
def compare(
    context: typer.Context,
    subjects: Annotated[list[Path], typer.Argument(metavar="A B [C...]", help="Run folders, report.json files or checkpoints.")],
    data: Annotated[str | None, typer.Option("--data", metavar="D", help="Test images, to audit checkpoints on.")] = None,
    train_data: Annotated[str | None, option("--train-data", "Training images, for the same.", metavar="D")] = None,
    arch: Annotated[str | None, option("--arch", "Architecture of the checkpoints; else from the files.")] = None,
    probes: Annotated[str, option("--probes", "quick, standard, deep, or probes separated by commas.")] = "standard",
    seed: Annotated[int, option("--seed", "Of every random choice.", min=0, max=2**63 - 1)] = 0,
    device: Annotated[str, option("--device", "auto, cpu, cuda or cuda:N.")] = "auto",
    conditions: Annotated[
        str | None,
        typer.Option(metavar="REGEX|FILE", help="A model's condition: a group in its file name, or FILE.csv or .yaml[:COLUMN]."),
    ] = None,
    out: Annotated[Path | None, output("FOLDER", "Write comparison.json, .md and .html there.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Compare audits of the same data: differences, disagreement, and whether sharper goes with safer.

    Stored runs need no model. Checkpoints are audited first, into sharpaudit-runs/NAME.
    """
    if len(subjects) < 2:
        raise UsageError("expected at least two runs or checkpoints to compare, got one")
    for subject in subjects:
        if not subject.exists():
            raise CardError("there is no such run or checkpoint", path=str(subject), hint="`sharpaudit measure` makes runs")
        if data is None and not _is_run(subject):
            raise UsageError("auditing a checkpoint needs --data", path=str(subject), hint="or give the folder of its run")
    from sharpaudit import store

    checkpoints = [subject for subject in subjects if not _is_run(subject)]
    if checkpoints:
        _refuse_idle_settings(context)
    audited = iter(_audit(checkpoints, data, train_data, arch, probes, seed, device) if data is not None else [])
    runs = [store.load_run(subject) if _is_run(subject) else next(audited) for subject in subjects]
    show(compared(runs, conditions), out, as_json=json)


def compared(runs: Sequence[Run], conditions: str | None) -> Comparison:
    """The comparison of stored runs; `conditions` says how each model was trained, as `compare.conditions` reads it."""
    from sharpaudit.compare import compare_runs
    from sharpaudit.compare.conditions import conditions as find

    names = [run.card.subject.file for run in runs]
    return compare_runs(*runs, conditions=find(names, conditions) if conditions else None)


def show(comparison: Comparison, out: Path | None, *, as_json: bool = False) -> None:
    """Print the comparison, and write it as comparison.json, .md and .html into `out`."""
    from sharpaudit import store
    from sharpaudit.card import codec
    from sharpaudit.report.comparison import html, markdown, terminal

    document = codec.dumps(comparison.model_dump(mode="json", by_alias=True))
    if out is not None:
        store.write(out / "comparison.json", document)
        store.write(out / "comparison.md", markdown(comparison))
        store.write(out / "comparison.html", html(comparison))
    text = document if as_json else terminal(comparison)
    print(text, end="" if text.endswith("\n") else "\n")


def _is_run(subject: Path) -> bool:
    return (subject / "report.json").exists() or subject.suffix == ".json"


def _refuse_idle_settings(context: typer.Context) -> None:
    """Refuse to audit checkpoints while a file asks for something that only `measure` can do."""
    for layer in layers(context):
        idle = next((name for name in [*layer.values, *(["set"] if layer.options else [])] if name not in context.params), None)
        if idle is not None:
            hint = "`sharpaudit measure` the checkpoints and compare their runs"
            raise UsageError(f"compare cannot audit with '{clean(idle)}'", path=str(layer.path), hint=hint)


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
