"""What are the names and shapes of a network, without its values? Built on the meta device, where nothing is allocated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


def outline(build: Callable[[], nn.Module]) -> nn.Module:
    """The network that `build` makes, on the meta device."""
    try:
        with torch.device("meta"), _WithoutValues():
            return build()
    except NotImplementedError:  # a builder that computes widths with tensors (RegNet of torchvision)
        with _LargeTensorsOnMeta(), _WithoutValues():
            return build()


class _LargeTensorsOnMeta(TorchFunctionMode):
    """Puts what the factories of parameters make on the meta device, and leaves computed tensors alone."""

    FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn)

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        device = {"device": given.get("device") or "meta"} if function in self.FACTORIES else {}
        return function(*args, **{**given, **device})


class _WithoutValues(TorchFunctionMode):
    """Leaves out initialisation on the meta device, which takes most of the time of a build and sets nothing."""

    ARITHMETIC = {"add_", "clamp_", "copy_", "div_", "erfinv_", "fill_", "mul_", "normal_", "sub_", "uniform_", "zero_"}

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        target = args[0] if args else given.get("tensor")
        initialises = (
            getattr(function, "__module__", "") == "torch.nn.init" or getattr(function, "__name__", "") in self.ARITHMETIC
        )
        if initialises and isinstance(target, Tensor) and target.is_meta:
            return target
        return function(*args, **given)
