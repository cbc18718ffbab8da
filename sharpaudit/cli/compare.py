"""`sharpaudit compare`: two or more checkpoints or stored runs, side by side, with the uncertainty of every difference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpaudit.cli.app import Json, app, output
from sharpaudit.cli.layers import ConfigFile, ProbeOptions
from sharpaudit.cli.streams import screen
from sharpaudit.cli.subjects import OPTIONS, runs_of
from sharpaudit.errors import UsageError

if TYPE_CHECKING:
    from sharpaudit.comparison import Comparison
    from sharpaudit.store import Run


@app.command()
@OPTIONS
def compare(
    context: typer.Context,
    subjects: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Two or more run folders, report.json files or checkpoints.")
    ],
    settings: Mapping[str, Any],
    options: ProbeOptions = None,
    conditions: Annotated[
        str | None,
        typer.Option(metavar="REGEX|FILE", help="A model's condition: a group in its file name, or FILE.csv or .yaml[:COLUMN]."),
    ] = None,
    out: Annotated[Path | None, output("FOLDER", "Write comparison.json, .md and .html there.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Compare two or more audits of the same data.

    Differences and disagreement with their uncertainty, and whether sharper goes with safer. Stored runs need no model.
    Checkpoints are audited first, into sharpaudit-runs/NAME, with any option of `measure`.
    """
    from sharpaudit import store

    if len(subjects) < 2:
        raise UsageError("expected at least two runs or checkpoints to compare, got one")
    if out is not None:
        store.check_folder(out)
    runs = runs_of(context, subjects, settings)
    show(compared(runs, conditions), out, as_json=json)


def compared(runs: Iterable[Run], conditions: str | None) -> Comparison:
    """The comparison of stored runs; `conditions` says how each model was trained, as `compare.conditions` reads it."""
    from sharpaudit.comparison import compare_many, compare_runs
    from sharpaudit.comparison.conditions import conditions as find

    def known(files: Sequence[str]) -> Mapping[str, str]:
        return find(files, conditions) if conditions else {}

    remaining = iter(runs)
    first = list(islice(remaining, 3))
    if len(first) < 3:
        return compare_runs(*first, conditions=known([run.card.subject.file for run in first]))
    return compare_many(chain(first, remaining), known)


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
    text = document if as_json else terminal(comparison, **screen())
    print(text, end="" if text.endswith("\n") else "\n")
