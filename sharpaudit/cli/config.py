"""`sharpaudit config show`: the settings that are in force here, and where each came from."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import typer

from sharpaudit.cli.app import Json, app, command_named, command_names
from sharpaudit.cli.configuration import configurable
from sharpaudit.cli.layers import ConfigFile, layers, origin, probe_settings
from sharpaudit.errors import clean, closest

configuration = typer.Typer(no_args_is_help=True, help="Show which settings are in force and where they came from.")
app.add_typer(configuration, name="config")


@configuration.command()
def show(context: typer.Context, config: ConfigFile = None, json: Json = False) -> None:
    """Print the settings that `measure` would use here.

    And where each comes from: a variable, a file or the default.
    """
    from sharpaudit.card import codec

    rows = [*_resolved(context), *_probe_rows(context)]
    if json:
        print(codec.dumps({name: {"value": value, "origin": where} for name, value, where, _ in rows}), end="")
        return
    for layer in layers(context):
        print(f"# {layer.origin}: {clean(str(layer.path), 500)}")
    widest = max(len(name) for name, *_ in rows)
    for name, value, where, weaker in rows:  # the value last, as it may be of any length
        shown = "-" if value is None else clean(str(value), 500)
        print(f"{name:<{widest}}  {where:<11}  {shown}{weaker and f'  ({weaker})'}")
    for variable in unknown_variables():
        print(f"warning: {variable}", file=sys.stderr)


def _resolved(context: typer.Context) -> Iterator[tuple[str, Any, str, str]]:
    options = {each.name: each for each in command_named("measure").params}
    for key in [each.key for each in configurable()]:
        parameter = options[key]
        value, _ = parameter.consume_value(context, {})
        if value is not None:  # None is also what a required option without a value has, which is no error here
            parameter.handle_parse_result(context, {}, [])
            value = context.params[key]
        where = origin(context, key)
        said = [layer for layer in layers(context) if key in layer.values and layer.origin != where]
        weaker = ", ".join(f"{layer.origin}: {clean(str(layer.values[key]), 40)}" for layer in said)
        yield key, value, where, weaker


def _probe_rows(context: typer.Context) -> Iterator[tuple[str, Any, str, str]]:
    for name, setting in sorted(probe_settings(context).items()):
        yield name, setting.value, setting.origin, ""


def unknown_variables() -> Iterator[str]:
    """Variables that look like ours and are read by nobody."""
    parameters = [parameter for name in command_names() for parameter in command_named(name).params]
    known = {"SHARPAUDIT_DATA", *(str(parameter.envvar) for parameter in parameters if parameter.envvar)}
    for name in sorted(name for name in os.environ if name.startswith("SHARPAUDIT_") and name not in known):
        close = closest(name, known, limit=1)
        yield f"unknown variable {clean(name)}" + (f"; did you mean {close[0]}?" if close else "")
