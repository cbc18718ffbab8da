"""Which options does a command get from a record? One for every field that has a flag."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING
from functools import wraps
from typing import Annotated, Any

import typer

from sharpaudit.cli.app import variable
from sharpaudit.flags import Parameter, parameters

Command = Callable[..., Any]


def with_parameters(
    record: type, *, shown: Collection[str] | None = None, optional: Collection[str] = ()
) -> Callable[[Command], Command]:
    """A decorator: the command gets an option for every parameter of `record`.

    It is given as `settings` the values that were set, by the names of their fields. Typer asks a command's signature for its
    options, so they are written there.

    Args:
        record: whose parameters.
        shown: the only ones in the help; None shows all that are not hidden.
        optional: those that may be left out though their field has no default.
    """
    known = parameters(record)
    options = [_option(each, shown is None or name in shown, name in optional) for name, each in known.items()]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def filled(**given: Any) -> Any:
            values = {name: given.pop(each.key) for name, each in known.items()}
            settings = {name: _of_switch(known[name], value) for name, value in values.items() if value not in (None, False, [])}
            return command(**given, settings=settings)

        own = [each.replace(kind=each.KEYWORD_ONLY) for each in inspect.signature(command, eval_str=True).parameters.values()]
        at = next(place for place, each in enumerate(own) if each.name == "settings")
        signature = inspect.Signature([*own[:at], *options, *own[at + 1 :]])
        filled.__signature__ = signature  # type: ignore[attr-defined]  # what inspect.signature looks for
        filled.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
        return filled

    return decorate


def _of_switch(parameter: Parameter, value: Any) -> Any:
    """The field's value: a flag called ``--no-…`` that is given turns its field off."""
    return not value if parameter.is_switch and parameter.default else value


def _option(parameter: Parameter, shown: bool, optional: bool) -> inspect.Parameter:
    flag = parameter.flag
    kind: Any = str if parameter.is_text else parameter.kind
    default: Any = parameter.default
    if default is MISSING:
        default = None if optional else inspect.Parameter.empty
    elif parameter.is_switch:
        default = False
    elif not isinstance(default, kind if isinstance(kind, type) else str) or flag.hidden:  # nothing that one would type
        default = None
    if parameter.is_list:
        kind = list[str]
    return inspect.Parameter(
        parameter.key,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[
            kind | None if default is None else kind,
            typer.Option(
                parameter.option,
                help=flag.help,
                metavar=flag.metavar,
                min=flag.min,
                max=flag.max,
                hidden=flag.hidden or not shown,
                envvar=variable(parameter.option) if flag.variable and not flag.guard else None,
            ),
        ],
    )
