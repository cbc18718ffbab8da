"""Several networks have these names and shapes: do they compute the same function with these weights?

Two networks that were put together from the same parts with the same options do, by construction. Others are asked: one random
image goes through both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sharpaudit.checkpoints.architectures import REFUSALS
from sharpaudit.checkpoints.fitting import Resolved, sized
from sharpaudit.checkpoints.weights import Filled, fill

TOLERANCE = 1e-4
"""Largest difference of logits, relative to their spread, that is rounding. Networks of timm that share names and shapes but not
the function differ by 3e-3 and more with random weights; the ResNets and DenseNets of torchvision and timm by less than 1e-6."""
RECORDS = {"pretrained_cfg", "default_cfg", "training", "num_classes"}
"""Attributes of a module that say where it came from, not what it computes."""


@dataclass
class Function:
    """What one or several architectures compute with the weights."""

    members: list[Resolved]
    """The likeliest first."""
    filled: Filled
    """The first of them with its weights."""

    @property
    def name(self) -> str:
        """The members, as typed after ``--arch``."""
        first, *rest = (member.architecture.spec for member in self.members)
        return f"{first} (same function: {', '.join(rest)})" if rest else first


def distinct(fits: Sequence[Resolved], *, allow_nonfinite: bool) -> list[Function]:
    """The different functions among `fits`, in their order, each for images of the size that the first of all fits takes.

    A network that cannot take them, where another can, is left out: it was not trained.

    Raises:
        CheckpointError: values that no working network has.
    """
    made = [Function(members, fill(members[0], allow_nonfinite=allow_nonfinite)) for members in made_alike(fits)]
    if len(made) == 1:
        return made
    image = torch.randn(1, *input_shape(fits[0]), generator=torch.Generator().manual_seed(0))
    asked = [(function, _logits(function.filled.module, image)) for function in made]
    found: list[tuple[Function, Tensor]] = []
    for function, logits in asked:
        same = next((other for other, theirs in found if logits is not None and _agree(logits, theirs)), None)
        if same:
            same.members += function.members
        elif logits is not None:
            found.append((function, logits))
    return [function for function, _ in found] or made


def same_function(one: Resolved, other: Resolved, input_size: tuple[int, int, int]) -> bool:
    """Whether two networks give one random image the same logits."""
    image = torch.randn(1, *input_size, generator=torch.Generator().manual_seed(0))
    logits = [_logits(fill(each, allow_nonfinite=True).module, image) for each in (one, other)]
    return logits[0] is not None and logits[1] is not None and _agree(logits[0], logits[1])


def takes(fit: Resolved, input_size: tuple[int, int, int]) -> bool:
    """Whether images of that size pass through the network."""
    return _logits(fit.outline.eval(), torch.empty(1, *input_size, device="meta")) is not None


def made_alike(fits: Sequence[Resolved]) -> list[list[Resolved]]:
    """The fits in groups whose networks are made of the same parts, once all are made for images of the size of the first."""
    height = input_shape(fits[0])[1]
    groups: list[tuple[object, list[Resolved]]] = []
    for fit in (sized(fit, height) for fit in fits):
        parts = _construction(fit.outline)
        group = next((members for other, members in groups if other == parts), None)
        if group is None:
            groups.append((parts, group := []))
        group.append(fit)
    return [members for _, members in groups]


def _construction(module: nn.Module) -> list[list[object]]:
    """What the network is made of: the class of each part and its plain attributes, which decide what it computes.

    Attributes without a value of their own (closures, objects) are compared by identity, so networks that hold any count as
    differently made.
    """
    return [[name, type(part), *_attributes(part)] for name, part in module.named_modules()]


def _attributes(part: nn.Module) -> Iterator[tuple[str, object]]:
    for key, value in sorted(vars(part).items()):
        if not key.startswith("_") and key not in RECORDS:
            yield key, (tuple(value.shape), value.dtype) if isinstance(value, Tensor) else value
    yield "hooks", (len(part._forward_hooks), len(part._forward_pre_hooks))


def input_shape(fit: Resolved) -> tuple[int, int, int]:
    """Channels, height and width of the images that a network takes."""
    defaults = fit.architecture.defaults(fit.outline)
    channels, height, width = defaults.input_size if defaults else (3, 224, 224)
    size = fit.settings.get("image_size", height)
    return fit.settings.get("in_channels", channels), size, width if size == height else size


@torch.no_grad()
def _logits(module: nn.Module, image: Tensor) -> Tensor | None:
    """Outputs for an image, or None where the network cannot take it."""
    try:
        out: Any = module(image)
    except REFUSALS:
        return None
    parts = [out] if isinstance(out, Tensor) else out.values() if isinstance(out, Mapping) else out
    return torch.cat([part.flatten() for part in parts if isinstance(part, Tensor)])


def _agree(one: Tensor, other: Tensor) -> bool:
    """Whether outputs are equal up to rounding. Constant ones and ones that are not finite tell nothing: they never agree."""
    spread = (one - one.mean()).abs().max()
    return one.shape == other.shape and bool(spread > 0) and bool((one - other).abs().max() <= TOLERANCE * spread)
