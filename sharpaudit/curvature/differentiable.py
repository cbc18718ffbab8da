"""How is a forward pass made differentiable twice, and the same for every batch?

Fused attention kernels and `hardsigmoid` have no second derivative in torch; inside `twice_differentiable` they are replaced by
plain operations that compute the same function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.backends import mha
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """`hardsigmoid` by its definition, whose parts have second derivatives."""
    return functional.relu6(x + 3) / 6


_REWRITES: dict[Any, Callable[..., Any]] = {
    functional.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid_: _hardsigmoid,
}


class _Rewriting(TorchFunctionMode):
    """Calls the rewritten function where there is one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _REWRITES.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Forward passes inside have first and second derivatives; kernel choices are restored on leaving."""
    fastpath = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Rewriting():
            yield
    finally:
        mha.set_fastpath_enabled(fastpath)
