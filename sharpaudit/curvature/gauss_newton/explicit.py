"""What are the derivatives of each example's logits in every parameter, formed one example after the other?

Always right, whatever the network is made of, and several times as dear as what follows from the inputs of layers (`layers`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import torch
from torch import Tensor
from torch.autograd import grad

from sharpaudit.curvature.objective import Objective
from sharpaudit.device import is_out_of_memory

BACKWARD = 16
"""Forward passes in a big batch that take as long as one row: measured on a ResNet-20, one example at a time on one core."""


def jacobians(objective: Objective, parameters: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
    """J_i (classes, P) of one example after the other; of some of `objective.theta` only, if given."""
    onehots = torch.eye(objective.num_classes, dtype=objective.dtype, device=objective.inputs.device)
    return pulled_back(objective, repeat(onehots, objective.num_examples), parameters)


def pulled_back(objective: Objective, weights: Iterable[Tensor], parameters: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
    """W_i J_i (k, P) of one example after the other, for the `weights` W_i (k, classes) of each."""
    theta = list(objective.theta if parameters is None else parameters)
    for image, w in zip(torch.split(objective.inputs, 1), weights, strict=True):
        with torch.enable_grad():
            logits = objective.forward(image, fold=False)[0]
        parts = [
            w.new_zeros(len(w), t.numel()) if part is None else part.reshape(len(w), t.numel())
            for part, t in zip(_pulled(logits, theta, w.to(logits)), theta, strict=True)
        ]
        objective.passes["backward"] += len(w)
        yield torch.cat(parts, dim=1)


def _pulled(logits: Tensor, theta: Sequence[Tensor], weights: Tensor) -> Sequence[Tensor | None]:
    """The derivatives of weighted `logits` in each of `theta`, stacked; one after the other where operations cannot be batched.

    None where the logits do not depend on it.
    """
    try:
        found: Sequence[Tensor | None] = grad(
            [logits], theta, [weights], retain_graph=True, is_grads_batched=True, allow_unused=True
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        rows = [grad([logits], theta, [w], retain_graph=True, allow_unused=True) for w in weights]
        found = [None if column[0] is None else torch.stack(column) for column in zip(*rows, strict=True)]
    return found
