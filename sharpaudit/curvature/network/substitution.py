"""How does a network run with other tensors in the place of its own?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

Substitutes = Mapping[int, Tensor]
"""The `id` of a parameter or buffer ↦ the tensor to compute with."""


@contextmanager
def substituted(module: nn.Module, substitutes: Substitutes) -> Iterator[None]:
    """Inside, `module` computes with `substitutes`, wherever and however often it holds what they stand for.

    `torch.func.functional_call` goes by names, and leaves the substitutes in a module that occurs under two of them.
    """
    tables: list[dict[str, Any]] = [table for layer in module.modules() for table in (layer._parameters, layer._buffers)]
    places = [(table, name, t) for table in tables for name, t in table.items() if t is not None and id(t) in substitutes]
    try:
        for table, name, tensor in places:
            table[name] = substitutes[id(tensor)]
        yield
    finally:
        for table, name, tensor in places:
            table[name] = tensor
