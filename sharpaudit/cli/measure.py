"""`sharpaudit measure`: audit checkpoints and write a run folder for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from sharpaudit.cli.app import Json, app, output
from sharpaudit.cli.dry_run import print_plan
from sharpaudit.cli.layers import ConfigFile, ProbeOptions, requests
from sharpaudit.cli.parameters import with_parameters
from sharpaudit.cli.running import audit_all, run_folders
from sharpaudit.errors import ExitCode, UsageError
from sharpaudit.request import Request


@app.command()
@with_parameters(Request)
def measure(
    context: typer.Context,
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CKPT", help=".safetensors, .pt, .pth, .th, .bin or a folder.")],
    settings: Mapping[str, Any],
    options: ProbeOptions = None,
    out: Annotated[Path | None, output("RUN", "Run folder [sharpaudit-runs/NAME].")] = None,
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what an earlier run finished.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost without measuring.")] = False,
    plugins: Annotated[
        bool, typer.Option("--plugins", help="Run probes of other packages: with deep, or named in a file.")
    ] = False,
    json: Json = False,
) -> int:
    """Audit checkpoints on a data set and write a report card for each."""
    if out is not None and len(checkpoints) > 1:
        raise UsageError("-o names one run folder and several checkpoints were given", hint="leave -o out")
    asked = requests(context, checkpoints, settings)
    folders = [out] if out is not None else run_folders(checkpoints)
    if dry_run:
        print_plan(asked[0], folders[0], as_json=json)
        return ExitCode.DONE
    return audit_all(asked, folders, as_json=json, force=force)
