"""What does an audit say? The card: every number with its interval, n, direction, method and status.

The card is the only thing the measuring tower (torch) hands to the judging tower (no torch). It is a pydantic model whose JSON
is byte-stable; `codec` reads and writes it, `card.schema.json` describes it for other programs.

A measurement is `Measured | Skipped | Failed`. The last two carry a reason and no value, so a number that was not obtained can
be neither averaged nor mistaken for a pass.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

SCHEMA = "sharpaudit.card/1.0"

Direction = Literal["higher", "lower", "none"]
"""Which way is better. Sharpness and flatness have no better direction: ``none``."""

Scalar = str | int | FiniteFloat | bool | None


class Record(BaseModel):
    """A frozen record. Unknown fields are kept, so that a card of a newer minor version survives a round trip."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False, ser_json_inf_nan="constants")


class Interval(Record):
    """A two-sided confidence interval."""

    low: FiniteFloat
    high: FiniteFloat
    level: FiniteFloat = 0.95
    """Nominal coverage, 0 to 1."""
    method: str
    """How it was made: ``wilson``, ``bca``, ``t``, ..."""


class Measured(Record):
    """A number that was obtained."""

    status: Literal["measured"] = "measured"
    name: str
    """``family.quantity[/qualifier]``, for example ``corruption.accuracy/fog/3``."""
    value: FiniteFloat
    unit: str
    """``fraction``, ``nats``, ``logits``, ``count``, ``1`` (no unit), ..."""
    direction: Direction
    n: int = Field(ge=0)
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
    iterations: int | None = None
    residual: FiniteFloat | None = None
    """For eigenvalues: ‖Av − λv‖ / |λ|; elsewhere as `method` says."""
    probe: str = ""
    version: int = 0
    """The probe and its version, stamped on by `execute`; numbers of different versions are not comparable."""

    @model_validator(mode="after")
    def _uncertainty_is_stated(self) -> Measured:
        if self.ci is None and not self.reason:
            raise ValueError(f"{self.name}: a number without an interval must say why it has none")
        return self


class Skipped(Record):
    """A number that was not asked for or does not apply here."""

    status: Literal["skipped"] = "skipped"
    name: str
    reason: str
    probe: str = ""
    version: int = 0


class Failed(Record):
    """A number that should have been obtained and was not."""

    status: Literal["failed"] = "failed"
    name: str
    reason: str
    probe: str = ""
    version: int = 0


Measurement = Annotated[Measured | Skipped | Failed, Field(discriminator="status")]


class Table(Record):
    """Rows that belong together: reliability bins, corruption cells, spectrum nodes."""

    columns: list[str]
    rows: list[list[Scalar]]

    def records(self) -> list[dict[str, Scalar]]:
        """The rows as dictionaries keyed by column."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Preprocessing(Record):
    """What stands between a stored image and the network's input; `origin` says who decided."""

    mean: list[FiniteFloat]
    std: list[FiniteFloat]
    """Per channel, on pixels scaled to [0, 1]."""
    input_size: list[int]
    """(channels, height, width)."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    crop_pct: FiniteFloat = 1.0
    """Images are resized so that the centre crop of `input_size` is this share of them."""
    origin: str


class Subject(Record):
    """The checkpoint that was audited and everything that was decided about it."""

    file: str
    """Base name only; cards hold no absolute paths."""
    sha256: str
    size_bytes: int
    format: str
    """``safetensors``, ``torch-zip``, ``torch-legacy``."""
    architecture: str
    """For example ``zoo:resnet20``."""
    architecture_origin: str
    """``--arch``, ``metadata``, ``fingerprint``."""
    num_parameters: int
    num_classes: int
    preprocessing: Preprocessing
    origins: dict[str, str] = {}
    """Who told ``num_classes``, ``in_channels``, ``image_size`` and ``labels``: ``shape of fc.weight``, ``config.json``,
    ``flags``, ``data``, or the architecture whose default was assumed."""
    steps: list[str] = []
    """What was done to the file's tensors before they fitted: wrappers opened, prefixes stripped, dtypes cast."""
    dropped: list[str] = []
    """Names of objects in the file that are not weights and were not used."""
    warnings: list[str] = []
    clean_load: bool = True
    """False when the file held code that was ignored on request."""
    ran_user_code: bool = False
    """True when the architecture came from a Python file of the user's."""


class DataRecord(Record):
    """The images that were used, in order."""

    name: str
    n: int
    index_hash: str
    """SHA-256 over images and labels in order: two cards are comparable example by example only when it is equal."""
    classes: list[str]
    classes_origin: str | None = None
    """Who named the classes and their order; None on cards of earlier versions."""
    notes: list[str] = []
    """What was converted, reordered or left out on the way in."""
    warnings: list[str] = []
    """What to know before trusting any number about these images."""
    ran_user_code: bool = False
    """True when a Python file of the user's made them."""


class CorruptionSource(Record):
    """Where the corrupted images came from. Numbers of different sources are not comparable."""

    label: str
    """``cifar10-c``, ``imagenet-c``, ... for published files; ``synthetic-c`` for those of sharpaudit's own functions."""
    version: str | None = None
    """Of sharpaudit's functions; None for published files."""
    fingerprint: str | None = None
    """SHA-256 over the labels and sixteen images of every cell of a stored set; None where images were made as needed. The table
    ``corruption`` holds the hash of every image that was used."""
    missing: list[str] = []
    """Cells that the set should hold and does not."""
    paired: bool = True
    """Whether it is known which clean image each corrupted one comes from."""
    notes: list[str] = []


class ProbeSet(Record):
    """The frozen examples on which curvature and sharpness are measured."""

    source: Literal["train", "test"]
    n: int
    index_hash: str
    precision: str
    """Floating-point type of the curvature computations."""


class Environment(Record):
    """Versions and device; what a reader needs to reproduce the bytes."""

    versions: dict[str, str]
    device: str
    dtype: str
    tf32: bool
    threads: int


class Setting(Record):
    """A configured value and where it came from."""

    value: Scalar | list[Scalar]
    origin: str
    """``flag``, ``environment``, ``config``, ``default``."""


class ProbeRun(Record):
    """How one probe went, and with which options."""

    status: Literal["measured", "skipped", "failed"]
    version: int
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

    n: int
    """Images of the sample."""
    forward: int
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
    seed: int
    probes: dict[str, ProbeRun]
    measurements: list[Measurement]
    """Sorted by name."""
    tables: dict[str, Table] = {}
    incomplete: list[str] = []
    """Probes that were asked for and not run, because the audit was interrupted or its time was up."""
    reading: list[str]
    """The function-centric paragraph, one sentence an item."""
    timing: Timing | None = None

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    def find(self, name: str) -> Measured | Skipped | Failed | None:
        """The measurement called `name`, or None."""
        return next((m for m in self.measurements if m.name == name), None)

    def measured(self, name: str) -> Measured | None:
        """The measurement called `name` if a number was obtained, else None."""
        found = self.find(name)
        return found if isinstance(found, Measured) else None
