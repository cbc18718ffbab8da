"""Which layer turns penultimate features into logits?"""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def last_linear(module: nn.Module, example: Tensor) -> nn.Linear | None:
    """The linear layer whose output is the network's output, found by one forward pass of `example` (1, ...).

    Its input are the penultimate features. None where the network ends otherwise: in a convolution, a product of its output with
    something, or a layer that ran more than once.
    """
    outputs: list[tuple[nn.Linear, Tensor]] = []

    def see(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Linear) and inputs[0].ndim == 2:
            outputs.append((layer, output))

    hooks = [layer.register_forward_hook(see) for layer in module.modules() if isinstance(layer, nn.Linear)]
    try:
        logits = module(example)
    finally:
        for hook in hooks:
            hook.remove()
    heads = [layer for layer, output in outputs if output.data_ptr() == logits.data_ptr() and output.shape == logits.shape]
    ran_once = len(heads) == 1 and [layer for layer, _ in outputs].count(heads[0]) == 1
    return heads[0] if ran_once else None
