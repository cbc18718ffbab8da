"""How is each number to be read? The docstrings of the probes, without importing them (they need torch)."""

from __future__ import annotations

import ast
from pathlib import Path

PROBES = Path(__file__).parents[1] / "probes"


def guides() -> dict[str, str]:
    """The text of each bundled probe, by its name."""
    texts = {file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) for file in sorted(PROBES.glob("*.py"))}
    return {name: text for name, text in texts.items() if text and name != "__init__"}
