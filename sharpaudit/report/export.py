"""Cards for other programs: a table for spreadsheets, a model card for the Hugging Face hub, metrics and params for MLflow."""

from __future__ import annotations

import csv as _csv
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import PurePath
from typing import Any

import yaml

from sharpaudit.card import Card, Failed, Measured, Skipped
from sharpaudit.report import outline, wording
from sharpaudit.report.markdown import markdown

COLUMNS = (
    *("file", "sha256", "architecture", "data", "data_hash", "seed", "name", "status", "value", "low", "high", "level"),
    *("interval", "n", "unit", "direction", "method", "converged", "iterations", "residual", "reason", "probe", "version"),
)

LONGEST = 500
"""Characters of a value that every version of MLflow takes."""

Cell = str | int | float | bool | None


def csv(cards: Sequence[Card]) -> str:
    """One line for each measurement of each card, unmeasured ones with their reason; numbers as precise as on the card.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    text = StringIO()
    writer = _csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for card in cards:
        head = (
            card.subject.file,
            card.subject.sha256,
            card.subject.architecture,
            card.data.name,
            card.data.index_hash,
            card.seed,
        )
        for m in card.measurements:
            writer.writerow(map(_cell, (*head, *_columns(m))))
    return text.getvalue()


def model_card(card: Card) -> str:
    """A README for the Hugging Face hub: a ``model-index`` that machines read, then the card as Markdown."""
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"type": wording.foreign(card.data.name), "name": wording.foreign(card.data.name)},
        "metrics": [
            _metric(m) for m in outline.numbers(card, dict.fromkeys((*outline.SAFETY, *outline.CALIBRATION, *outline.FLATNESS)))
        ],
    }
    name = wording.foreign(PurePath(card.subject.file).stem) or "model"
    metadata = {"tags": ["image-classification", "sharpaudit"], "model-index": [{"name": name, "results": [result]}]}
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000)}---\n\n{markdown(card)}"


def mlflow(card: Card) -> dict[str, dict[str, Any]]:
    """What ``mlflow.log_metrics``, ``log_params`` and ``set_tags`` take: every measured number by its name, and its context.

    The ends of an interval are metrics of their own, ``NAME.low`` and ``NAME.high``. Numbers that were not obtained are left out:
    MLflow has no word for them.
    """
    metrics: dict[str, float] = {}
    for m in card.measurements:
        if isinstance(m, Measured):
            ends = {"": m.value, **({".low": m.ci.low, ".high": m.ci.high} if m.ci else {})}
            metrics |= {_key(m.name) + end: value for end, value in ends.items()}
    settings = {f"config.{name}": setting.value for name, setting in card.config.items() if setting.value is not None}
    params = {"architecture": card.subject.architecture, "data": card.data.name, "n": card.data.n, "seed": card.seed, **settings}
    tags = {"checkpoint": card.subject.file, "checkpoint.sha256": card.subject.sha256, "data.index_hash": card.data.index_hash}
    return {
        "metrics": metrics,
        "params": {_key(name): wording.foreign(str(value), LONGEST) for name, value in params.items()},
        "tags": {f"sharpaudit.{name}": wording.foreign(value, LONGEST) for name, value in tags.items()},
    }


def _key(name: str) -> str:
    """A name as MLflow takes it: letters, digits and ``_-./ ``, at most 250 of them, and no path but itself."""
    parts = re.sub(r"[^\w./ -]", "_", name, flags=re.ASCII)[:240].split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts)


def _columns(m: Measured | Skipped | Failed) -> tuple[Cell, ...]:
    if isinstance(m, Measured):
        interval: tuple[Cell, ...] = (m.ci.low, m.ci.high, m.ci.level, m.ci.method) if m.ci else (None,) * 4
        numbers: tuple[Cell, ...] = (
            m.value,
            *interval,
            m.n,
            m.unit,
            m.direction,
            m.method,
            m.converged,
            m.iterations,
            m.residual,
        )
    else:
        numbers = (None,) * 12
    return (m.name, m.status, *numbers, m.reason, m.probe, m.version)


def _cell(value: Cell) -> Cell:
    if not isinstance(value, str):
        return value
    shown = wording.foreign(value, 1000)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown


def _metric(m: Measured) -> dict[str, Any]:
    """A measurement as the hub writes it; interval and n are its arguments."""
    interval = {"low": m.ci.low, "high": m.ci.high, "level": m.ci.level} if m.ci else {}
    kind = "accuracy" if m.name == "clean.accuracy" else wording.foreign(m.name)
    return {
        "type": kind,
        "value": m.value,
        "name": wording.title(m),
        "args": {"n": m.n, "unit": wording.foreign(m.unit), **interval},
    }
