"""What decides an audit, and how is each part of it said? One record, `Request`; everything that sets it is read off its fields.

A field with a `Flag` is a flag of the command line, ``SHARPAUDIT_NAME`` in the environment, a key of configuration files and a
keyword of `sharpaudit.measure`. A new setting is a field here and a use where it takes effect; no list names it again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from sharpaudit.errors import UnknownName, UnsafeInput, UsageError, clean

Interpolation = Literal["nearest", "bilinear", "bicubic"]
Precision = Literal["auto", "float32", "float64"]

LEAST_RANGE = 1e-6
"""Between black and white."""


@dataclass(frozen=True)
class Flag:
    """How a field is set from outside the program."""

    help: str = ""
    metavar: str | None = None
    name: str = ""
    """What the flag is called, where not as the field; one that begins with ``no-`` turns the field off."""
    min: float | None = None
    max: float | None = None
    parse: Callable[[str, str], Any] | None = None
    """The value of a text, given the flag for its errors; for types that a command line does not know."""
    guard: bool = False
    """Whether it loosens a refusal: such a flag is typed by a person, and stands in no file and no variable."""
    variable: bool = True
    on_card: bool = True
    hidden: bool = False
    """Left out of the help, since the refusal that needs it names it."""


@dataclass(frozen=True)
class Parameter:
    """A field that has a flag."""

    name: str
    flag: Flag
    type: Any
    default: Any
    """``MISSING`` where there is none."""
    record: str = ""
    """The field of `Request` whose record it belongs to; empty for `Request` itself."""

    @property
    def key(self) -> str:
        """Its name in files and on the card."""
        return self.flag.name.replace("-", "_") or self.name

    @property
    def option(self) -> str:
        """Its name on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def kind(self) -> Any:
        """The type of the field, its None aside."""
        kinds = get_args(self.type) if get_origin(self.type) in (Union, UnionType) else (self.type,)
        return next(each for each in kinds if each is not NoneType)

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return self.type is bool

    @property
    def is_list(self) -> bool:
        """Whether the flag may be repeated."""
        return bool(self.type == tuple[str, ...])

    @property
    def is_text(self) -> bool:
        """Whether files and the command line give it as text."""
        return self.flag.parse is not None or self.kind in (str, Path)

    def value(self, given: Any) -> Any:
        """The field's value that is `given`, as such or as the text that stands for it.

        Raises:
            UsageError: the field cannot have that value.
        """
        if self.flag.parse is not None and isinstance(given, str):
            return self.flag.parse(self.option, given)
        from pydantic import Field, TypeAdapter, ValidationError

        limited: Any = Annotated[self.type, Field(ge=self.flag.min, le=self.flag.max)] if self.flag.min is not None else self.type
        try:
            return TypeAdapter(limited).validate_python(given)
        except ValidationError as error:
            raise UsageError(f"{self.option}: {error.errors()[0]['msg']}, got {clean(repr(given), 60)}") from error


def _numbers(*counts: int, whole: bool = False) -> Callable[[str, str], tuple[float, ...]]:
    """A reader of texts such as 0.5,0.5,0.5, of as many finite numbers as one of `counts`; with `whole`, integers."""

    def parse(option: str, text: str) -> tuple[float, ...]:
        try:
            found = tuple(float(part) for part in text.split(","))
        except ValueError:
            found = ()
        if len(found) not in counts or not all(math.isfinite(number) and (not whole or number.is_integer()) for number in found):
            expected = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}" + " whole" * whole
            raise UsageError(f"{option}: expected {expected} numbers separated by commas, got '{clean(text)}'")
        return tuple(map(int, found)) if whole else found

    return parse


def _range(option: str, text: str) -> tuple[float, ...]:
    low, high = _numbers(2)(option, text)
    if high - low < LEAST_RANGE:
        raise UsageError(f"{option}: expected LOW below HIGH, got '{clean(text)}'")
    return low, high


def _seconds(option: str, text: str) -> float:
    """The seconds in a text such as 90s, 10m or 1h30m."""
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text)
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (3600, 60, 1), strict=True)) if found else 0
    if not seconds:
        raise UsageError(f"{option}: expected a time such as 90s, 10m or 1h30m, got '{clean(text)}'")
    return float(seconds)


BUDGET = Flag(min=1, hidden=True, variable=False)
"""A limit that protects the reader; raised by a flag of its name."""


@dataclass(frozen=True, kw_only=True)
class PreprocessingOverrides:
    """What the user said of the preprocessing; None where nothing was said."""

    mean: Annotated[
        tuple[float, ...] | None,
        Flag("Normalisation mean per channel, e.g. 0.485,0.456,0.406.", "X[,X,X]", parse=_numbers(1, 2, 3, 4)),
    ] = None
    std: Annotated[
        tuple[float, ...] | None, Flag("Normalisation standard deviation per channel.", "X[,X,X]", parse=_numbers(1, 2, 3, 4))
    ] = None
    input_size: Annotated[
        tuple[int, int, int] | None, Flag("Input size of the network.", "C,H,W", parse=_numbers(3, whole=True))
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
        tuple[float, float] | None, Flag("Black and white of floating-point images, e.g. 0,255.", "LOW,HIGH", parse=_range)
    ] = None
    """None: 0 and 1."""
    bad_samples: Annotated[
        Literal["fail", "skip"], Flag("How to handle images that cannot be decoded.", name="on-bad-sample")
    ] = "fail"
    """Skipping decodes the whole set once when it is opened."""
    follow_links: Annotated[bool, Flag("Follow links out of the image folder.", guard=True)] = False
    max_bytes: Annotated[int, BUDGET] = 4 << 30
    """Largest array that is read into memory."""
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
            parse=_seconds,
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


@cache
def parameters(record: type) -> Mapping[str, Parameter]:
    """Every field with a flag of a record, and of the records within it, by its name."""
    return {parameter.name: parameter for parameter in _parameters(record)}


def _parameters(record: type) -> Iterator[Parameter]:
    hints = get_type_hints(record, include_extras=True)
    for each in fields(record):
        hint = hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint) and each.default_factory is not MISSING:
            default = each.default_factory()
            for inner in _parameters(hint):
                yield replace(inner, record=each.name, default=getattr(default, inner.name))
        elif get_origin(hint) is Annotated:
            kind, flag = get_args(hint)
            yield Parameter(each.name, flag, kind, each.default)
