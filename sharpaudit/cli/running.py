"""How are checkpoints audited from the command line? One after the other, under a progress bar, each into a run folder."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpaudit.cli.progress import progress_bar
from sharpaudit.cli.streams import screen
from sharpaudit.errors import WORST_FIRST, ExitCode, SharpauditError, UsageError, clean

if TYPE_CHECKING:
    from sharpaudit.card import Card
    from sharpaudit.request import Request
    from sharpaudit.store import Run

RUNS = Path("sharpaudit-runs")


def run_folders(checkpoints: list[Path]) -> list[Path]:
    """Where the run of each checkpoint goes by default: named after the file, and apart when two files share a name."""
    stems = [checkpoint.stem or "checkpoint" for checkpoint in checkpoints]
    return [
        RUNS / (stem if stems.count(stem) == 1 else f"{checkpoint.absolute().parent.name}-{stem}")
        for stem, checkpoint in zip(stems, checkpoints, strict=True)
    ]


def audit_all(requests: list[Request], folders: list[Path], *, as_json: bool, force: bool) -> int:
    """Audit one after the other; a checkpoint that is refused does not keep the others from being measured.

    The last line says so where anything that was asked for is not there.
    """
    from sharpaudit import store
    from sharpaudit.card import codec

    documents: list[Any] = []
    codes: list[ExitCode] = []
    for request, folder in zip(requests, folders, strict=True):
        try:
            card = _audit_one(request, folder, as_json=as_json, force=force)
            documents.append(codec.loads(codec.encode(card, timing=True), source=store.REPORT))
            codes.append(ExitCode.INCONCLUSIVE if card.lacking else ExitCode.DONE)
        except SharpauditError as error:
            if len(requests) == 1 or isinstance(error, UsageError):
                raise
            print(error, file=sys.stderr)
            documents.append({**error.as_json(), "file": clean(request.checkpoint.name)})
            codes.append(error.exit_code)
    if as_json:
        print(codec.dumps(documents[0] if len(documents) == 1 else documents), end="")
    return next(code for code in WORST_FIRST if code in codes)


def _audit_one(request: Request, folder: Path, *, as_json: bool, force: bool) -> Card:
    from sharpaudit.report.terminal import terminal

    card = audit_into(folder, request, force=force).card
    if not as_json:
        print(terminal(card, **screen()))
        print(f"reports: {clean(str(folder / 'report.html'), 500)} and report.md, report.json beside it", file=sys.stderr)
    for probe, reason in card.lacking.items():
        print(f"not measured: {probe}: {reason}", file=sys.stderr)
    if card.lacking:
        print(f"incomplete: {', '.join(card.lacking)}; exit code {ExitCode.INCONCLUSIVE:d}", file=sys.stderr)
    return card


def audit_into(folder: Path, request: Request, *, force: bool = False) -> Run:
    """Audit one checkpoint under a progress bar and write its run folder: the card, its columns, and the card as documents.

    Probes that an earlier run finished are not run again, unless `force`. An interrupted audit leaves the card of what it has.
    """
    from sharpaudit import audit, store

    store.check(folder)
    started = time.monotonic()
    with progress_bar(request.checkpoint.name) as report:
        prepared = audit.prepare(request, report)
        with store.claimed(folder) as claim:

            def progress(doing: str, fraction: float) -> None:
                report(doing, fraction)
                claim.progress(doing, fraction)

            left = request.max_time - (time.monotonic() - started)
            try:
                run = audit.run(prepared, progress, folder, reuse=not force, max_seconds=left)
            except audit.Stopped as stop:
                _write_documents(folder, stop.run)
                raise
            _write_documents(folder, run)
    return run


def _write_documents(folder: Path, run: Run) -> None:
    from sharpaudit import store
    from sharpaudit.cli.guides import guides
    from sharpaudit.report.html import html
    from sharpaudit.report.markdown import markdown

    timeless = run.card.model_copy(update={"timing": None})
    store.write(folder / "report.md", markdown(timeless))
    store.write(folder / "report.html", html([timeless], guides()))
    store.save_run(folder, run)
