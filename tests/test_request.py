"""A setting is said in one way: as a flag, a variable of the environment and a keyword it comes to the same request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import typer

from sharpaudit.cli.app import variable
from sharpaudit.cli.parameters import with_parameters
from sharpaudit.errors import SharpauditError, UnknownName, UsageError
from sharpaudit.flags import Parameter, parameters
from sharpaudit.request import LIMITS, Request, request

HERE = Path("x.safetensors")
EVERY = parameters(Request)
TEXTS = {
    "mean": ("0.5,0.25,0.125", (0.5, 0.25, 0.125)),
    "std": ("0.5", (0.5,)),
    "input_size": ("3,32,32", (3, 32, 32)),
    "input_range": ("0,255", (0.0, 255.0)),
    "max_time": ("1h30m", 5400.0),
    "class_map": ("classes.txt", Path("classes.txt")),
    "trusted_keys": ("keys", Path("keys")),
    "crop_pct": ("0.875", 0.875),
}
"""What is typed and what it means, where the type does not say."""


def example(parameter: Parameter) -> tuple[str, Any]:
    """A text that is not the default, and its value."""
    if parameter.name in TEXTS:
        return TEXTS[parameter.name]
    if get_origin(parameter.kind) is Literal:
        value = next(choice for choice in get_args(parameter.kind) if choice != parameter.default)
        return value, value
    return ("7", 7) if parameter.kind is int else ("other", "other")


def value_in(made: Request, parameter: Parameter) -> Any:
    return getattr(getattr(made, parameter.record) if parameter.record else made, parameter.name)


def as_flags(*arguments: str) -> Request:
    """The request of a command with these arguments."""
    app, found = typer.Typer(), []

    @app.command()
    @with_parameters(Request, optional=["data"])
    def command(settings: Mapping[str, Any]) -> None:
        found.append(request(HERE, {"data": "digits", **settings}))

    app(list(arguments), standalone_mode=False)
    return found[0]


@pytest.mark.parametrize("name", EVERY)
def test_flag_variable_and_keyword_mean_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parameter = EVERY[name]
    value: Any
    if parameter.is_switch:
        typed, value = [parameter.option], not parameter.default
    elif parameter.is_list:
        typed, value = [parameter.option, "a.*", parameter.option, "b"], ("a.*", "b")
    else:
        text, value = example(parameter)
        typed = [parameter.option, text]
    by_keyword = request(HERE, {"data": "digits", name: value})
    assert value_in(by_keyword, parameter) == value != parameter.default
    assert as_flags(*typed) == by_keyword
    monkeypatch.setenv(variable(parameter.option), "1" if parameter.is_switch else typed[1])
    heard = not parameter.flag.guard and parameter.flag.variable
    assert as_flags() == (by_keyword if heard else request(HERE, {"data": "digits"}))


def test_without_flags_it_is_the_default() -> None:
    assert as_flags() == Request(checkpoint=HERE, data="digits")


@pytest.mark.parametrize("name", [name for name, each in EVERY.items() if each.flag.min is not None])
def test_bounds_hold_in_python_too(name: str) -> None:
    least = EVERY[name].flag.min
    assert least is not None
    with pytest.raises(UsageError, match=rf"{EVERY[name].option}: Input should be greater than or equal to"):
        request(HERE, {"data": "digits", name: least - 1})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mean": "0.5,x"}, "--mean: expected 1 to 4 numbers separated by commas, got '0.5,x'"),
        ({"mean": "nan"}, "--mean: expected 1 to 4 numbers"),
        ({"input_size": "3,32.5,32"}, "--input-size: expected 3 whole numbers"),
        ({"input_range": "1,1"}, "--input-range: expected LOW below HIGH, got '1,1'"),
        ({"max_time": "soon"}, "--max-time: expected a time such as 90s, 10m or 1h30m, got 'soon'"),
        ({"precision": "double"}, "--precision: Input should be 'auto', 'float32' or 'float64', got 'double'"),
        ({"limit": "many"}, "--limit: Input should be a valid integer"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refused:
        request(HERE, {"data": "digits", **given})
    assert words in str(refused.value)


def test_an_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'limit'"):
        request(HERE, {"data": "digits", "limi": 3})


def test_a_budget_names_the_flag_that_raises_it() -> None:
    with pytest.raises(SharpauditError, match=r"tensors: 50,001 is above the limit of 50,000 - --max-tensors raises it"):
        LIMITS.check("max_tensors", 50_001, "tensors")
