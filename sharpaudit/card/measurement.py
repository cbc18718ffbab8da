"""What is a measurement? A number with its uncertainty, or the reason why there is none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

Direction = Literal["higher", "lower", "none"]
"""Which way is better. Sharpness and flatness have no better direction: ``none``."""

Role = Literal["flatness", "safety", "neither"]
"""What a number is evidence of when models are compared. Neither: a floor, a shape, a setting, a part of another number."""

Page = Literal["flatness", "safety", "calibration", "overview", "leaderboard"]

Scalar = str | int | FiniteFloat | bool | None


class Record(BaseModel):
    """A frozen record. Unknown fields are kept, so that a card of a newer minor version survives a round trip."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, ser_json_inf_nan="constants")


class Interval(Record):
    """A two-sided confidence interval."""

    low: FiniteFloat
    high: FiniteFloat
    level: FiniteFloat = Field(default=0.95, gt=0, le=1)
    """Nominal coverage, 0 to 1."""
    method: str
    """How it was made: ``wilson``, ``bca``, ``t``, ..."""


class Declared(Record):
    """What the probe of another package says of its number, as `Measure` does of ours."""

    title: str = ""
    role: Role = "neither"
    on: list[Page] = []
    flatter_when_larger: bool = False


class Measured(Record):
    """A number that was obtained."""

    status: Literal["measured"] = "measured"
    name: str
    """``family.quantity[/qualifier]``, for example ``corruption.accuracy/fog/3``."""
    value: FiniteFloat
    unit: str
    """``fraction``, ``nats``, ``logits``, ``count``, ``1`` (no unit), ..."""
    direction: Direction
    n: int = Field(ge=1, le=2**53)
    """Examples (or draws, where `method` says so) behind the value."""
    ci: Interval | None = None
    reason: str | None = None
    """Why there is no interval; required when `ci` is None."""
    method: str
    """How the value was obtained, in a few words a reader of the field understands."""
    options: dict[str, Scalar] = {}
    """Settings that change the value."""
    converged: bool | None = None
    """For iterative numbers: whether the stopping rule was met. None where nothing iterates."""
    iterations: int | None = Field(default=None, ge=0)
    residual: FiniteFloat | None = Field(default=None, ge=0)
    """For eigenvalues: ‖Av − λv‖ / |λ|; elsewhere as `method` says."""
    probe: str = ""
    version: int = Field(default=0, ge=0)
    """The probe and its version, stamped on by `execute`; numbers of different versions are not comparable."""
    declared: Declared | None = Field(default=None, exclude_if=lambda declared: declared is None)
    """Stamped on likewise where the probe is a plug-in's; of ours the catalogue knows."""

    @model_validator(mode="after")
    def _uncertainty_is_stated(self) -> Measured:
        if self.ci is None and not self.reason:
            raise ValueError(f"{self.name}: a number without an interval must say why it has none")
        return self


class Missing(Record):
    """A number that is not there."""

    name: str
    reason: str
    probe: str = ""
    version: int = Field(default=0, ge=0)


class Skipped(Missing):
    """A number that was not asked for or does not apply here."""

    status: Literal["skipped"] = "skipped"


class Failed(Missing):
    """A number that should have been obtained and was not."""

    status: Literal["failed"] = "failed"


Measurement = Annotated[Measured | Skipped | Failed, Field(discriminator="status")]


class Table(Record):
    """Rows that belong together: reliability bins, corruption cells, spectrum nodes."""

    columns: list[str]
    rows: list[list[Scalar]]

    def records(self) -> list[dict[str, Scalar]]:
        """The rows as dictionaries keyed by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]
