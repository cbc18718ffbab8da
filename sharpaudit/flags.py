"""How is a field of a record set from outside the program: by which flag, in which words, within which bounds?

A field with a `Flag` is a flag of the command line, ``SHARPAUDIT_NAME`` in the environment, a key of configuration files and a
keyword of `sharpaudit.measure`. All of them are read off the field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from sharpaudit.errors import UsageError, clean

LEAST_RANGE = 1e-6
"""Between black and white."""


@dataclass(frozen=True)
class Flag:
    """How a field is set from outside the program."""

    help: str = ""
    metavar: str | None = None
    name: str = ""
    """What the flag is called, where not as the field; one that begins with ``no-`` turns the field off."""
    min: float | None = None
    max: float | None = None
    parse: Callable[[str, str], Any] | None = None
    """The value of a text, given the flag for its errors; for types that a command line does not know."""
    guard: bool = False
    """Whether it loosens a refusal: such a flag is typed by a person, and stands in no file and no variable."""
    variable: bool = True
    on_card: bool = True
    hidden: bool = False
    """Left out of the help, since the refusal that needs it names it."""


@dataclass(frozen=True)
class Parameter:
    """A field that has a flag."""

    name: str
    flag: Flag
    type: Any
    default: Any
    """``MISSING`` where there is none."""
    record: str = ""
    """The field of `Request` whose record it belongs to; empty for `Request` itself."""

    @property
    def key(self) -> str:
        """Its name in files and on the card."""
        return self.flag.name.replace("-", "_") or self.name

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def kind(self) -> Any:
        """The type of the field, its None aside."""
        kinds = get_args(self.type) if get_origin(self.type) in (Union, UnionType) else (self.type,)
        return next(each for each in kinds if each is not NoneType)

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return self.type is bool

    @property
    def is_list(self) -> bool:
        """Whether the flag may be repeated."""
        return bool(self.type == tuple[str, ...])

    @property
    def is_text(self) -> bool:
        """Whether files and the command line give it as text."""
        return self.flag.parse is not None or self.kind in (str, Path)

    def value(self, given: Any) -> Any:
        """The field's value that is `given`, as such or as the text that stands for it.

        Raises:
            UsageError: the field cannot have that value.
        """
        if self.flag.parse is not None and isinstance(given, str):
            return self.flag.parse(self.option, given)
        from pydantic import Field, TypeAdapter, ValidationError

        limited: Any = Annotated[self.type, Field(ge=self.flag.min, le=self.flag.max)] if self.flag.min is not None else self.type
        try:
            return TypeAdapter(limited).validate_python(given)
        except ValidationError as error:
            raise UsageError(f"{self.option}: {error.errors()[0]['msg']}, got {clean(repr(given), 60)}") from error


@cache
def parameters(record: type) -> Mapping[str, Parameter]:
    """Every field with a flag of a record, and of the records within it, by its name."""
    return {parameter.name: parameter for parameter in _parameters(record)}


def _parameters(record: type) -> Iterator[Parameter]:
    hints = get_type_hints(record, include_extras=True)
    for each in fields(record):
        hint = hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint) and each.default_factory is not MISSING:
            default = each.default_factory()
            for inner in _parameters(hint):
                yield replace(inner, record=each.name, default=getattr(default, inner.name))
        elif get_origin(hint) is Annotated:
            kind, flag = get_args(hint)
            yield Parameter(each.name, flag, kind, each.default)


def numbers(*counts: int, whole: bool = False) -> Callable[[str, str], tuple[float, ...]]:
    """A reader of texts such as 0.5,0.5,0.5, of as many finite numbers as one of `counts`; with `whole`, integers."""

    def parse(option: str, text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(part) for part in text.split(","))
        except ValueError:
            found = ()
        if len(found) not in counts or not all(math.isfinite(number) and (not whole or number.is_integer()) for number in found):
            expected = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}" + " whole" * whole
            raise UsageError(f"{option}: expected {expected} numbers separated by commas, got '{clean(text)}'")
        return tuple(map(int, found)) if whole else found

    return parse


def low_and_high(option: str, text: str) -> tuple[float, ...]:
    """The two numbers in a text such as 0,255."""
    low, high = numbers(2)(option, text)
    if high - low < LEAST_RANGE:
        raise UsageError(f"{option}: expected LOW below HIGH, got '{clean(text)}'")
    return low, high


def seconds(option: str, text: str) -> float:
    """The seconds in a text such as 90s, 10m or 1h30m."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    found_seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not found_seconds:
        raise UsageError(f"{option}: expected a time such as 90s, 10m or 1h30m, got '{clean(text)}'")
    return float(found_seconds)
