"""An error that tells the user to pass a flag names one that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import sharpaudit
from sharpaudit.cli.app import command_names, option_names

PACKAGE = Path(sharpaudit.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*")


def flags_in_messages(path: Path) -> set[str]:
    """Flags in the string literals of a file, its docstrings aside."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = (
        n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in docstrings
    )
    return {flag for text in texts for flag in FLAG.findall(text)}


BELOW = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).parts[0] not in ("cli", "report")]
"""Where errors are raised; in `report` two dashes begin a CSS variable, and `cli` declares the flags."""


@pytest.mark.parametrize("path", BELOW, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_flags_named_in_messages_exist(path: Path) -> None:
    known = {option for command in command_names() for option in option_names(command)} | {"--help"}
    assert flags_in_messages(path) - known == set()


def test_every_budget_of_a_reader_is_an_option() -> None:
    from dataclasses import fields

    from sharpaudit.request import Limits, Reading

    budgets = {f"--{f.name.replace('_', '-')}" for f in (*fields(Limits), *fields(Reading)) if f.name.startswith("max_")}
    assert budgets <= set(option_names("measure"))
