"""How is a forward pass made differentiable twice, or three times, and the same for every batch?

Fused attention kernels and `hardsigmoid` have no second derivative in torch, and that of weight norm is silently wrong, in dense
`torch.func` matrices too; inside `twice_differentiable` they are replaced by plain operations that compute the same function.
The third derivative of torch's `layer_norm` is silently wrong; inside
`thrice_differentiable` it is replaced too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """`_weight_norm` by its definition, g · v/‖v‖ with a norm for each entry of dimension `dim`, or for all where that is −1."""
    axes = [axis for axis in range(v.ndim) if axis != dim]
    return v * (g / v.square().sum(axes, keepdim=True).sqrt())


def _layer_norm(
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *_: object,
) -> Tensor:
    """`layer_norm` by its definition."""
    axes = tuple(range(-len(normalized_shape), 0))
    centred = x - x.mean(axes, keepdim=True)
    normed: Tensor = centred * (centred.square().mean(axes, keepdim=True) + eps).rsqrt()
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias


Rewrites = Mapping[Any, Callable[..., Any]]

TWICE: Rewrites = {
    functional.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid_: _hardsigmoid,
    torch._weight_norm: _weight_norm,
}
THRICE: Rewrites = {functional.layer_norm: _layer_norm, torch.layer_norm: _layer_norm}


class _Rewriting(TorchFunctionMode):
    """Calls the rewritten function where there is one."""

    def __init__(self, rewrites: Rewrites) -> None:
        super().__init__()
        self._rewrites = rewrites

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._rewrites.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Forward passes inside have first and second derivatives; kernel choices are restored on leaving."""
    fastpath = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), _Rewriting(TWICE):
            yield
    finally:
        mha.set_fastpath_enabled(fastpath)


@contextmanager
def thrice_differentiable() -> Iterator[None]:
    """Forward passes inside have third derivatives too, where `twice_differentiable` is also in force."""
    with _Rewriting(THRICE):
        yield
