"""How was each model trained? A pattern in the file names says it, or a small table.

- ``(.+)-seed``: the first group of a regular expression, searched in each file name
- ``models.csv`` or ``models.csv:COLUMN``: a column ``file``, and the column ``condition`` or the one named
- ``models.yaml`` or ``models.yaml:COLUMN``: file → condition, or file → {column: value}
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import regex

from sharpaudit import files, strict_yaml
from sharpaudit.errors import UnknownName, UsageError, clean

FILE, CONDITION = "file", "condition"
MAX_TABLE_BYTES = 2**20
MAX_PATTERN = 1000
"""Characters of a regular expression."""
SECONDS = 2.0
"""Time that searching all names for it may take; the expressions of the standard library know no limit."""


def conditions(files: Sequence[str], source: str) -> dict[str, str]:
    """The condition of each of `files`, from the table or by the pattern that `source` names.

    Raises:
        UsageError: not readable as either, or a file that it says nothing about.
        UnknownName: a table without the column.
    """
    table, _, column = source.rpartition(":") if ":" in source else (source, "", CONDITION)
    for path, name in ((source, CONDITION), (table, column)):
        if path.endswith((".csv", ".yaml", ".yml")) and Path(path).is_file():
            return _chosen(files, _table(Path(path), name), path)
    return _chosen(files, _matched(files, source), source)


def _chosen(files: Sequence[str], found: Mapping[str, str], source: str) -> dict[str, str]:
    unknown = next((file for file in files if file not in found), None)
    if unknown is not None:
        raise UsageError(f"--conditions: '{clean(source)}' says nothing of '{clean(unknown)}'")
    return {file: found[file] for file in files}


def _matched(files: Sequence[str], pattern: str) -> dict[str, str]:
    try:
        if len(pattern) > MAX_PATTERN:
            raise regex.error(f"{len(pattern):,} characters are more than the {MAX_PATTERN:,} it may have")
        expression = regex.compile(pattern)
    except regex.error as error:
        raise UsageError(f"--conditions: neither a .csv or .yaml file nor a regular expression: {clean(str(error))}") from error
    if expression.groups < 1:
        raise UsageError("--conditions: expected a group in parentheses, as in '(.+)-seed'", hint="it captures the condition")
    deadline = time.monotonic() + SECONDS
    try:
        matches = {file: expression.search(file, timeout=max(0.001, deadline - time.monotonic())) for file in files}
    except TimeoutError as error:
        hint = "a repetition within a repetition, as in '(a+)+', can take for ever"
        raise UsageError(f"--conditions: '{clean(pattern)}' takes more than {SECONDS:g} s to search", hint=hint) from error
    return {file: match.group(1) for file, match in matches.items() if match and match.group(1) is not None}


def _table(path: Path, column: str) -> dict[str, str]:
    try:
        data = files.read(path, most=MAX_TABLE_BYTES)
    except OSError as error:
        raise UsageError(f"--conditions: cannot be read: {error.strerror}", path=str(path)) from error
    if path.suffix == ".csv":
        return _rows(data, path, column)
    document = strict_yaml.load(data, source=str(path))
    if not isinstance(document, dict):
        raise UsageError("--conditions: expected a mapping from file names", path=str(path))
    return {file: _entry(file, entry, column, path) for file, entry in document.items()}


def _entry(file: str, entry: Any, column: str, path: Path) -> str:
    if isinstance(entry, dict) and column not in entry:
        raise UnknownName(f"column for '{clean(file)}' in {clean(path.name)}", column, sorted(map(str, entry)))
    value = entry[column] if isinstance(entry, dict) else entry
    if isinstance(value, (dict, list)) or value is None:
        raise UsageError(f"--conditions: expected a word or a number for '{clean(file)}'", path=str(path))
    return str(value)


def _rows(data: bytes, path: Path, column: str) -> dict[str, str]:
    try:
        rows = csv.DictReader(data.decode("utf-8-sig").splitlines(), strict=True)
        header = list(rows.fieldnames or [])
        if not {FILE, column} <= set(header):
            raise UsageError(
                f"--conditions: {clean(path.name)} has the columns {clean(', '.join(header)) or 'none'}; expected '{FILE}', "
                f"the name of a checkpoint's file, and '{clean(column)}', how it was trained",
                hint=f"--conditions {clean(path.name)}:COLUMN reads another column",
            )
        return {row[FILE]: row[column] for row in rows if row[FILE] and row[column]}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"--conditions: not a table: {clean(str(error))}", path=str(path)) from error
