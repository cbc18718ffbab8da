"""What was audited, on what, with what? The checkpoint, the images, the machine and the settings, each with who decided it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from sharpaudit.card.measurement import Record, Scalar


class Preprocessing(Record):
    """What stands between a stored image and the network's input; `origin` says who decided."""

    mean: list[FiniteFloat]
    std: list[FiniteFloat]
    """Per channel, on pixels scaled to [0, 1]."""
    input_size: list[int]
    """(channels, height, width)."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    crop_pct: FiniteFloat = Field(default=1.0, gt=0, le=1)
    """Images are resized so that the centre crop of `input_size` is this share of them."""
    origin: str


class Signature(Record):
    """A detached signature that lies beside the checkpoint."""

    verified: bool
    """False where no trusted keys were given: then it was not looked at."""
    key: str | None = None
    """SHA-256 of the trusted public key that made it, in PEM; None where it was not verified."""


class Subject(Record):
    """The checkpoint that was audited and everything that was decided about it."""

    file: str
    """Base name only; cards hold no absolute paths."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)
    format: str
    """``safetensors``, ``torch-zip``, ``torch-legacy``."""
    architecture: str
    """For example ``zoo:resnet20``."""
    architecture_origin: str
    """``--arch``, ``metadata``, ``fingerprint``."""
    num_parameters: int = Field(ge=0)
    num_frozen: int = Field(default=0, ge=0)
    """Of these, in parameters that the architecture's code has frozen."""
    num_classes: int = Field(ge=1)
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
    signature: Signature | None = None
    """None where none lies beside it, and on cards of earlier versions."""


class DataRecord(Record):
    """The images that were used, in order."""

    name: str
    n: int = Field(ge=1)
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
    n: int = Field(ge=1)
    index_hash: str
    precision: str
    """Floating-point type of the curvature computations."""
    trainable_only: bool = False
    """Whether the `num_frozen` parameters were held constant; else they count like all others."""


class Environment(Record):
    """Versions and device; what a reader needs to reproduce the bytes."""

    versions: dict[str, str]
    device: str
    dtype: str
    tf32: bool
    threads: int = Field(ge=1)
    determinism: Literal["bitwise", "tolerance"] | None = None
    """What the same audit on this machine gives again: the same bytes, or on a GPU, which adds in no fixed order, numbers that
    agree to rounding. None on cards of earlier versions."""


class Setting(Record):
    """A configured value and where it came from."""

    value: Scalar | list[Scalar]
    origin: str
    """``flag``, ``environment``, ``config``, ``default``."""
