"""`sharpaudit schema`: the JSON Schemas of the documents other programs read or write."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from sharpaudit.cli.app import app


class Document(StrEnum):
    """The documents that have a schema."""

    CARD = "card"
    POLICY = "policy"
    CONFIG = "config"


@app.command()
def schema(document: Annotated[Document, typer.Argument(metavar="DOCUMENT", help="Which document.")]) -> None:
    """Print the JSON Schema of a card, policy or configuration."""
    from sharpaudit.card import codec

    match document:
        case Document.CARD:
            print(codec.SCHEMA_FILE.read_text(encoding="utf-8"), end="")
        case Document.POLICY:
            from sharpaudit.gate.policy import Policy

            print(codec.dumps(Policy.model_json_schema(by_alias=True)), end="")
        case Document.CONFIG:
            from sharpaudit.cli.configuration import model

            print(codec.dumps(model().model_json_schema(by_alias=True)), end="")
