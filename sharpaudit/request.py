"""What decides an audit? One record, `Request`, of records; every setting is a field of it, with its default and its `Flag`.

A new setting is a field here and a use where it takes effect; no list names it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from sharpaudit.errors import UnknownName, UnsafeInput
from sharpaudit.flags import Flag, low_and_high, numbers, parameters, seconds

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Precision = Literal["auto", "float32", "float64"]

BUDGET = Flag(min=1, hidden=True, variable=False)
"""A limit that protects the reader; raised by a flag of its name."""


@dataclass(frozen=True, kw_only=True)
class PreprocessingOverrides:
    """What the user said of the preprocessing; None where nothing was said."""

    mean: Annotated[
        tuple[float, ...] | None,
        Flag("Normalisation mean per channel, e.g. 0.485,0.456,0.406.", "X[,X,X]", parse=numbers(1, 2, 3, 4)),
    ] = None
    std: Annotated[
        tuple[float, ...] | None, Flag("Normalisation standard deviation per channel.", "X[,X,X]", parse=numbers(1, 2, 3, 4))
    ] = None
    input_size: Annotated[
        tuple[int, int, int] | None, Flag("Input size of the network.", "C,H,W", parse=numbers(3, whole=True))
    ] = None
    interpolation: Annotated[Interpolation | None, Flag("How images are resized.")] = None
    crop_pct: Annotated[
        float | None, Flag("Fraction of a resized image that the centre crop keeps.", "FRACTION", min=0.01, max=1.0)
    ] = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Budgets of the checkpoint readers. A file can claim far more than it holds: each budget is checked before the memory or
    the time that it protects is spent.
    """

    max_file_bytes: Annotated[int, BUDGET] = 16 * 2**30
    """Size of one file, which is read whole."""
    max_header_bytes: Annotated[int, BUDGET] = 16 * 2**20
    """JSON header of a safetensors file, ``config.json`` and the like."""
    max_tensors: Annotated[int, BUDGET] = 50_000
    """Tensors in one file. The largest architecture of timm has about 2,500."""
    max_name_chars: Annotated[int, BUDGET] = 2**14
    """Length of one tensor name."""
    max_rank: Annotated[int, BUDGET] = 16
    """Dimensions of one tensor."""
    max_pickle_steps: Annotated[int, BUDGET] = 1_000_000
    """Opcodes of all pickles in a file, and items that they have copied; a tensor takes about 30."""
    max_depth: Annotated[int, BUDGET] = 200
    """Nesting of containers that is searched for weights."""
    max_view_excess_bytes: Annotated[int, BUDGET] = 2**20
    """How far a view may exceed the bytes stored for it (a tensor expanded with stride 0)."""
    max_shared_bytes: Annotated[int, BUDGET] = 128 * 2**20
    """How far all tensors together may exceed the bytes stored for them (views and ties, which get copies of their own)."""

    def check(self, budget: str, amount: int, what: str) -> None:
        """Refuse when `amount` is above the budget of that name.

        Raises:
            UnsafeInput: with the amount, the limit and the flag.
        """
        limit = getattr(self, budget)
        if amount > limit:
            flag = "--" + budget.replace("_", "-")
            raise UnsafeInput(f"{what}: {amount:,} is above the limit of {limit:,}", hint=f"{flag} raises it")


