"""`sharpaudit show`: a stored card, rendered again."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from sharpaudit.cli.app import app


class Format(StrEnum):
    """The documents a card can become."""

    TERMINAL = "terminal"
    MARKDOWN = "md"
    HTML = "html"
    JSON = "json"
    CSV = "csv"
    HF_CARD = "hf-card"


@app.command()
def show(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="A run folder or a report.json.")],
    format_: Annotated[Format, typer.Option("--format", help="What to render.")] = Format.TERMINAL,
    canonical: Annotated[
        bool, typer.Option("--canonical", help="With json: without the timing, equal for equal audits.")
    ] = False,
) -> None:
    """Render a stored card again; needs no model and no torch."""
    from sharpaudit import store
    from sharpaudit.card import codec
    from sharpaudit.cli.guides import guides

    stored = store.load_run(card).card
    match format_:
        case Format.JSON:
            text = codec.canonical(stored) if canonical else codec.encode(stored)
        case Format.MARKDOWN:
            from sharpaudit.report.markdown import markdown

            text = markdown(stored)
        case Format.HTML:
            from sharpaudit.report.html import html

            text = html([stored], guides())
        case Format.CSV:
            from sharpaudit.report.export import csv

            text = csv([stored])
        case Format.HF_CARD:
            from sharpaudit.report.export import model_card

            text = model_card(stored)
        case Format.TERMINAL:
            from sharpaudit.report.terminal import terminal

            text = terminal(stored)
    print(text, end="" if text.endswith("\n") else "\n")
