"""Which files decide a setting, and where did each value come from?

In this order: the command line, the environment, ``--config``, the project, the default. ``--config audit.yaml`` and the table
``[tool.sharpaudit]`` of the nearest pyproject.toml may set every option of ``measure`` that takes a value, under the name of its
flag (``--train-data`` is ``train_data``), and options of probes under ``set``:

    data: digits
    probes: [accuracy, spectrum]
    set:
      spectrum: {max_iterations: 300}

Files are data: no key may name code or loosen a refusal, so switches such as ``--allow-code`` exist on the command line only.
Paths are relative to the current directory, as they are on the command line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_type_hints

import typer

from sharpaudit.cli.app import command_named, option
from sharpaudit.errors import UnsafeInput, UsageError, clean, closest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from sharpaudit.card import Setting

PROJECT = "pyproject.toml"

LAYERS = "sharpaudit.layers"
"""Where a command's context keeps what was read."""

COMMAND_LINE_ONLY = ("allow_", "follow_links", "plugins")
"""Beginnings of the options that loosen a refusal."""

ORIGINS = {"COMMANDLINE": "flag", "ENVIRONMENT": "environment", "DEFAULT": "default"}
"""What the parser calls the source of a value, and what the card calls it."""

NOT_ON_THE_CARD = {"out", "json", "dry_run", "force", "max_time", "config", "settings"}
"""Parameters that decide nothing about the numbers, and ``--set``, whose parts stand there one by one."""

WITH_PATHS = {"data", "train_data", "arch", "class_map"}
FOLDERS = re.compile(r"[^:,]*/")
"""The part of a path that says where on this machine a file is."""

Options = Mapping[str, Mapping[str, Any]]
"""probe → option → value."""


@dataclass(frozen=True)
class Layer:
    """What one file sets."""

    origin: Literal["config", "pyproject"]
    path: Path
    values: dict[str, Any]
    """By the name of the option's parameter."""
    options: Options


def _configure(context: typer.Context, path: Path | None) -> Path | None:
    """Read the files and make what they set the defaults of the command, before its other options are looked at."""
    if not context.resilient_parsing:
        layers = [*_config(path), *_project()]
        context.meta[LAYERS] = layers
        context.default_map = {name: value for layer in reversed(layers) for name, value in layer.values.items()}
    return path


ConfigFile = Annotated[
    Path | None,
    option("--config", "Settings in YAML; flags and variables go before.", metavar="FILE", is_eager=True, callback=_configure),
]


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

    found = {}
    for parameter in context.command.params:
        name = parameter.name or ""
        if parameter.param_type_name == "option" and name in context.params and name not in NOT_ON_THE_CARD:
            value = context.params[name]
            shown = FOLDERS.sub("", value) if name in WITH_PATHS and value else value
            found[key(parameter)] = Setting(value=shown, origin=origin(context, name))
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
        raise UnsafeInput(f"the probe '{clean(named)}' is code of {installed[named]} and was not named by you", hint=hint)
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
    for setting in context.params.get("settings") or ():
        name, equals, value = setting.partition("=")
        probe, dot, option_name = name.partition(".")
        if not (probe and dot and option_name and equals):
            raise UsageError(f"--set: expected PROBE.OPTION=VALUE, got '{clean(setting)}'")
        options.setdefault(probe, {})[option_name] = value
    return options


def key(parameter: Any) -> str:
    """The name of an option in a file and on the card: its flag without dashes."""
    flag: str = max(parameter.opts, key=len)
    return flag.strip("-").replace("-", "_")


def _config(path: Path | None) -> Iterator[Layer]:
    if path is not None:
        from sharpaudit import strict_yaml

        document = strict_yaml.load(_read(path), source=str(path))
        yield _layer("config", path, {} if document is None else document)


