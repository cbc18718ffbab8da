"""Does the network classify images? It is shown one small batch of zeros, and what comes out is looked at.

A tuple or a dictionary with exactly one table (images, classes) is accepted: a hook takes the table out, so that every measure
sees logits and names of parameters stay what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sharpaudit.errors import CheckpointError, clean

IMAGES = 2
"""In the batch: one more than one, so that an output without a batch axis shows."""

REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError, NotImplementedError)
"""What networks raise for an input that they were not made for."""


@dataclass(frozen=True)
class Classifier:
    """What was seen of a network that classifies images."""

    num_classes: int
    steps: list[str]
    """How the logits are taken out of its output, where they are inside something else."""


def make_classifier(module: nn.Module, input_size: Sequence[int]) -> Classifier:
    """See that `module` (in eval mode) maps images of `input_size` (channels, height, width) to logits; it may be given a hook.

    Raises:
        CheckpointError: it cannot be run on images of that size, or gives something else than a row of logits for each.
    """
    output = _output(module, input_size)
    if _is_table(output):
        return Classifier(output.shape[1], [])
    parts = _parts(output)
    tables = [key for key, part in parts.items() if _is_table(part)]
    if len(tables) != 1:
        raise CheckpointError(
            f"the network gives {_describe(output)} for {IMAGES} images, expected a row of logits for each",
            hint="only classifiers of single images are measured",
        )
    key = tables[0]
    module.register_forward_hook(lambda _module, _inputs, result: _parts(result)[key])
    return Classifier(parts[key].shape[1], [f"took the logits from part {clean(repr(key))} of {_describe(output)}"])


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


def _is_table(output: Any) -> bool:
    """Whether it is a row of logits for each image."""
    return (
        isinstance(output, Tensor)
        and output.is_floating_point()
        and output.dim() == 2
        and len(output) == IMAGES
        and output.shape[1] > 1
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
