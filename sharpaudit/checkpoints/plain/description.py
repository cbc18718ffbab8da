"""How is a plain network written down? A short text that is parsed and never run, and prints as it is parsed.

    mlp(784-50-25-10, relu)
    seq(conv 32 5x5 pad 2, relu, maxpool 2, conv 64 3x3, batchnorm, relu, global avgpool, linear 10)

A network is a list of layers, one after the other. The numbers of inputs are not written: they follow from the layer before,
and of the first layer from its weights. ``flatten`` before the first linear layer, ``dropout`` and a closing ``log_softmax``
may be written and change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sharpaudit.errors import UsageError, clean

MAX_CHARACTERS = 10_000
MAX_LAYERS = 200
MAX_SIZE = 65_536
"""Of any number in a description."""

ACTIVATIONS = {
    "relu": "ReLU",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "gelu": "GELU",
    "silu": "SiLU",
    "elu": "ELU",
    "leaky_relu": "LeakyReLU",
    "relu6": "ReLU6",
    "selu": "SELU",
    "celu": "CELU",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "mish": "Mish",
    "hardtanh": "Hardtanh",
    "hardswish": "Hardswish",
    "hardsigmoid": "Hardsigmoid",
    "logsigmoid": "LogSigmoid",
    "tanhshrink": "Tanhshrink",
    "prelu": "PReLU",
}
"""Every activation, with its class in ``torch.nn``."""
SLOPED = ("leaky_relu", "elu", "celu")
"""Activations that may be followed by their slope or alpha."""

NORMS = ("batchnorm", "layernorm", "groupnorm", "instancenorm")

Pair = tuple[int, int]
PoolKind = Literal["max", "avg"]


@dataclass(frozen=True)
class Conv:
    """A convolution, padded with zeros."""

    out: int
    kernel: Pair
    stride: Pair = (1, 1)
    pad: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    def __str__(self) -> str:
        groups = f" groups {self.groups}" if self.groups != 1 else ""
        sizes = _words(self, stride=(1, 1), pad=(0, 0), dilation=(1, 1))
        return f"conv {self.out} {self.kernel[0]}x{self.kernel[1]}{sizes}{groups}"


@dataclass(frozen=True)
class Linear:
    """A fully connected layer; what is not flat yet is flattened first."""

    out: int

    def __str__(self) -> str:
        return f"linear {self.out}"


@dataclass(frozen=True)
class Norm:
    """A normalisation with weights in the file."""

    kind: str
    groups: int | None = None

    def __str__(self) -> str:
        return self.kind if self.groups is None else f"{self.kind} {self.groups}"


@dataclass(frozen=True)
class Activation:
    """A function of every number; `parameter` is the slope of ``leaky_relu`` and the alpha of ``elu``."""

    name: str
    parameter: float | None = None

    def __str__(self) -> str:
        return self.name if self.parameter is None else f"{self.name} {self.parameter:g}"


@dataclass(frozen=True)
class Pool:
    """Maximum or mean over windows."""

    kind: PoolKind
    kernel: Pair
    stride: Pair
    pad: Pair = (0, 0)
    ceil: bool = False
    """Whether windows that reach over the edge count."""

    def __str__(self) -> str:
        sizes = _words(self, stride=self.kernel, pad=(0, 0))
        return f"{self.kind}pool {_size(self.kernel)}{sizes}{' ceil' * self.ceil}"


@dataclass(frozen=True)
class GlobalPool:
    """Maximum or mean over equal parts of the image: of all of it (`size` 1), or of `size` by `size` parts."""

    kind: PoolKind
    size: int = 1

    def __str__(self) -> str:
        return f"global {self.kind}pool" if self.size == 1 else f"adaptive {self.kind}pool {self.size}"


Layer = Conv | Linear | Norm | Activation | Pool | GlobalPool


@dataclass(frozen=True)
class Description:
    """The layers of a plain network, in order."""

    layers: tuple[Layer, ...]

    def __str__(self) -> str:
        return f"seq({', '.join(map(str, self.layers))})"


def written(description: Description, inputs: int) -> str:
    """The text of a network whose first layer takes `inputs` numbers or channels: ``mlp(...)`` where it is one."""
    layers = description.layers
    widths = [layer.out for layer in layers if isinstance(layer, Linear)]
    between = {layer for layer in layers if isinstance(layer, Activation)}
    if len(between) <= 1 and layers == tuple(_mlp_layers(widths, next(iter(between), None))):
        activation = "".join(f", {each}" for each in between)
        return f"mlp({'-'.join(map(str, [inputs, *widths]))}{activation})"
    return str(description)


def is_description(text: str) -> bool:
    """Whether `text` means to be a description, rightly written or not."""
    return text.lstrip().startswith(("mlp(", "seq("))


@dataclass(frozen=True)
class Parsed:
    """A description and, where it says so, how many numbers its first layer takes."""

    description: Description
    inputs: int | None = None


def parse(text: str) -> Parsed:
    """The network that `text` describes.

    Raises:
        UsageError: it is not a description; the message quotes the part that is not understood.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"a description has at most {MAX_CHARACTERS:,} characters, this one has {len(text):,}")
    form = re.fullmatch(r"\s*(mlp|seq)\((.*)\)\s*", text, re.DOTALL)
    if not form:
        raise _misread(text, "mlp(784-50-10, relu) or seq(conv 32 5x5, relu, linear 10)")
    parts = [part.strip() for part in form[2].split(",")]
    if len(parts) > MAX_LAYERS:
        raise UsageError(f"a description has at most {MAX_LAYERS} layers, this one has {len(parts)}")
    if form[1] == "mlp":
        return _mlp(parts)
    layers = tuple(layer for part in parts for layer in _layer(part))
    if not any(isinstance(layer, Conv | Linear) for layer in layers):
        raise _misread(text, "at least one conv or linear layer")
    return Parsed(Description(layers))


