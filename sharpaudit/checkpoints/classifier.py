"""Does the network classify images? It is shown one small batch of zeros, and what comes out is looked at.

A tuple or a dictionary with exactly one table (images, classes) is accepted: a hook takes the table out, so that every measure
sees logits and names of parameters stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sharpaudit.errors import CheckpointError, clean

IMAGES = 2
"""In the batch: one more than one, so that an output without a batch axis shows."""

REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError, NotImplementedError)
"""What networks raise for an input that they were not made for."""


def make_classifier(module: nn.Module, input_size: Sequence[int], num_classes: int) -> list[str]:
    """See that `module` maps images to logits, with a hook where the logits are inside something else; what was done.

    Args:
        module: in eval mode; a hook may be added to it.
        input_size: channels, height, width.
        num_classes: how many logits an image must have.

    Raises:
        CheckpointError: it cannot be run on images of that size, or gives something else.
    """
    output = _output(module, input_size)
    if isinstance(output, Tensor):
        _check(output, num_classes)
        return []
    named = _parts(output)
    tables = [key for key, part in named.items() if isinstance(part, Tensor) and part.dim() == 2 and len(part) == IMAGES]
    if len(tables) != 1:
        raise _refusal(output)
    key = tables[0]
    _check(named[key], num_classes)
    module.register_forward_hook(lambda _module, _inputs, result: _parts(result)[key])
    return [f"took the logits from part {clean(str(key))!r} of {_describe(output)}"]


@torch.no_grad()
def _output(module: nn.Module, input_size: Sequence[int]) -> Any:
    """What the network makes of zeros; its random state and the global one are left as they were."""
    images = torch.zeros(IMAGES, *input_size)
    try:
        with torch.random.fork_rng(devices=[]):
            return module(images)
    except REFUSALS as error:
        size = "×".join(map(str, images.shape))
        reason = clean(str(error).strip().partition("\n")[0], 200)
        hint = "only classifiers of single images are measured; --input-size changes the size"
        raise CheckpointError(
            f"the network cannot be run on images of {size}: {type(error).__name__}: {reason}", hint=hint
        ) from error


def _parts(output: Any) -> Mapping[Any, Any]:
    if isinstance(output, Mapping):
        return output
    return dict(enumerate(output)) if isinstance(output, list | tuple) else {}


def _check(logits: Tensor, num_classes: int) -> None:
    if not logits.is_floating_point() or tuple(logits.shape) != (IMAGES, num_classes):
        raise _refusal(logits, num_classes)


def _refusal(output: Any, num_classes: int | None = None) -> CheckpointError:
    wanted = f"({IMAGES}, {num_classes or 'classes'})"
    return CheckpointError(
        f"the network gives {_describe(output)} for {IMAGES} images, expected logits of shape {wanted}",
        hint="only classifiers of single images are measured",
    )


def _describe(output: Any) -> str:
    """The type and shapes of an output in a few words."""
    if isinstance(output, Tensor):
        return f"{str(output.dtype).removeprefix('torch.')} of shape {tuple(output.shape)}"
    parts = _parts(output)
    if not parts:
        return f"a {clean(type(output).__name__)}"
    kind = "a dictionary" if isinstance(output, Mapping) else f"a {type(output).__name__}"
    shown = [f"{clean(str(k), 30)} {tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__}" for k, v in parts.items()]
    return f"{kind} ({', '.join(shown[:5])}{', …' if len(shown) > 5 else ''})"