LIMITS = Limits()
"""Those of whoever raises none."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How foreign data may be read: the budgets that stop bombs, and what to do where a format leaves a choice."""

    input_range: Annotated[
        tuple[float, float] | None, Flag("Black and white of floating-point images, e.g. 0,255.", "LOW,HIGH", parse=low_and_high)
    ] = None
    """None: 0 and 1."""
    bad_samples: Annotated[
        Literal["fail", "skip"], Flag("How to handle images that cannot be decoded.", name="on-bad-sample")
    ] = "fail"
    """Skipping decodes the whole set once when it is opened."""
    follow_links: Annotated[bool, Flag("Follow links out of the image folder.", guard=True)] = False
    max_bytes: Annotated[int, BUDGET] = 4 << 30
    """Largest array that is read into memory."""
    max_unpacked_bytes: Annotated[int, BUDGET] = 128 * 2**20
    """How far what is made of packed data may exceed what the data weigh: arrays twice their size, pictures 32 times it."""
    max_pixels: Annotated[int, BUDGET] = 4096 * 4096
    """Largest encoded image that is decoded."""
    allow_code: bool = False
    """Whether a Python file that is named as data may be run; an audit's is that of its `Request`."""


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """How to compute. None of it may change a number beyond the stated tolerance, except the seed, the probe set and which
    parameters count.
    """

    probe_examples: Annotated[int, Flag("Images in the probe set of the curvature measures.", "N", min=1)] = 512
    """Evenly spaced over the training images when given, else over the test images."""
    trainable_only: Annotated[bool, Flag("Hold frozen parameters constant in curvature and perturbations.")] = False
    """Else they count like all others."""
    precision: Annotated[Precision, Flag("Precision of the curvature computations.")] = "auto"
    batch_size: Annotated[int | None, Flag("Images per forward pass; else what suits the device.", "N", min=1, max=2**20)] = None
    """Halved when memory runs out."""
    device: Annotated[str, Flag("auto, cpu, cuda, cuda:N or mps.", "DEVICE")] = "cpu"
    seed: Annotated[int, Flag("Random seed.", "N", min=0, max=2**63 - 1)] = 0


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that decides an audit."""

    checkpoint: Path
    data: Annotated[
        str, Flag("Test images: digits, npz:PATH, imagefolder:PATH, cifar10, cifar10-c, …", "D", variable=False)
    ]  # SHARPAUDIT_DATA names folders
    train_data: Annotated[str | None, Flag("Training images, for the generalisation gap and curvature.", "D")] = None
    architecture: Annotated[
        str | None,
        Flag(
            "timm:NAME, torchvision:NAME, zoo:NAME, 'mlp(784-50-10, relu)', file.py:factory; else from the file.",
            "ARCH",
            name="arch",
        ),
    ] = None
    weights: Annotated[str, Flag("Which weights of a training checkpoint: auto, ema, raw, a key or a PREFIX.", "WHICH")] = "auto"
    probes: Annotated[str, Flag("quick, standard, deep, or probes separated by commas.", "PROBES")] = "standard"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Probe → option → value."""
    limit: Annotated[int | None, Flag("Use only the first N test images.", "N", min=1)] = None
    preprocessing: PreprocessingOverrides = field(default_factory=PreprocessingOverrides)
    num_classes: Annotated[int | None, Flag("Outputs that the network must have; else from its weights.", "N", min=2)] = None
    class_map: Annotated[Path | None, Flag("Which output each class of the data is: lines of a class and a number.", "FILE")] = (
        None
    )
    """None: by name, else by order."""
    synthesise: Annotated[
        bool, Flag("Corrupt the images of a -c set ourselves (synthetic-c) instead of reading published files.")
    ] = False
    reading: Reading = field(default_factory=Reading)
    limits: Limits = field(default_factory=Limits)
    bench: BenchSettings = field(default_factory=lambda: BenchSettings(device="auto"))
    max_time: Annotated[
        float,
        Flag(
            "Time for each checkpoint: 90s, 10m, 1h30m, …; probes that would take longer are left out.",
            "TIME",
            parse=seconds,
            on_card=False,
        ),
    ] = math.inf
    """Seconds."""
    allow_code: Annotated[bool, Flag("Run a Python file that --arch or --data names.", guard=True)] = False
    allow_inert: Annotated[bool, Flag("Read the tensors of a file that also holds code; the code is not run.", guard=True)] = (
        False
    )
    allow_nonfinite: Annotated[bool, Flag("Measure even if weights are NaN or infinite.", guard=True)] = False
    allow_partial: Annotated[bool, Flag("Continue if a -c set lacks some corruptions or severities.", guard=True)] = False
    allow_missing: Annotated[
        tuple[str, ...], Flag("Tensors that the file may lack, as in '*.bias'; repeatable.", "PATTERN", guard=True)
    ] = ()
    setup_check: Annotated[
        bool, Flag("Do not ask a few images whether the set-up is right.", name="no-setup-check", guard=True, hidden=True)
    ] = True
    trusted_keys: Annotated[
        Path | None,
        Flag("Public keys, a file or a folder: what is read must be signed with one.", "PATH", guard=True, on_card=False),
    ] = None
    """One of them must have made ``model.sig`` beside the checkpoint, and ``report.sig`` of runs that are judged."""
    search: tuple[Path, ...] = ()
    """Folders in which data sets are looked up by name."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The configuration as the card shows it: `card.Setting` by key."""


def request(checkpoint: Path, given: Mapping[str, Any], **others: Any) -> Request:
    """The request that `given` amounts to.

    Args:
        checkpoint: what is audited.
        given: values, or the texts that stand for them, by the names of their `parameters`.
        **others: fields of `Request` that have no flag.

    Raises:
        UnknownName: no parameter is called so.
        UsageError: a value that cannot be.
    """
    known = parameters(Request)
    values: dict[str, dict[str, Any]] = {"": others}
    for name, value in given.items():
        if name not in known:
            raise UnknownName("setting", name, list(known))
        values.setdefault(known[name].record, {})[name] = known[name].value(value)
    made = Request(checkpoint=checkpoint, **values.pop(""))
    return replace(made, **{record: replace(getattr(made, record), **inner) for record, inner in values.items()})
