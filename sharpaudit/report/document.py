"""What is a report made of? Cautions, sentences, and sections of numbers, tables and figures, for cards and comparisons alike.

It is built once (`outline`, `overview`, `comparison`), and renderers only draw it. Text from outside is still raw: a name is a
`Name`, all sentences may hold some; each renderer encodes both for its own sink.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from sharpaudit.card import Measured, SetupCheck
from sharpaudit.report.grids import Grid
from sharpaudit.report.provenance import Fact
from sharpaudit.report.tables import ClassAccuracy, Rescaled

FEW = 6
"""How many names of one kind are spelled out."""

Row = tuple[str, ...]

Cell = str | Measured | None
"""Words and numbers of ours, or a `Name`; a measurement with its interval; nothing, where it was not obtained."""


class Name(str):
    """Text from outside: a file name, a class."""

    __slots__ = ()


@dataclass(frozen=True)
class Numbers:
    """Measurements below each other, with intervals, units and n; why intervals are missing follows."""

    measured: Sequence[Measured]
    marks: Mapping[str, str] = field(default_factory=dict)
    """Behind the title of a measure: what rescaling did to it."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """Behind its unit."""


@dataclass(frozen=True)
class Beside:
    """Two columns of measurements."""

    flatness: Numbers
    safety: Numbers

    @property
    def rows(self) -> list[tuple[Measured | None, Measured | None]]:
        """One of each beside the other; the shorter column ends in nothing."""
        return list(zip_longest(self.flatness.measured, self.safety.measured))


@dataclass(frozen=True)
class Sheet:
    """A table."""

    header: Row
    rows: Sequence[Sequence[Cell]]
    align: str
    """``l`` or ``r`` for each column."""
    matrix: Sequence[Sequence[float]] | None = None
    """The numbers behind the rows, where they are a square that a page can draw."""

    @property
    def is_sortable(self) -> bool:
        """Whether there are measurements to sort by."""
        return any(isinstance(cell, Measured) for row in self.rows for cell in row)


@dataclass(frozen=True)
class Facts:
    """What was audited, on what and with which settings."""

    facts: Sequence[Fact]
    setup: SetupCheck | None


@dataclass(frozen=True)
class Gap:
    """Numbers that are missing for one reason."""

    status: str
    names: list[str]
    reason: str

    @property
    def what(self) -> str:
        """The names, or a few of them and how many more."""
        more = len(self.names) - FEW
        return ", ".join(self.names) if more <= 1 else f"{', '.join(self.names[:FEW])} and {more} more"


@dataclass(frozen=True)
class Gaps:
    """What was not measured."""

    gaps: Sequence[Gap]


@dataclass(frozen=True)
class Figure:
    """A drawing, for pages."""

    name: str
    """The function of `figures` that draws it."""
    data: Any
    caption: str


@dataclass(frozen=True)
class Rescalings:
    """Measures before and after rescaling, for pages."""

    rows: Sequence[Rescaled]


@dataclass(frozen=True)
class Classes:
    """Accuracy by class, for pages."""

    rows: Sequence[ClassAccuracy]


@dataclass(frozen=True)
class Everything:
    """All numbers and how each was made, for pages."""

    measured: Sequence[Measured]


@dataclass(frozen=True)
class Choice:
    """Any two of several cards compared, for pages."""

    names: Sequence[Name]
    numbers: Mapping[str, Any]
    """What the script of the page compares."""


@dataclass(frozen=True)
class Cards:
    """The reports of single cards, folded, for pages."""

    documents: Sequence[Document]


Block = Numbers | Beside | Sheet | Grid | Facts | Gaps | Figure | Rescalings | Classes | Everything | Choice | Cards


@dataclass(frozen=True)
class Section:
    """A titled part."""

    title: str
    blocks: Sequence[Block]
    note: str = ""
    """What to know when reading it."""
    guides: Sequence[str] = ()
    """Probes whose documentation says more, for pages."""


@dataclass(frozen=True)
class Document:
    """A report."""

    kind: str
    """``report card``, ``report cards`` or ``comparison``."""
    title: Sequence[str]
    meta: Sequence[str]
    """What it is about: data, n, …"""
    reading: Sequence[str]
    sections: Sequence[Section]
    cautions: Sequence[str] = ()
    verdict: str = ""
    """The card in one sentence; a comparison has none, and its sentences stand apart."""
