"""Who decided a setting: the command line, the environment, ``--config``, the project, or the default? In this order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpaudit.cli.app import search_path, variable
from sharpaudit.cli.configuration import Layer, Options, of_file, of_project
from sharpaudit.errors import UnsafeInput, UsageError, clean
from sharpaudit.flags import parameters
from sharpaudit.request import Request, request

if TYPE_CHECKING:
    from sharpaudit.card import Setting

LAYERS = "sharpaudit.layers"
"""Where a command's context keeps what was read."""

ORIGINS = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment", "DEFAULT": "default"}
"""What the parser calls the source of a value, and what the card calls it."""

WITH_PATHS = {"data", "train_data", "arch", "class_map"}
FOLDERS = re.compile(r"[^:,]*/")
"""The part of a path that says where on this machine a file is."""


def _configure(context: typer.Context, path: Path | None) -> Path | None:
    """Read the files and make what they set the defaults of the command, before its other options are looked at."""
    if not context.resilient_parsing:
        layers = [*of_file(path), *of_project()]
        context.meta[LAYERS] = layers
        context.default_map = {name: value for layer in reversed(layers) for name, value in layer.values.items()}
    return path


ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings in YAML; overridden by flags and environment variables.",
        envvar=variable("--config"),
        is_eager=True,
        callback=_configure,
    ),
]
ProbeOptions = Annotated[
    list[str] | None, typer.Option("--set", metavar="PROBE.OPTION=VALUE", help="One option of one probe; repeatable.")
]


def requests(context: typer.Context, checkpoints: Sequence[Path], settings: Mapping[str, Any]) -> list[Request]:
    """What is to be audited, from the command line and the files, the environment included.

    Args:
        context: of the command.
        checkpoints: one request for each.
        settings: what the command line, the environment and the files set, by the names of the `flags.parameters`.

    Raises:
        UsageError: a setting that cannot be.
        UnsafeInput: a file names code.
        UnknownName: a probe or an option that does not exist.
    """
    selection = probe_selection(context)
    options = probe_options(context, selection)
    given = {**settings, "probes": selection}
    shown = configured(context, options)
    return [request(each, given, options=options, search=search_path(), settings=shown) for each in checkpoints]


def layers(context: typer.Context) -> Sequence[Layer]:
    """The files that were read for this command, the stronger first."""
    found: Sequence[Layer] = context.meta.get(LAYERS, ())
    return found


def origin(context: typer.Context, name: str) -> str:
    """Where the value of the parameter `name` came from: ``flag``, ``environment``, ``config``, ``pyproject`` or ``default``."""
    source = context.get_parameter_source(name)
    if source is not None and source.name in ORIGINS:
        return ORIGINS[source.name]
    return next((layer.origin for layer in layers(context) if name in layer.values), "default")


def configured(context: typer.Context, options: Options) -> dict[str, Setting]:
    """Every setting of the command as it was resolved, with its origin, for the card; paths are cut to their last part.

    Of the options of probes, those that are in force: `options`, as `probe_options` finds them.
    """
    from sharpaudit.card import Setting

    keys = [each.key for each in parameters(Request).values() if each.flag.on_card]
    shown = {key: context.params[key] for key in (*keys, "plugins") if key in context.params}
    cut = {key: FOLDERS.sub("", shown[key]) for key in WITH_PATHS if shown[key]}
    found = {key: Setting(value=value, origin=origin(context, key)) for key, value in (shown | cut).items()}
    return found | {name: setting for name, setting in probe_settings(context).items() if name.split(".")[1] in options}


def probe_selection(context: typer.Context) -> str:
    """The probes to run: those that were asked for, and with ``--plugins`` every installed one beside ``deep``.

    Raises:
        UnsafeInput: a file or a variable names a probe of another package, which is code, without ``--plugins``.
    """
    from sharpaudit.probes import plugins

    asked: str = context.params["probes"]
    installed, words = plugins(), [word.strip() for word in asked.split(",")]
    if context.params.get("plugins"):
        return ",".join([asked, *(name for name in installed if name not in words)]) if "deep" in words else asked
    named = next((word for word in words if word in installed), None)
    if named is not None and origin(context, "probes") != "flag":
        hint = "name it with --probes" + (" or pass --plugins" if "plugins" in context.params else "")
        raise UnsafeInput(f"the probe '{clean(named)}' is code of {installed[named]} and was not requested explicitly", hint=hint)
    return asked


def probe_options(context: typer.Context, selection: str) -> dict[str, dict[str, Any]]:
    """The options of probes that are in force: those of ``--set``, and under them those of the files.

    Options in a file are for when their probe runs: those of probes outside the `selection` are checked and left out; those of
    plug-ins unchecked, since asking a plug-in runs it.

    Raises:
        UnknownName: a file gives options to a probe that does not exist, or an option that its probe does not have.
        UsageError: a value of the wrong type.
    """
    from sharpaudit.plan import plan
    from sharpaudit.probes import plugins

    flags = _flags(context)
    found = {probe: dict(options) for probe, options in flags.items()}
    if any(layer.options for layer in layers(context)):
        chosen = {step.probe.name for step in plan(selection)}
        for layer in layers(context):
            for probe, options in layer.options.items():
                if probe in chosen:
                    found[probe] = {**options, **found.get(probe, {})}
                elif probe not in plugins():
                    plan(probe, {probe: options})
    return found


def probe_settings(context: typer.Context) -> dict[str, Setting]:
    """The options of probes, as ``set.PROBE.OPTION``, from the files and from ``--set``."""
    from sharpaudit.card import Setting

    sources = [*((layer.origin, layer.options) for layer in reversed(layers(context))), ("flag", _flags(context))]
    return {
        f"set.{probe}.{name}": Setting(value=value, origin=where)
        for where, options in sources
        for probe, values in options.items()
        for name, value in values.items()
    }


def _flags(context: typer.Context) -> Options:
    """The ``probe.option=value`` texts of ``--set``."""
    options: dict[str, dict[str, Any]] = {}
    for setting in context.params.get("options") or ():
        name, equals, value = setting.partition("=")
        probe, dot, option_name = name.partition(".")
        if not (probe and dot and option_name and equals):
            raise UsageError(f"--set: expected PROBE.OPTION=VALUE, got '{clean(setting)}'")
        options.setdefault(probe, {})[option_name] = value
    return options