def _project() -> Iterator[Layer]:
    """The table of the nearest pyproject.toml, if it has one."""
    try:
        here = Path.cwd()
        path = next((folder / PROJECT for folder in (here, *here.parents) if (folder / PROJECT).is_file()), None)
    except OSError:  # a current directory that is gone or may not be looked at
        return
    if path is None:
        return
    try:
        document = tomllib.loads(_read(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else clean(str(error))
        raise UsageError(f"not readable as TOML: {reason}", path=str(path)) from error
    tools = document.get("tool")
    if isinstance(tools, dict) and "sharpaudit" in tools:
        yield _layer("pyproject", path, tools["sharpaudit"])


def _read(path: Path) -> bytes:
    from sharpaudit.strict_yaml import MAX_BYTES

    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the configuration: {error.strerror}", path=str(path)) from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"a configuration may have at most {MAX_BYTES} bytes, this one has more", path=str(path))
    return data


def _layer(origin: Literal["config", "pyproject"], path: Path, document: object) -> Layer:
    from pydantic import ValidationError

    if not isinstance(document, dict):
        raise UsageError("expected a configuration of keys and values", path=str(path), hint="sharpaudit schema config")
    switch = next((name for name in document if name.replace("-", "_").startswith(COMMAND_LINE_ONLY)), None)
    if switch is not None:
        flag = "--" + switch.replace("_", "-")
        raise UnsafeInput(f"'{clean(switch)}' may not stand in a file", path=str(path), hint=f"pass {clean(flag)} yourself")
    try:
        # 1e3 is a number to a person; whether it is whole decides whether it can be a count
        checked = model().model_validate(
            {name: int(v) if isinstance(v, float) and v.is_integer() else v for name, v in document.items()}
        )
    except ValidationError as error:
        raise UsageError(_complaint(error), path=str(path), hint="sharpaudit schema config") from error
    given = checked.model_dump(exclude_unset=True, exclude_none=True)
    given.pop("schema_", None)
    options = given.pop("set", {})
    names = {key(parameter): parameter.name for parameter in configurable()}
    return Layer(origin, path, {names[name]: value for name, value in given.items()}, options)


def _complaint(error: Any) -> str:
    """The first thing that is wrong: its key, what was expected and what came."""
    first = error.errors()[0]
    place = clean(".".join(map(str, first["loc"])))
    if first["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in model().model_fields.items()]
        close = closest(str(first["loc"][-1]), known, limit=1)
        return f"unknown key '{place}'" + (f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}")
    got = first["input"]
    return f"{place}: {first['msg'].removeprefix('Value error, ')}, got {clean(repr(got), 60)} ({type(got).__name__})"


@cache
def model() -> type[BaseModel]:
    """What a configuration may say, made from the options of ``measure``, so that there is one list of them."""
    from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

    scalar: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    words = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]}
    values = {"anyOf": [scalar, {"type": "array", "items": scalar}]}
    text: Any = Annotated[str, BeforeValidator(_joined), WithJsonSchema(words)]
    value: Any = Annotated[Any, AfterValidator(_simple), WithJsonSchema(values)]
    stated = Field(None, alias="schema", description="The version of this format.", json_schema_extra=_without_default)
    fields: dict[str, Any] = {"schema_": (Literal["sharpaudit.config/1"], stated)}
    hints = _hints()
    for parameter in configurable():
        annotation, info = get_args(hints[parameter.name])[:2]
        kind = next((each for each in get_args(annotation) if isinstance(each, type) and each is not NoneType), annotation)
        limits = {name: bound for name, bound in (("ge", info.min), ("le", info.max)) if bound is not None}
        wanted = text if kind is str else kind
        fields[key(parameter)] = (wanted, Field(None, description=info.help, json_schema_extra=_without_default, **limits))
    fields["set"] = (dict[str, dict[str, value]], Field({}, description="Options of probes: probe, option, value."))
    return create_model("Configuration", __config__=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False), **fields)


def _without_default(schema: dict[str, Any]) -> None:
    """Whether a key is given matters, not a value in its place."""
    schema.pop("default", None)


def _joined(value: object) -> object:
    """A list as the text it would be on the command line."""
    if isinstance(value, list) and all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in value):
        return ",".join(map(str, value))
    return value


def _simple(value: object) -> object:
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str | int | float | bool) for item in items):
        raise ValueError("expected a value or a list of values")
    return value


def _hints() -> dict[str, Any]:
    from sharpaudit.cli.measure import measure

    return get_type_hints(measure, include_extras=True)


def configurable() -> list[Any]:
    """The options of ``measure`` that a file may set: those that take one value, but where the run goes."""
    return [p for p in command_named("measure").params if p.param_type_name == "option" and _takes_one_value(p)]


def _takes_one_value(parameter: Any) -> bool:
    return not (parameter.is_flag or parameter.multiple or parameter.is_eager or parameter.name == "out")
