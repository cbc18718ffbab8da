"""What does an audit say? The card: every number with its interval, n, direction, method and status.

The card is the only thing the measuring tower (torch) hands to the judging tower (no torch). It is a pydantic model whose JSON
is byte-stable; `codec` reads and writes it, `card.schema.json` describes it for other programs.

A measurement is `Measured | Skipped | Failed`. The last two carry a reason and no value, so a number that was not obtained can
be neither averaged nor mistaken for a pass.
"""

from __future__ import annotations

from functools import singledispatch

from pydantic import ConfigDict, Field

from sharpaudit.card.circumstances import (
    CorruptionSource,
    DataRecord,
    Environment,
    Preprocessing,
    ProbeSet,
    Setting,
    Signature,
    Subject,
)
from sharpaudit.card.measurement import (
    Declared,
    Direction,
    Failed,
    Interval,
    Measured,
    Measurement,
    Record,
    Scalar,
    Skipped,
    Table,
)
from sharpaudit.card.outcome import Check, Outcome, ProbeRun, SetupCheck, Timing

__all__ = [
    "SCHEMA",
    "Card",
    "Check",
    "CorruptionSource",
    "DataRecord",
    "Declared",
    "Direction",
    "Environment",
    "Failed",
    "Interval",
    "Measured",
    "Measurement",
    "Outcome",
    "Preprocessing",
    "ProbeRun",
    "ProbeSet",
    "Record",
    "Scalar",
    "Setting",
    "SetupCheck",
    "Signature",
    "Skipped",
    "Subject",
    "Table",
    "Timing",
    "in_html",
]

SCHEMA = "sharpaudit.card/1.1"
"""1.1 added `predictions` and made the digest a duty."""


@singledispatch
def in_html(record: object) -> str | None:
    """A record as a notebook shows it; None leaves its text. Reports register how, of which a card knows nothing."""
    return None


class Card(Record):
    """The whole report of one checkpoint on one data set."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    subject: Subject
    data: DataRecord
    train_data: DataRecord | None = None
    probe_set: ProbeSet | None = None
    corruptions: CorruptionSource | None = None
    """None where nothing was corrupted, and on cards of earlier versions."""
    setup: SetupCheck | None = None
    """None where it was not asked for, and on cards of earlier versions."""
    environment: Environment
    config: dict[str, Setting] = {}
    seed: int = Field(ge=0)
    probes: dict[str, ProbeRun]
    measurements: list[Measurement]
    """Sorted by name."""
    tables: dict[str, Table] = {}
    incomplete: list[str] = []
    """Probes that were asked for and not run, because the audit was interrupted or its time was up."""
    reading: list[str]
    """The function-centric paragraph, one sentence an item."""
    predictions: str | None = None
    """SHA-256 of the per-example columns kept beside the card; None where there are none, and on cards of version 1.0."""
    timing: Timing | None = None
    """Stored in a file of its own, because it differs from run to run; in the card itself on cards of version 1.0."""

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    @property
    def lacking(self) -> dict[str, str]:
        """Probes that did not deliver what was asked of them, because they were not run or failed, and why."""
        unrun = {name: self.probes[name].reason or "" for name in self.incomplete}
        failed = {m.probe: m.reason for m in reversed(self.measurements) if isinstance(m, Failed)}
        broken = {name: run.reason or "" for name, run in self.probes.items() if run.status == "failed"}
        return failed | broken | unrun

    def find(self, name: str) -> Measured | Skipped | Failed | None:
        """The measurement called `name`, or None."""
        return next((m for m in self.measurements if m.name == name), None)

    def _repr_html_(self) -> str | None:
        return in_html(self)

    def measured(self, name: str) -> Measured | None:
        """The measurement called `name` if a number was obtained, else None."""
        found = self.find(name)
        return found if isinstance(found, Measured) else None
