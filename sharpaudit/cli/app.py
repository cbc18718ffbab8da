"""The application that the commands register with, and the options they share."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from sharpaudit import __version__
from sharpaudit.errors import UnsafeInput, UsageError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Audit image-classifier checkpoints: flatness beside safety, every number with its uncertainty.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout and nothing else.")]


def variable(option: str) -> str:
    """The variable of the environment that also sets an option: ``SHARPAUDIT_TRAIN_DATA`` is ``--train-data``."""
    return "SHARPAUDIT_" + option.strip("-").replace("-", "_").upper()


def output(metavar: str, description: str) -> Any:
    """The option ``-o``."""
    return typer.Option("-o", "--out", metavar=metavar, help=description, callback=_named)


def _named(path: Path | None) -> Path | None:
    """Refuse what is no name of a file or folder: a dash, which elsewhere means stdout, and what no terminal shows as it is."""
    if path == Path("-"):
        raise UsageError("-o names a file or a folder, not '-'", hint="--json prints the result on stdout")
    if path is not None and re.search(r"[\x00-\x1f\x7f-\x9f]", str(path)):
        raise UnsafeInput("the name of the output holds control characters", path=str(path), hint="pass another -o")
    return path


def search_path() -> tuple[Path, ...]:
    """The folders of ``SHARPAUDIT_DATA`` in which data sets are looked up by name."""
    return tuple(Path(folder) for folder in os.environ.get("SHARPAUDIT_DATA", "").split(os.pathsep) if folder)


def command_names() -> list[str]:
    """The commands there are."""
    return sorted(_commands())


def option_names(command: str) -> list[str]:
    """The options of `command`, as typed."""
    return [name for parameter in command_named(command).params for name in parameter.opts] if command in _commands() else []


def command_named(name: str) -> Any:
    """The command called `name`, as the parser sees it."""
    return _commands()[name]


@cache
def _commands() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    commands: dict[str, Any] = group.commands
    return commands


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def sharpaudit(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Audit image-classifier checkpoints: flatness beside safety, every number with its uncertainty."""
