"""How much may the builder of a network do? Its work is counted, because its options may come from a file.

A few bytes of ``config.json`` can ask for windows of 5,000 patches, images of 100,000 pixels or a million layers. What a builder
makes is counted on the meta device too, where it costs nothing, so that it is refused before it is made for real. The budgets are
two to ten times what any builder of timm takes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

MAX_LINES = 7_000_000
"""Lines of Python that are run."""
MAX_OPERATIONS = 100_000
"""Calls of torch."""
MAX_PARAMETERS = 5_000
"""Weights and biases; the largest network of timm has 2,500."""
MAX_MADE = 4 * 2**30
"""Bytes of everything that is made beside the parameters, most of it thrown away."""
MAX_HELD = 128 * 2**20
"""Bytes of what is kept beside the parameters, and beyond as many as they have: buffers, and one tensor on the way to them."""


def bounded(build: Callable[[], nn.Module], *, loops: bool) -> nn.Module:
    """The network that `build` makes, unless it takes more than any network does; `loops` counts lines of Python as well.

    Raises:
        ValueError: too much of something; the message says what.
    """
    made = _Made()
    with _few_lines() if loops else nullcontext(), _few_parameters(), made:
        module = build()
    parameters = [_num_bytes(parameter) for parameter in module.parameters()]
    others = {id(tensor): tensor for part in module.modules() for tensor in _others(part)}
    _refuse_more(made.num_bytes - sum(parameters), MAX_MADE, "bytes made by its builder")
    _refuse_more(made.largest, max([MAX_HELD, *parameters]), "bytes in one tensor that its builder makes")
    _refuse_more(sum(map(_num_bytes, others.values())), MAX_HELD + sum(parameters), "bytes in its buffers")
    return module


def _others(part: nn.Module) -> Iterator[Tensor]:
    """What the module holds itself beside parameters: its buffers, and tensors that are plain attributes."""
    for value in (*part._buffers.values(), *vars(part).values()):
        if isinstance(value, Tensor):
            yield value


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _refuse_more(count: int, most: int, what: str) -> None:
    if count > most:
        raise ValueError(f"more than {most:,} {what}")


class _Made(TorchFunctionMode):
    """Counts calls of torch and the bytes of what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.num_bytes = self.largest = 0

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.operations += 1
        _refuse_more(self.operations, MAX_OPERATIONS, "calls of torch by its builder")
        given = kwargs or {}
        result = function(*args, **given)
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and not any(tensor is value for value in (*args, *given.values())):
                size = _num_bytes(tensor)
                self.num_bytes += size
                self.largest = max(self.largest, size)
        return result


@contextmanager
def _few_parameters() -> Iterator[None]:
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1
        _refuse_more(count, MAX_PARAMETERS, "parameters")

    hook = register_module_parameter_registration_hook(counted)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _few_lines() -> Iterator[None]:
    """Stop a loop that no call of torch would count; it doubles the time of a build, to a tenth of a second."""
    count = 0

    def counted(_frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        if event == "line":
            count += 1
            if count > MAX_LINES:
                raise ValueError(f"more than {MAX_LINES:,} lines run by its builder")
        return counted

    before = sys.gettrace()
    sys.settrace(counted)
    try:
        yield
    finally:
        sys.settrace(before)
