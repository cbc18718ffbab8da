"""What can be said of sharpaudit by asking it: commands, settings, exit codes, probes, measurements, documents.

Each function returns one page in Markdown. Nothing here states a fact of the package; what is missing on a page is missing in a
docstring, an option's help or a schema.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sharpaudit import errors, plan, probes
from sharpaudit.card import codec
from sharpaudit.card.measures import Measure
from sharpaudit.cli.app import app, command_named, command_names
from sharpaudit.cli.configuration import model
from sharpaudit.gate.policy import Policy


def write(folder: Path) -> None:
    """Write every page, and the schema of the card, into `folder`, which holds nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in pages().items():
        path = folder / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "card.schema.json").write_bytes(codec.SCHEMA_FILE.read_bytes())


def pages() -> dict[str, str]:
    """The text of every page, by its path without the ending."""
    return {
        "commands": command_page(),
        "configuration": schema_page("Configuration", inspect.getdoc(inspect.getmodule(model)) or "", model()),
        "policy": schema_page("Policy", inspect.getdoc(Policy) or "", Policy),
        "exit-codes": exit_code_page(),
        "probes/index": probe_index(),
        **{f"probes/{name}": probe_page(name) for name in probes.names()},
    }


def command_page() -> str:
    """Every command's `--help`, as printed."""
    commands = [["sharpaudit"]]
    for name in command_names():
        below = getattr(command_named(name), "commands", {})
        commands += [["sharpaudit", name], *(["sharpaudit", name, each] for each in sorted(below))]
    return "# Commands\n" + "\n".join(f"\n## {' '.join(words)}\n\n```text\n{_help(words[1:])}```" for words in commands)


def _help(words: list[str]) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        app([*words, "--help"], prog_name="sharpaudit", standalone_mode=False)
    return printed.getvalue()


def schema_page(title: str, text: str, document: Any) -> str:
    """The keys of a YAML document, from its JSON Schema."""
    schema = document.model_json_schema(by_alias=True)
    parts = [f"# {title}\n\n{_prose(text)}\n", _keys(schema)]
    for name, definition in sorted(schema.get("$defs", {}).items()):
        if "properties" in definition:
            parts.append(f"\n## {name}\n\n{_prose(definition.get('description', ''))}\n\n{_keys(definition)}")
    return "\n".join(parts)


def _keys(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (f"`{key}`" + (" (required)" if key in required else ""), _type(value), value.get("description", ""))
        for key, value in schema["properties"].items()
    ]
    return _table(("key", "type", ""), rows)


def _type(schema: dict[str, Any]) -> str:
    """The kind of value a key takes, in words."""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema or "oneOf" in schema:
        kinds = [_type(each) for each in schema.get("anyOf", schema.get("oneOf", ()))]
        return " or ".join(dict.fromkeys(kind for kind in kinds if kind != "null"))
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def exit_code_page() -> str:
    """What the process tells its caller, and which errors end in it."""
    rows = [(str(code.value), code.name.lower().replace("_", " "), _errors(code)) for code in errors.ExitCode]
    tree = _prose(inspect.getdoc(errors) or "")
    return f"# Exit codes\n\n{_table(('code', 'meaning', 'errors'), rows)}\n\n{tree}\n"


def _errors(code: errors.ExitCode) -> str:
    kinds = [kind for kind in _subclasses(errors.SharpauditError) if kind.exit_code == code]
    return "; ".join(f"`{kind.code}`: {(inspect.getdoc(kind) or '').splitlines()[0]}" for kind in kinds)


def _subclasses(kind: type[errors.SharpauditError]) -> Iterator[type[errors.SharpauditError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)


def probe_index() -> str:
    """Every probe with its question, and the presets that run it."""
    presets = {preset: {step.probe.name for step in plan.plan(preset)} for preset in plan.PRESETS}
    rows = [
        (
            f"[{name}]({name}.md)",
            probes.find(name).documentation.splitlines()[0],
            ", ".join(preset for preset, members in presets.items() if name in members),
        )
        for name in probes.names()
    ]
    contents = "\n".join(["```{toctree}", ":hidden:", *probes.names(), "```"])
    return f"# Probes\n\n{_table(('probe', 'question', 'presets'), rows)}\n\n{contents}\n"


def probe_page(name: str) -> str:
    """The documentation of a probe, its options and its measurements."""
    probe = probes.find(name)
    question, _, rest = probe.documentation.partition("\n")
    options = _table(
        ("option", "type", "default"), [(f"`{o}`", f"`{kind}`", f"`{value}`") for o, kind, value in probe.option_table()]
    )
    measures = _table(("name", "", "unit", "better", "range", "evidence of", "remarks"), [_measure(e) for e in probe.entries])
    return f"# {name}\n\n*{question}*\n{_prose(rest)}\n\n## Options\n\n{options}\n\n## Measurements\n\n{measures}\n"


def _measure(entry: Measure) -> tuple[str, ...]:
    """The catalogue's entry as a row."""
    scale = entry.scale
    remarks = [
        f"read with `{entry.read_with}`" if entry.read_with else "",
        f"unmoved by {entry.invariant}" if entry.invariant else "",
        "scale-dependent" if entry.scale_dependent else "",
        "flatter when larger" if entry.flatter_when_larger else "",
    ]
    better = "" if entry.direction == "none" else entry.direction
    evidence = "" if entry.role == "neither" else entry.role
    limits = f"{scale.low:g} to {scale.high:g}".replace("inf", "∞").replace("-", "−")
    return f"`{entry.name}`", entry.title, scale.unit, better, limits, evidence, "; ".join(filter(None, remarks))


def _prose(text: str) -> str:
    """A docstring as Markdown: a line above an indented block becomes a heading, other indented blocks stay as they are."""
    found, under_heading = [], False
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        first, _, rest = paragraph.partition("\n")
        if not first.startswith(" "):
            under_heading = rest.startswith("    ")
            paragraph = f"## {first}\n\n{textwrap.dedent(rest)}" if under_heading else paragraph
        elif not under_heading:
            found.append(f"```text\n{textwrap.dedent(paragraph)}\n```")
            continue
        found.append(_code(textwrap.dedent(paragraph)))
    return "\n\n".join(found)


def _code(line: str) -> str:
    """The double backquotes of reStructuredText are single ones in Markdown."""
    return line.replace("``", "`")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    if not rows:
        return "None."
    cells = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in cells)


def _cell(text: str) -> str:
    return " ".join(_code(text).replace("|", "\\|").split())
