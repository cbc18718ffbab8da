"""How did it go: each probe, the check of the set-up before them, and the whole run?"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, FiniteFloat

from sharpaudit.card.measurement import Measurement, Record, Scalar, Table


class ProbeRun(Record):
    """How one probe went, and with which options."""

    status: Literal["measured", "skipped", "failed"]
    version: int = Field(ge=0)
    reason: str | None = None
    options: dict[str, Any] = {}
    distribution: str | None = None
    """The package and version that a plug-in came from; None for the probes of sharpaudit."""


class Outcome(ProbeRun):
    """Everything that came of one probe; a card is made of these and of what the audit began with."""

    probe: str
    measurements: list[Measurement] = []
    tables: dict[str, Table] = {}
    views: list[str] = []
    """The views of the data whose per-example columns it read."""
    passes: dict[str, int] = {}
    """Examples sent through the model while it ran, by kind of pass, shared views included where it was first to need them."""
    seconds: FiniteFloat = 0.0


class Check(Record):
    """One question about the set-up and what a small sample answered."""

    name: str
    """``labels``, ``normalisation``, ``batch_norm``, ..."""
    status: Literal["passed", "flagged", "not applicable"]
    message: str
    evidence: dict[str, Scalar | list[Scalar]] = {}
    """The numbers behind it."""


class SetupCheck(Record):
    """Whether the network was fed what it was trained on, asked before anything was measured. Nothing is changed by it."""

    n: int = Field(ge=0)
    """Images of the sample."""
    forward: int = Field(ge=0)
    """Images that were sent through the network for it."""
    checks: list[Check]

    @property
    def flagged(self) -> list[Check]:
        """The checks that found something."""
        return [check for check in self.checks if check.status == "flagged"]


class Timing(Record):
    """What differs from run to run; left out of the canonical form."""

    started: str
    """UTC, ISO 8601."""
    seconds: FiniteFloat
    probe_seconds: dict[str, FiniteFloat] = {}
    passes: dict[str, dict[str, int]] = {}
    """probe → kind of pass → examples sent through the model; the first to need a shared view is charged with it."""
    batch_size: int | None = None
    """Images in one forward pass at the end of the audit: what was set, halved whenever memory ran out."""
    reused: list[str] = []
    """Probes whose outcome an earlier run of the same audit had stored."""
    peak_memory_mib: FiniteFloat
    """Peak resident memory of the process, or of the device when there is one."""
