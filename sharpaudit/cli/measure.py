"""`sharpaudit measure`: audit checkpoints and write a run folder for each."""

from __future__ import annotations

import os
import re
import sys
import time
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sharpaudit.cli.app import Json, app, option, output
from sharpaudit.cli.layers import ConfigFile, configured, probe_options, probe_selection
from sharpaudit.cli.progress import progress_bar
from sharpaudit.cli.streams import screen
from sharpaudit.errors import WORST_FIRST, ExitCode, SharpauditError, UsageError, clean

if TYPE_CHECKING:
    from sharpaudit.audit import Request
    from sharpaudit.store import Run

RUNS = Path("sharpaudit-runs")

Text = str | None
Precision = Literal["auto", "float32", "float64"]


OnBadSample = Literal["fail", "skip"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


def _budget(flag: str) -> Any:
    """An option that raises a budget of the readers; left out of the help, since the refusal that needs it names it."""
    return typer.Option(flag, hidden=True, min=1)


@app.command()
def measure(
    context: typer.Context,
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CKPT...", help=".safetensors, .pt, .pth, .th, .bin or a folder.")],
    data: Annotated[
        str,
        typer.Option("--data", metavar="D", help="Test images: digits, npz:PATH, imagefolder:PATH, cifar10, cifar10-c, …"),
    ],
    train_data: Annotated[Text, option("--train-data", "Training images: generalisation gap and curvature.", metavar="D")] = None,
    arch: Annotated[Text, option("--arch", "timm:NAME, torchvision:NAME, zoo:NAME, file.py:factory; else from the file.")] = None,
    weights: Annotated[str, option("--weights", "Of a training checkpoint: auto, ema, raw, a key or a PREFIX.")] = "auto",
    probes: Annotated[str, option("--probes", "quick, standard, deep, or probes separated by commas.")] = "standard",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PROBE.OPTION=VALUE", help="One option of one probe; repeatable.")
    ] = None,
    out: Annotated[Path | None, output("RUN", "Run folder [sharpaudit-runs/NAME].")] = None,
    limit: Annotated[int | None, option("--limit", "Use only the first N test images.", min=1)] = None,
    mean: Annotated[Text, option("--mean", "Normalisation mean per channel, e.g. 0.485,0.456,0.406.")] = None,
    std: Annotated[Text, option("--std", "Normalisation standard deviation per channel.")] = None,
    input_size: Annotated[Text, option("--input-size", "Of the network: channels,height,width.", metavar="C,H,W")] = None,
    interpolation: Annotated[Interpolation | None, option("--interpolation", "How images are resized.")] = None,
    crop_pct: Annotated[
        float | None, option("--crop-pct", "Share of a resized image that the centre crop takes.", min=0.01, max=1.0)
    ] = None,
    num_classes: Annotated[
        int | None, option("--num-classes", "Outputs the network must have; else from its weights.", min=2)
    ] = None,
    class_map: Annotated[
        Text, option("--class-map", "Which output each class of the data is: lines of a class and a number.", metavar="FILE")
    ] = None,
    input_range: Annotated[Text, option("--input-range", "Black and white of floating-point images.", metavar="LOW,HIGH")] = None,
    synthesise: Annotated[
        bool, option("--synthesise", "Corrupt the images of a -c set ourselves (synthetic-c), reading no published files.")
    ] = False,
    bad_sample: Annotated[OnBadSample, option("--on-bad-sample", "What an image that cannot be decoded does.")] = "fail",
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links out of the image folder.")] = False,
    max_bytes: Annotated[int | None, _budget("--max-bytes")] = None,
    max_pixels: Annotated[int | None, _budget("--max-pixels")] = None,
    max_file_bytes: Annotated[int | None, _budget("--max-file-bytes")] = None,
    max_header_bytes: Annotated[int | None, _budget("--max-header-bytes")] = None,
    max_tensors: Annotated[int | None, _budget("--max-tensors")] = None,
    max_name_chars: Annotated[int | None, _budget("--max-name-chars")] = None,
    max_rank: Annotated[int | None, _budget("--max-rank")] = None,
    max_pickle_steps: Annotated[int | None, _budget("--max-pickle-steps")] = None,
    max_depth: Annotated[int | None, _budget("--max-depth")] = None,
    max_view_excess_bytes: Annotated[int | None, _budget("--max-view-excess-bytes")] = None,
    probe_examples: Annotated[int, option("--probe-examples", "Images of the frozen curvature probe set.", min=1)] = 512,
    precision: Annotated[Precision, option("--precision", "Of the curvature computations.")] = "auto",
    batch_size: Annotated[int, option("--batch-size", "Images in one forward pass.", min=1, max=2**20)] = 256,
    device: Annotated[str, option("--device", "auto, cpu, cuda or cuda:N.")] = "auto",
    seed: Annotated[int, option("--seed", "Of every random choice.", min=0, max=2**63 - 1)] = 0,
    config: ConfigFile = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what an earlier run has finished.")] = False,
    max_time: Annotated[
        Text, option("--max-time", "For each checkpoint: 90s, 10m, 1h30m, …; what would take longer is left out.", metavar="TIME")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and its cost; measure nothing.")] = False,
    plugins: Annotated[
        bool, typer.Option("--plugins", help="Run probes of other packages: with deep, or named in a file.")
    ] = False,
    allow_code: Annotated[bool, typer.Option("--allow-code", help="Run a Python file that --arch or --data names.")] = False,
    allow_inert: Annotated[bool, typer.Option("--allow-inert", help="Read tensors beside code in the file; run none.")] = False,
    allow_nonfinite: Annotated[bool, typer.Option("--allow-nonfinite", help="Measure NaN and infinite weights too.")] = False,
    allow_partial: Annotated[bool, typer.Option("--allow-partial", help="Go on without cells that a -c set lacks.")] = False,
    allow_missing: Annotated[
        list[str] | None,
        typer.Option("--allow-missing", metavar="PATTERN", help="Tensors that the file may lack, as in '*.bias'; repeatable."),
    ] = None,
    no_setup_check: Annotated[
        bool, typer.Option("--no-setup-check", hidden=True, help="Do not ask a few images whether the set-up is right.")
    ] = False,
    json: Json = False,
) -> int:
    """Audit checkpoints on a data set and write a report card for each."""
    from sharpaudit.audit import Request
    from sharpaudit.checkpoints import Limits, PreprocessingOverrides
    from sharpaudit.data import Reading
    from sharpaudit.workbench import BenchSettings

    if out is not None and len(checkpoints) > 1:
        raise UsageError("-o names one run folder and several checkpoints were given", hint="leave -o out")
    size = _numbers("--input-size", input_size, (3,))
    overrides = PreprocessingOverrides(
        mean=_numbers("--mean", mean, (1, 3)),
        std=_numbers("--std", std, (1, 3)),
        input_size=(int(size[0]), int(size[1]), int(size[2])) if size else None,
        interpolation=interpolation,
        crop_pct=crop_pct,
    )
    range_ = _numbers("--input-range", input_range, (2,))
    given = {
        name: value
        for name, value in context.params.items()
        if name.startswith("max_") and name != "max_time" and value is not None
    }
    ours = {name: given.pop(name) for name in ("max_bytes", "max_pixels") if name in given}
    reading = Reading(
        input_range=(range_[0], range_[1]) if range_ else None, bad_samples=bad_sample, follow_links=follow_links, **ours
    )
    selection = probe_selection(context)
    options = probe_options(context, selection)
    requests = [
        Request(
            checkpoint=checkpoint,
            data=data,
            train_data=train_data,
            architecture=arch,
            weights=weights,
            preprocessing=overrides,
            num_classes=num_classes,
            class_map=Path(class_map) if class_map else None,
            limits=Limits(**given),
            reading=reading,
            probes=selection,
            options=options,
            limit=limit,
            synthesise=synthesise,
            allow_partial=allow_partial,
            bench=BenchSettings(
                seed=seed, batch_size=batch_size, probe_examples=probe_examples, precision=precision, device=device
            ),
            search=search_path(),
            allow_code=allow_code,
            allow_inert=allow_inert,
            allow_nonfinite=allow_nonfinite,
            setup_check=not no_setup_check,
            allow_missing=tuple(allow_missing or ()),
            settings=configured(context, options),
        )
        for checkpoint in checkpoints
    ]
    folders = [out] if out is not None else run_folders(checkpoints)
    if dry_run:
        return _print_plan(requests[0], folders[0], as_json=json)
    return _audit_all(requests, folders, as_json=json, force=force, max_seconds=duration("--max-time", max_time))


def search_path() -> tuple[Path, ...]:
    """The folders of ``SHARPAUDIT_DATA`` in which data sets are looked up by name."""
    return tuple(Path(folder) for folder in os.environ.get("SHARPAUDIT_DATA", "").split(os.pathsep) if folder)


def run_folders(checkpoints: list[Path]) -> list[Path]:
    """Where the run of each checkpoint goes by default: named after the file, and apart when two files share a name."""
    stems = [checkpoint.stem or "checkpoint" for checkpoint in checkpoints]
    return [
        RUNS / (stem if stems.count(stem) == 1 else f"{checkpoint.absolute().parent.name}-{stem}")
        for stem, checkpoint in zip(stems, checkpoints, strict=True)
    ]


def _numbers(flag: str, text: str | None, counts: tuple[int, ...]) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts or not all(map(isfinite, numbers)):
        expected = " or ".join(map(str, counts))
        raise UsageError(f"{flag}: expected {expected} numbers separated by commas, got '{clean(text)}'")
    return numbers


def duration(flag: str, text: str | None) -> float:
    """Seconds of a text such as 90s, 10m or 1h30m; infinite when there is none.

    Raises:
        UsageError: a text of another form.
    """
    if text is None:
        return inf
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise UsageError(f"{flag}: expected a time such as 90s, 10m or 1h30m, got '{clean(text)}'")
    return float(seconds)


def _print_plan(request: Request, folder: Path, *, as_json: bool) -> int:
    from dataclasses import asdict

    from sharpaudit import audit
    from sharpaudit.card import codec
    from sharpaudit.device import peak_memory_mib

    prepared = audit.prepare(request)
    costs = audit.plan_costs(prepared, folder)
    seconds, memory = sum(cost.seconds for cost in costs), peak_memory_mib(prepared.settings.device)
    if as_json:
        rows = [{**asdict(cost), "passes": asdict(cost.passes)} for cost in costs]
        print(codec.dumps({"plan": rows, "seconds": seconds, "memory_mib": memory}), end="")
        return ExitCode.DONE
    print(f"{'probe':<20}{'forward':>12}{'backward':>12}{'hvp':>12}{'ggn':>12}{'seconds':>10}")
    for cost in costs:
        took = "stored" if cost.stored else f"{cost.seconds:,.1f}"
        counts = (cost.passes.forward, cost.passes.backward, cost.passes.hvp, cost.passes.ggn)
        print(f"{cost.probe:<20}{''.join(f'{count:>12,}' for count in counts)}{took:>10}")
    print(f"{'':<20}{'examples through the model':>48}{seconds:>10,.1f}")
    print(f"About {seconds:,.0f} s, timed on a few images, and at least {memory:,.0f} MiB of memory.")
    return ExitCode.DONE


def _audit_all(requests: list[Request], folders: list[Path], *, as_json: bool, force: bool, max_seconds: float) -> int:
    """Audit one after the other; a checkpoint that is refused does not keep the others from being measured."""
    from sharpaudit.card import codec

    documents: list[Any] = []
    codes: list[ExitCode] = []
    for request, folder in zip(requests, folders, strict=True):
        try:
            card = _audit_one(request, folder, as_json=as_json, force=force, max_seconds=max_seconds)
            documents.append(card)
            codes.append(ExitCode.INCONCLUSIVE if card["incomplete"] else ExitCode.DONE)
        except SharpauditError as error:
            if len(requests) == 1 or isinstance(error, UsageError):
                raise
            print(error, file=sys.stderr)
            documents.append({**error.as_json(), "file": clean(request.checkpoint.name)})
            codes.append(error.exit_code)
    if as_json:
        print(codec.dumps(documents[0] if len(documents) == 1 else documents), end="")
    return next(code for code in WORST_FIRST if code in codes)


def _audit_one(request: Request, folder: Path, *, as_json: bool, force: bool, max_seconds: float) -> dict[str, Any]:
    from sharpaudit import store
    from sharpaudit.card import codec
    from sharpaudit.report.terminal import terminal

    run = audit_into(folder, request, force=force, max_seconds=max_seconds)
    for probe in run.card.incomplete:
        print(f"not measured: {probe}: {run.card.probes[probe].reason}", file=sys.stderr)
    if not as_json:
        print(terminal(run.card, **screen()))
        print(f"reports: {clean(str(folder / 'report.html'), 500)} and report.md, report.json beside it", file=sys.stderr)
    return codec.loads(codec.encode(run.card), source=store.REPORT)


def audit_into(folder: Path, request: Request, *, force: bool = False, max_seconds: float = inf) -> Run:
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

            left = max_seconds - (time.monotonic() - started)
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

    store.write(folder / "report.md", markdown(run.card))
    store.write(folder / "report.html", html([run.card], guides()))
    store.save_run(folder, run)
