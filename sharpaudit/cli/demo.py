"""`sharpaudit demo`: the whole job on the bundled checkpoints, without network or flags."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sharpaudit.cli.app import app

CHECKPOINTS = Path(__file__).parents[1] / "demo"
DATA, TRAIN_DATA = "digits", "digits:train"
PAIR = ("baseline-seed0", "augmentation_sam-seed0")
"""The two that the demo compares: the plain recipe, and the one that regularises most."""


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where the reports go.")] = Path("sharpaudit-demo"),
    probes: Annotated[str, typer.Option("--probes", help="quick, standard, deep, or probes separated by commas.")] = "standard",
) -> None:
    """Audit the bundled checkpoints on the bundled digits, compare them, and say where the reports are."""
    from sharpaudit import store
    from sharpaudit.audit import Request
    from sharpaudit.card import codec
    from sharpaudit.cli.measure import audit_into
    from sharpaudit.compare import compare
    from sharpaudit.metrics.predictions import Predictions
    from sharpaudit.report.comparison import markdown, terminal
    from sharpaudit.report.html import html

    files = sorted(CHECKPOINTS.glob("*.safetensors"))
    runs = {}
    for number, file in enumerate(files, 1):
        print(f"[{number}/{len(files)}] {file.stem}", file=sys.stderr)
        request = Request(checkpoint=file, data=DATA, train_data=TRAIN_DATA, probes=probes)
        runs[file.stem] = audit_into(out / file.stem, request)
    first, second = (runs[name] for name in PAIR)
    columns = [{view: Predictions.from_columns(named) for view, named in run.columns.items()} for run in (first, second)]
    comparison = compare([first.card, second.card], columns)
    store.write(out / "comparison.json", codec.dumps(comparison.model_dump(mode="json", by_alias=True)))
    store.write(out / "comparison.md", markdown(comparison))
    store.write(out / "report.html", html([run.card for run in runs.values()]))
    print(terminal(comparison))
    print(f"Reports of all {len(runs)} checkpoints: {out / 'report.html'}; one folder for each beside it.")
