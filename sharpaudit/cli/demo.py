"""`sharpaudit demo`: the whole job on the bundled checkpoints, without network or flags."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sharpaudit.cli.app import app, output
from sharpaudit.cli.streams import screen

CHECKPOINTS = Path(__file__).parents[1] / "demo"
DATA, TRAIN_DATA = "digits", "digits:train"
CONDITION = r"(.+)-seed"
"""Where the file names say how a network was trained."""
SHOWN = ("baseline", "weight_decay", "augmentation", "sam")
"""The conditions that are audited unless all are asked for."""
TOO_DEAR = frozenset(["worst_case"])
"""Standard probes that the demo leaves out."""
OPTIONS: dict[str, dict[str, Any]] = {
    "average_case": {"draws": 8},
    "spectrum": {"all_extremes": False, "density_starts": 0, "soft_rank_starts": 0},
    "reparametrisation": {"examples": 4},
}
"""What differs from the standard probes, for the time it saves."""
PAIR = ("baseline-seed0", "augmentation-seed0")
"""The two that are shown side by side."""


@app.command()
def demo(
    out: Annotated[Path, output("FOLDER", "Where the reports go.")] = Path("sharpaudit-demo"),
    everything: Annotated[bool, typer.Option("--all", help="All six ways of training, not four.")] = False,
) -> None:
    """Audit and compare the bundled networks on the bundled digits.

    Eight networks of 6,090 parameters: four ways of training, two seeds each. No network access, under a minute on two
    cores; the last lines say where the reports are.
    """
    from sharpaudit import store
    from sharpaudit.card import Setting
    from sharpaudit.cli.compare import compared, show
    from sharpaudit.cli.guides import guides
    from sharpaudit.cli.running import audit_into
    from sharpaudit.report.html import html
    from sharpaudit.report.terminal import terminal
    from sharpaudit.request import BenchSettings, Request

    options = audited()
    files = sorted(CHECKPOINTS.glob("*.safetensors"))
    if not everything:
        files = [file for file in files if file.stem.partition("-seed")[0] in SHOWN]
    runs = {}
    for number, file in enumerate(files, 1):
        print(f"[{number}/{len(files)}] {file.stem}", file=sys.stderr)
        request = Request(
            checkpoint=file,
            data=DATA,
            train_data=TRAIN_DATA,
            probes=",".join(options),
            options=options,
            bench=BenchSettings(device="cpu"),
            settings={name: Setting(value=value, origin="demo") for name, value in told_to_measure(options).items()},
        )
        runs[file.stem] = audit_into(out / file.stem, request)
    store.write(out / "report.html", html([run.card for run in runs.values()], guides()))
    print(terminal(runs[PAIR[0]].card, **screen()))
    show(compared([runs[name] for name in PAIR], None), out / "pair")
    print()
    show(compared(runs.values(), CONDITION), out)
    print(f"\nOne card:      {out / PAIR[0] / 'report.html'}")
    print(f"Two compared:  {out / 'pair' / 'comparison.html'}")
    print(f"All {len(runs)}:         {out / 'report.html'} and {out / 'comparison.html'}")


def audited() -> dict[str, dict[str, Any]]:
    """The probes of the demo with their options: the standard ones and theirs, where the demo does not say otherwise."""
    from sharpaudit.plan import PRESETS

    return {name: {**preset, **OPTIONS.get(name, {})} for name, preset in PRESETS["standard"].items() if name not in TOO_DEAR}


def told_to_measure(options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What `measure` would have to be told to run the same: the probes and `options`, named as on a card."""
    values = {f"set.{probe}.{name}": value for probe, given in options.items() for name, value in given.items()}
    lists = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return {"data": DATA, "train_data": TRAIN_DATA, "probes": ",".join(options), **lists}