def _mlp(parts: Sequence[str]) -> Parsed:
    widths = [_count(width, parts[0]) for width in parts[0].split("-")]
    if len(widths) < 2:
        raise _misread(parts[0], "widths from input to classes, as in mlp(784-50-10, relu)")
    between = [layer for part in parts[1:] for layer in _layer(part)]
    if not all(isinstance(layer, Activation) for layer in between) or len(between) > 1:
        raise _misread(", ".join(parts[1:]), "one activation, as in mlp(784-50-10, relu)")
    activation = next((layer for layer in between if isinstance(layer, Activation)), None)
    return Parsed(Description(tuple(_mlp_layers(widths[1:], activation))), widths[0])


def _mlp_layers(widths: Sequence[int], activation: Activation | None) -> Iterator[Layer]:
    for position, width in enumerate(widths):
        if position and activation:
            yield activation
        yield Linear(width)


def _layer(part: str) -> list[Layer]:
    """The layer that a part between commas says; none for what has no effect."""
    words = part.split()
    match words:
        case ["conv", out, kernel, *rest]:
            sizes = _options(rest, part, pairs=("stride", "pad", "dilation"), counts=("groups",))
            return [Conv(_count(out, part), _pair(kernel, part), **sizes)]  # type: ignore[arg-type]  # by the names of fields
        case ["linear", out]:
            return [Linear(_count(out, part))]
        case ["maxpool" | "avgpool" as name, kernel, *rest]:
            ceil = rest[-1:] == ["ceil"]
            size = _pair(kernel, part)
            sizes = _options(rest[:-1] if ceil else rest, part, pairs=("stride", "pad"))
            pad = sizes.get("pad", (0, 0))
            if isinstance(pad, tuple) and max(pad) > min(size) // 2:
                raise _misread(part, "a pad of at most half the window")
            return [Pool(_kind(name), size, **{"stride": size, **sizes}, ceil=ceil)]  # type: ignore[arg-type]  # as above
        case ["global", "maxpool" | "avgpool" as name]:
            return [GlobalPool(_kind(name))]
        case ["adaptive", "maxpool" | "avgpool" as name, size]:
            return [GlobalPool(_kind(name), _count(size, part))]
        case ["groupnorm", groups]:
            return [Norm("groupnorm", _count(groups, part))]
        case ["batchnorm" | "layernorm" | "instancenorm" as name]:
            return [Norm(name)]
        case ["flatten" | "log_softmax"] | ["dropout"]:
            return []
        case ["dropout", share] if re.fullmatch(r"[01]?\.?\d+", share):
            return []
        case [name] if name in ACTIVATIONS:
            return [Activation(name)]
        case [name, number] if name in SLOPED and re.fullmatch(r"\d{1,3}(\.\d{1,12})?(e-?\d)?", number):
            return [Activation(name, float(number))]
    raise _misread(part, f"conv, linear, maxpool, avgpool, {', '.join(NORMS)}, {', '.join(ACTIVATIONS)}")


def _options(words: Sequence[str], part: str, *, pairs: Sequence[str] = (), counts: Sequence[str] = ()) -> dict[str, Pair | int]:
    """``stride 2 pad 1x0`` as a dictionary, each word at most once."""
    found: dict[str, Pair | int] = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        if name in found or name not in (*pairs, *counts):
            raise _misread(part, f"{', '.join((*pairs, *counts))}, each at most once")
        found[name] = _pair(value, part, least=name != "pad") if name in pairs else _count(value, part)
    if len(words) % 2:
        raise _misread(part, f"a number after '{clean(words[-1], 20)}'")
    return found


def _kind(pool: str) -> PoolKind:
    return "max" if pool == "maxpool" else "avg"


def _count(text: str, part: str, *, least: int = 1) -> int:
    text = text.strip()
    if not re.fullmatch(r"[0-9]{1,6}", text) or not least <= int(text) <= MAX_SIZE:
        raise _misread(part, f"a whole number from {least} to {MAX_SIZE:,} for '{clean(text, 20)}'")
    return int(text)


def _pair(text: str, part: str, *, least: int = 1) -> Pair:
    """``3`` or ``3x5``, height before width."""
    sides = [_count(side, part, least=least) for side in text.split("x", 1)]
    return sides[0], sides[-1]


def _size(pair: Pair) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _words(layer: Conv | Pool, **usual: Pair) -> str:
    """The sizes of a layer that are not the usual ones, as text."""
    return "".join(f" {name} {_size(getattr(layer, name))}" for name, value in usual.items() if getattr(layer, name) != value)


def _misread(part: str, expected: str) -> UsageError:
    return UsageError(f"cannot read '{clean(part, 60)}' in a description of a network", hint=f"expected {expected}")
