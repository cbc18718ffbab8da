"""`sharpaudit show`: a stored card, rendered again."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharpaudit.cli.app import app
from sharpaudit.cli.streams import screen
from sharpaudit.cli.values import time_in_words
from sharpaudit.errors import CardError, clean

if TYPE_CHECKING:
    from sharpaudit.card import Card
    from sharpaudit.store import State


class Format(StrEnum):
    """The documents a card can become."""

    TERMINAL = "terminal"
    MARKDOWN = "md"
    HTML = "html"
    JSON = "json"
    CSV = "csv"
    HF_CARD = "hf-card"
    MLFLOW = "mlflow"


@app.command()
def show(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="A run folder or a report.json.")],
    format_: Annotated[Format, typer.Option("--format", help="What to render.")] = Format.TERMINAL,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="With json: leave out the timing, so that equal audits give equal output.")
    ] = False,
) -> None:
    """Render a stored card again; needs no model and no torch."""
    from sharpaudit import store

    state = store.state_of(card) if os.path.isdir(card) else None  # noqa: PTH112 - unlike Path.is_dir it raises for no name
    if state and state.running and format_ is Format.TERMINAL:
        print(_progress(state))
        return
    if state and not (card / store.REPORT).exists():
        now = _progress(state) if state.running else f"stopped at {state.fraction:.0%}, in {state.doing}"
        raise CardError(
            f"the run is not finished: {now}", path=str(card), hint="the `sharpaudit measure` command that began it continues it"
        )
    text = _rendered(store.load_run(card).card, format_, canonical=canonical)
    print(text, end="" if text.endswith("\n") else "\n")


def _rendered(card: Card, format_: Format, *, canonical: bool) -> str:
    from sharpaudit.card import codec
    from sharpaudit.cli.guides import guides

    match format_:
        case Format.JSON:
            return codec.canonical(card) if canonical else codec.encode(card, timing=True)
        case Format.MARKDOWN:
            from sharpaudit.report.markdown import markdown

            return markdown(card)
        case Format.HTML:
            from sharpaudit.report.html import html

            return html([card], guides())
        case Format.CSV:
            from sharpaudit.report.export import csv

            return csv([card])
        case Format.HF_CARD:
            from sharpaudit.report.export import model_card

            return model_card(card)
        case Format.MLFLOW:
            from sharpaudit.report.export import mlflow

            return codec.dumps(mlflow(card))
        case Format.TERMINAL:
            from sharpaudit.report.terminal import terminal

            return terminal(card, **screen())


def _progress(state: State) -> str:
    """One line for those who look on."""
    left = f", about {time_in_words(state.seconds * (1 / state.fraction - 1))} to go" if state.fraction > 0.02 else ""
    took = time_in_words(state.seconds)
    return f"running: {clean(state.doing)}, {state.fraction:.0%} after {took}{left} (process {state.pid})"
