"""How is a network copied, perhaps into another precision, without losing what deepcopy and `Module.to` lose or refuse?

`Module.to` drops the imaginary parts of complex buffers and passes over tensors that are neither parameters nor buffers; deepcopy
refuses what a layer computed from its weights and kept, as the older weight norm does.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn


def copied(module: nn.Module, dtype: torch.dtype | None = None, device: torch.device | None = None) -> nn.Module:
    """A copy of `module`; real numbers become `dtype`, complex ones have as many digits, integers stay."""

    def moved(t: Tensor) -> Tensor:
        if dtype is None or not (t.is_floating_point() or t.is_complex()):
            return t.detach().to(device)
        return t.detach().to(device, dtype.to_complex() if t.is_complex() else dtype)

    loose = {
        id(value): moved(value).clone()
        for layer in module.modules()
        for value in vars(layer).values()
        if isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
    }
    copy = deepcopy(module, loose)
    return copy._apply(moved)  # type: ignore[no-any-return, no-untyped-call]  # what `Module.to` calls with a function of its own
