"""The options that raise the budgets of the checkpoint readers, shared by every command that reads one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

BUDGETS = (
    "max_file_bytes",
    "max_header_bytes",
    "max_tensors",
    "max_name_chars",
    "max_rank",
    "max_pickle_steps",
    "max_depth",
    "max_view_excess_bytes",
    "max_shared_bytes",
)
"""Fields of `checkpoints.Limits`, named here so that ``--help`` need not import it."""


def budget(flag: str) -> Any:
    """An option that raises a budget; left out of the help, since the refusal that needs it names it."""
    return typer.Option(flag, hidden=True, min=1)


def with_budgets(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with an option for every budget; it is given the `checkpoints.Limits` they amount to as `limits`."""

    @wraps(command)
    def limited(**given: Any) -> Any:
        from sharpaudit.checkpoints import Limits

        raised = {name: value for name in BUDGETS if (value := given.pop(name)) is not None}
        return command(**given, limits=Limits(**raised))

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.name != "limits"]
    flags = [budget("--" + name.replace("_", "-")) for name in BUDGETS]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[int | None, flag])
        for name, flag in zip(BUDGETS, flags, strict=True)
    ]
    limited.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]  # read by inspect
    limited.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
    return limited
