"""What may a configuration file say, and what do the files that are read here say?

``--config audit.yaml`` and the table ``[tool.sharpaudit]`` of the nearest pyproject.toml may set the parameters of an audit,
under the names of their flags (``--train-data`` is ``train_data``), and options of probes under ``set``:

    data: digits
    probes: [accuracy, spectrum]
    set:
      spectrum: {max_iterations: 300}

Files are data: no key may name code or loosen a refusal, so flags such as ``--allow-code`` exist on the command line only.
Paths are relative to the current directory, as they are on the command line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from sharpaudit import files
from sharpaudit.errors import UnsafeInput, UsageError, clean, closest
from sharpaudit.flags import Parameter, parameters
from sharpaudit.request import Request

if TYPE_CHECKING:
    from pydantic import BaseModel

PROJECT = "pyproject.toml"
MAX_PROJECT_BYTES = 2**20
MAX_DOTS = 200
"""In a line of it: the standard library reads a key of n parts in a time that grows with their square."""

Options = Mapping[str, Mapping[str, Any]]
"""probe → option → value."""


@dataclass(frozen=True)
class Layer:
    """What one file sets."""

    origin: Literal["config", "pyproject"]
    path: Path
    values: dict[str, Any]
    """By the key of the parameter."""
    options: Options


def of_file(path: Path | None) -> Iterator[Layer]:
    """What the file given with ``--config`` sets, if one was given."""
    if path is not None:
        from sharpaudit import strict_yaml

        document = strict_yaml.load(_read(path, most=strict_yaml.MAX_BYTES), source=str(path))
        yield _layer("config", path, {} if document is None else document)


def of_project() -> Iterator[Layer]:
    """What the table of the nearest pyproject.toml sets, if it has one."""
    try:
        here = Path.cwd()
        path = next((folder / PROJECT for folder in (here, *here.parents) if (folder / PROJECT).is_file()), None)
    except OSError:  # a current directory that is gone or may not be looked at
        return
    if path is None:
        return
    data = _read(path, most=MAX_PROJECT_BYTES)
    if b"sharpaudit" not in data:
        return
    if any(line.count(b".") > MAX_DOTS for line in data.splitlines()):
        raise UsageError(f"not readable as TOML: a line of more than {MAX_DOTS} dots", path=str(path))
    try:
        document = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else clean(str(error))
        raise UsageError(f"not readable as TOML: {reason}", path=str(path)) from error
    tools = document.get("tool")
    if isinstance(tools, dict) and "sharpaudit" in tools:
        yield _layer("pyproject", path, tools["sharpaudit"])


def _read(path: Path, *, most: int) -> bytes:
    try:
        return files.read(path, most=most)
    except OSError as error:
        raise UsageError(f"cannot read the configuration: {error.strerror}", path=str(path)) from error


def _layer(origin: Literal["config", "pyproject"], path: Path, document: object) -> Layer:
    from pydantic import ValidationError

    if not isinstance(document, dict):
        raise UsageError("expected a configuration of keys and values", path=str(path), hint="sharpaudit schema config")
    refused = {"plugins", *(each.key for each in parameters(Request).values() if each.flag.guard)}
    guard = next((name for name in document if name.replace("-", "_") in refused), None)
    if guard is not None:
        flag = "--" + guard.replace("_", "-")
        raise UnsafeInput(f"'{clean(guard)}' may not stand in a file", path=str(path), hint=f"pass {clean(flag)} yourself")
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
    return Layer(origin, path, given, options)


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
    """What a configuration may say."""
    from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema, create_model

    scalar: dict[str, Any] = {"type": ["string", "number", "boolean"]}
    words = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "number"]}}]}
    values = {"anyOf": [scalar, {"type": "array", "items": scalar}]}
    text: Any = Annotated[str, BeforeValidator(_joined), WithJsonSchema(words)]
    value: Any = Annotated[Any, AfterValidator(_simple), WithJsonSchema(values)]
    stated = Field(None, alias="schema", description="The version of this format.", json_schema_extra=_without_default)
    fields: dict[str, Any] = {"schema_": (Literal["sharpaudit.config/1"], stated)}
    for each in configurable():
        bounds: Any = {name: bound for name, bound in (("ge", each.flag.min), ("le", each.flag.max)) if bound is not None}
        description = Field(None, description=each.flag.help or None, json_schema_extra=_without_default, **bounds)
        fields[each.key] = (text if each.is_text else each.kind, description)
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


def configurable() -> list[Parameter]:
    """The parameters that a file may set."""
    return [each for each in parameters(Request).values() if not each.flag.guard]
