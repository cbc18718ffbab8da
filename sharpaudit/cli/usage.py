"""What did the parser refuse, in our one line: the option or variable at fault, what was expected, the nearest name."""

from __future__ import annotations

import re
from typing import Any

import typer

from sharpaudit.errors import UsageError, clean, closest


def refusal(error: typer.TyperException) -> UsageError:
    """The parser's complaint as an error of ours."""
    context: Any = getattr(error, "ctx", None)
    help_ = f"see {context.command_path if context else 'sharpaudit'} --help"
    message = " ".join(error.format_message().split())
    parameter: Any = getattr(error, "param", None)
    match type(error).__name__:
        case "NoSuchOption" if context:
            typed = str(getattr(error, "option_name", ""))
            options = [name for each in context.command.params for name in (*each.opts, *each.secondary_opts)]
            return UsageError(f"no such option '{clean(typed)}'{_meant(typed, [*options, '--help'])}", hint=help_)
        case "MissingParameter" if context:
            usage = " ".join(context.get_usage().split()).replace("Usage:", "usage:", 1)
            return UsageError(_sentence(message), hint=f"{usage}; {help_}")
        case "BadParameter" if context and parameter:
            reason = _sentence(str(getattr(error, "message", message)))
            return UsageError(f"{_asked(parameter, context)}: {reason}{_range(parameter)}", hint=help_)
    unknown = re.search(r"No such command '(.*?)'", message)
    if unknown and context:
        known = list(context.command.commands)
        hint = help_ if _meant(unknown[1], known) else f"known: {', '.join(sorted(known))}"
        return UsageError(f"no such command '{clean(unknown[1])}'{_meant(unknown[1], known)}", hint=hint)
    return UsageError(_sentence(message), hint=help_)


def _asked(parameter: Any, context: Any) -> str:
    """Where the user wrote the value: a flag, an argument, or a variable."""
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "ENVIRONMENT":
        return str(parameter.envvar)
    return (
        str(max(parameter.opts, key=len)) if parameter.param_type_name == "option" else str(parameter.metavar or parameter.name)
    )


def _range(parameter: Any) -> str:
    low, high = getattr(parameter, "min", None), getattr(parameter, "max", None)
    if low is None and high is None:
        return ""
    return f" ({low} to {high})" if high is not None else f" (at least {low})"


def _sentence(text: str) -> str:
    return clean(text.removeprefix("Value error, ").removesuffix("."), limit=300)


def _meant(typed: str, known: list[str]) -> str:
    close = closest(typed, known, limit=1)
    return f"; did you mean '{close[0]}'?" if close else ""
