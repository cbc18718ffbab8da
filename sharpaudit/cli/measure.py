"""`sharpaudit measure`: audit checkpoints and write a run folder for each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sharpaudit.cli.app import Json, app, option, output, search_path
from sharpaudit.cli.budgets import budget, with_budgets
from sharpaudit.cli.dry_run import print_plan
from sharpaudit.cli.layers import ConfigFile, configured, probe_options, probe_selection
from sharpaudit.cli.running import audit_all, run_folders
from sharpaudit.cli.values import duration, numbers
from sharpaudit.errors import ExitCode, UsageError, clean

LEAST_RANGE = 1e-6
"""Between black and white."""

Text = str | None
Precision = Literal["auto", "float32", "float64"]
OnBadSample = Literal["fail", "skip"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


@app.command()
@with_budgets
def measure(
    context: typer.Context,
    checkpoints: Annotated[list[Path], typer.Argument(metavar="CKPT", help=".safetensors, .pt, .pth, .th, .bin or a folder.")],
    data: Annotated[
        str,
        typer.Option("--data", metavar="D", help="Test images: digits, npz:PATH, imagefolder:PATH, cifar10, cifar10-c, …"),
    ],
    limits: Any,  # a checkpoints.Limits, made by with_budgets
    train_data: Annotated[Text, option("--train-data", "Training images: generalisation gap and curvature.", metavar="D")] = None,
    arch: Annotated[
        Text,
        option(
            "--arch",
            "timm:NAME, torchvision:NAME, zoo:NAME, 'mlp(784-50-10, relu)', file.py:factory; else from the file.",
            metavar="ARCH",
        ),
    ] = None,
    weights: Annotated[
        str, option("--weights", "Of a training checkpoint: auto, ema, raw, a key or a PREFIX.", metavar="WHICH")
    ] = "auto",
    probes: Annotated[
        str, option("--probes", "quick, standard, deep, or probes separated by commas.", metavar="PROBES")
    ] = "standard",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PROBE.OPTION=VALUE", help="One option of one probe; repeatable.")
    ] = None,
    out: Annotated[Path | None, output("RUN", "Run folder [sharpaudit-runs/NAME].")] = None,
    limit: Annotated[int | None, option("--limit", "Use only the first N test images.", metavar="N", min=1)] = None,
    mean: Annotated[Text, option("--mean", "Normalisation mean per channel, e.g. 0.485,0.456,0.406.", metavar="X[,X,X]")] = None,
    std: Annotated[Text, option("--std", "Normalisation standard deviation per channel.", metavar="X[,X,X]")] = None,
    input_size: Annotated[Text, option("--input-size", "Of the network: channels,height,width.", metavar="C,H,W")] = None,
    interpolation: Annotated[Interpolation | None, option("--interpolation", "How images are resized.")] = None,
    crop_pct: Annotated[
        float | None,
        option("--crop-pct", "Share of a resized image that the centre crop takes.", metavar="SHARE", min=0.01, max=1.0),
    ] = None,
    num_classes: Annotated[
        int | None, option("--num-classes", "Outputs the network must have; else from its weights.", metavar="N", min=2)
    ] = None,
    class_map: Annotated[
        Text, option("--class-map", "Which output each class of the data is: lines of a class and a number.", metavar="FILE")
    ] = None,
    input_range: Annotated[
        Text, option("--input-range", "Black and white of floating-point images, e.g. 0,255.", metavar="LOW,HIGH")
    ] = None,
    synthesise: Annotated[
        bool, option("--synthesise", "Corrupt the images of a -c set ourselves (synthetic-c), reading no published files.")
    ] = False,
    bad_sample: Annotated[OnBadSample, option("--on-bad-sample", "What an image that cannot be decoded does.")] = "fail",
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow links out of the image folder.")] = False,
    max_bytes: Annotated[int | None, budget("--max-bytes")] = None,
    max_pixels: Annotated[int | None, budget("--max-pixels")] = None,
    probe_examples: Annotated[
        int, option("--probe-examples", "Images of the frozen curvature probe set.", metavar="N", min=1)
    ] = 512,
    trainable_only: Annotated[
        bool, typer.Option("--trainable-only", help="Hold frozen parameters constant in curvature and perturbations.")
    ] = False,
    precision: Annotated[Precision, option("--precision", "Of the curvature computations.")] = "auto",
    batch_size: Annotated[
        int | None,
        option("--batch-size", "Images in one forward pass; else what suits the device.", metavar="N", min=1, max=2**20),
    ] = None,
    device: Annotated[str, option("--device", "auto, cpu, cuda, cuda:N or mps.", metavar="DEVICE")] = "auto",
    seed: Annotated[int, option("--seed", "Of every random choice.", metavar="N", min=0, max=2**63 - 1)] = 0,
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
    from sharpaudit.checkpoints import PreprocessingOverrides
    from sharpaudit.data import Reading
    from sharpaudit.workbench import BenchSettings

    if out is not None and len(checkpoints) > 1:
        raise UsageError("-o names one run folder and several checkpoints were given", hint="leave -o out")
    size = numbers("--input-size", input_size, (3,), whole=True)
    overrides = PreprocessingOverrides(
        mean=numbers("--mean", mean, (1, 3)),
        std=numbers("--std", std, (1, 3)),
        input_size=(int(size[0]), int(size[1]), int(size[2])) if size else None,
        interpolation=interpolation,
        crop_pct=crop_pct,
    )
    range_ = numbers("--input-range", input_range, (2,))
    if range_ and range_[1] - range_[0] < LEAST_RANGE:
        raise UsageError(f"--input-range: expected LOW below HIGH, got '{clean(input_range or '')}'")
    raised: dict[str, Any] = {"max_bytes": max_bytes, "max_pixels": max_pixels}
    reading = Reading(
        input_range=(range_[0], range_[1]) if range_ else None,
        bad_samples=bad_sample,
        follow_links=follow_links,
        **{name: most for name, most in raised.items() if most is not None},
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
            limits=limits,
            reading=reading,
            probes=selection,
            options=options,
            limit=limit,
            synthesise=synthesise,
            allow_partial=allow_partial,
            bench=BenchSettings(
                seed=seed,
                batch_size=batch_size,
                probe_examples=probe_examples,
                precision=precision,
                trainable_only=trainable_only,
                device=device,
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
        print_plan(requests[0], folders[0], as_json=json)
        return ExitCode.DONE
    return audit_all(requests, folders, as_json=json, force=force, max_seconds=duration("--max-time", max_time))
