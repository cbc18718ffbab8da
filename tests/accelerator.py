"""A pretend accelerator: tensors that live in main memory and say that they live elsewhere.

    with accelerator() as device:
        x = torch.rand(4, 3).to(DEVICE)      # every operation on x runs for real, on the CPU
        x + torch.rand(4, 3)                 # MixedDevices: what a GPU refuses is refused
        x.sum().item()                       # counted: the host waited for the device
    device.waits                             # where in the package it did, and how often

So code for a GPU runs on every machine, and gives the very bits of the CPU, since the same kernels run. The device is called
``meta``, the one device beside the CPU whose name every build of torch knows and whose backward passes run in the calling
thread. Streams, pinned memory, non-determinism and speed are not pretended.

A `non_blocking` copy to the host holds noise until the host has waited for it, itself or by a `torch.Event`.

As on a GPU, operands of dimension 0 may stand on the CPU, and so may integer and boolean indices. The host waits where a value is
read, where a shape depends on values, and at each copy between the two that is not `non_blocking`.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

import sharpaudit
from sharpaudit import transfer

DEVICE = "meta"

PACKAGE = str(Path(sharpaudit.__file__).parent)

aten = torch.ops.aten

COPIES = {aten.copy_.default, aten._to_copy.default}
INDEXING = {aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default}
INDICES = (torch.int64, torch.int32, torch.uint8, torch.bool)
MASKS = (torch.uint8, torch.bool)
DOUBLES = (torch.float64, torch.complex128)

READING = {
    aten._local_scalar_dense.default,
    aten._linalg_check_errors.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.unique_dim.default,
    aten._unique2.default,
}
"""Operations after which the host goes on only when it knows a value."""


class Place(NamedTuple):
    """A line of the package."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class MixedDevices(RuntimeError):
    """Operands on two devices."""


class There(Tensor):
    """A tensor on the pretend accelerator; `here` holds its values."""

    here: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, here: Tensor) -> There:
        wrapper: There = Tensor._make_wrapper_subclass(
            cls,
            here.size(),
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            layout=here.layout,
            device=torch.device(DEVICE),
            requires_grad=here.requires_grad,
        )
        wrapper.here = here
        return wrapper

    def data_ptr(self) -> int:
        """Where the values lie, as `Tensor.data_ptr` tells it of a device."""
        return self.here.data_ptr()

    def tolist(self) -> Any:
        """As of any tensor; torch refuses it to a wrapper."""
        return self.cpu().tolist()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"There({self.here!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise AssertionError(f"{func} on a tensor that outlived its accelerator, or in another thread")


class Accelerator(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own hook for subclasses
    """Inside, what is made on `DEVICE` is a `There`."""

    def __init__(self, *, float64: bool = True) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._float64 = float64
        self.waits: Counter[Place] = Counter()
        """Where in the package the thread that entered waited for the device, and how often; others wait beside it."""
        self._thread = threading.get_ident()
        self._underway: list[tuple[Tensor, Tensor]] = []
        self._arrived = 0
        self._lock = threading.Lock()

    def wait(self, until: int | None = None) -> None:
        """Until all copies to the host have arrived, or the first `until` of them."""
        if threading.get_ident() == self._thread:
            self.waits[_place()] += 1
        with self._lock, torch.inference_mode(False), torch.no_grad():
            stop = len(self._underway) if until is None else until
            for target, values in self._underway[self._arrived : stop]:
                target.copy_(values)
            self._arrived = max(self._arrived, stop)

    def mark(self) -> int:
        """How many copies were asked for so far."""
        return len(self._underway)

    def _noise(self, target: Tensor) -> Tensor:
        """What `target` holds until its values arrive."""
        self._underway.append((target, target.clone()))
        target.view(torch.uint8).fill_(0xA5) if target.dim() else target.zero_()
        return target

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket is aten.to:  # in inference mode it comes as it was called, elsewhere as `_to_copy`
            with self:
                return func.decompose(*args, **kwargs)
        tensors = list(_tensors((args, kwargs)))
        there = any(isinstance(x, There) for x in tensors)
        _require_one_device(func, args, tensors)
        target = kwargs.get("device")
        if target is not None:
            kwargs = {**kwargs, "device": torch.device("cpu")}
        if func is aten.copy_.default:
            goes_there = isinstance(args[0], There)
        else:
            goes_there = there if target is None else torch.device(target).type == DEVICE
        if _waits(func, args, kwargs, there, goes_there):
            self.wait()
        result = func(*_values(args), **_values(kwargs))
        if not goes_there:
            return self._noise(result) if there and func in COPIES and _non_blocking(func, args, kwargs) else result
        if not self._float64 and any(x.dtype in DOUBLES for x in _tensors(result)):
            raise TypeError(f"{func}: this device has no float64")
        if func._schema.is_mutable and torch.Tag.inplace_view not in func.tags and isinstance(result, Tensor):
            return next(x for x in tensors if isinstance(x, There) and x.here is result)
        with torch.inference_mode(False):  # a wrapper cannot be an inference tensor
            result = _there(result)
        aliased = there and _aliases(func)
        return return_and_correct_aliasing(func, args, kwargs, result) if aliased else result  # type: ignore[no-untyped-call]


@contextmanager
def accelerator(*, float64: bool = True) -> Iterator[Accelerator]:
    """The pretend accelerator, as long as the context lasts; without `float64` it refuses such numbers, as Apple's mps does.

    Beside the operations, which torch hands to a mode, three ways to make tensors go round every mode and are led through it:
    `torch.tensor`, `Tensor.new_tensor`, and `Module.to`, which writes into the storage of a parameter that a wrapper does not
    have.
    """
    future, mode = torch.__future__, Accelerator(float64=float64)
    tensor, new_tensor, event = torch.tensor, Tensor.new_tensor, torch.Event
    overwrite = future.get_overwrite_module_params_on_conversion()

    def made(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, **_: Any) -> Tensor:
        on_host = tensor(data, dtype=dtype)
        return (on_host if device is None else on_host.to(device)).requires_grad_(requires_grad)

    def made_like(self: Tensor, data: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
        return made(data, dtype=dtype or self.dtype, device=device or self.device)

    class Event:
        """What `torch.Event` is to a GPU."""

        def __init__(self, device: torch.device) -> None:
            assert device.type == DEVICE

        def record(self) -> None:
            self._until = mode.mark()

        def synchronize(self) -> None:
            mode.wait(self._until)

    torch.tensor, Tensor.new_tensor, torch.Event = made, made_like, Event  # type: ignore[method-assign,assignment,misc]
    future.set_overwrite_module_params_on_conversion(True)
    try:
        with mode:
            yield mode
    finally:
        torch.tensor, Tensor.new_tensor, torch.Event = tensor, new_tensor, event  # type: ignore[method-assign,misc]
        future.set_overwrite_module_params_on_conversion(overwrite)


def _tensors(x: Any) -> Iterator[Tensor]:
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, (tuple, list, dict)):
        for part in x.values() if isinstance(x, dict) else x:
            yield from _tensors(part)


def _values(x: Any) -> Any:
    if isinstance(x, dict):
        return {name: _values(part) for name, part in x.items()}
    if isinstance(x, (tuple, list)):
        return type(x)(map(_values, x))
    return x.here if isinstance(x, There) else x


def _there(x: Any) -> Any:
    if isinstance(x, (tuple, list)):
        return type(x)(map(_there, x))
    return There(x) if isinstance(x, Tensor) and not isinstance(x, There) else x


@cache
def _aliases(func: Any) -> bool:
    """Whether a result of `func` shares memory with an operand."""
    return any(each.alias_info for each in (*func._schema.arguments, *func._schema.returns))


def _require_one_device(func: Any, args: Any, tensors: list[Tensor]) -> None:
    """Refuse operands that a GPU would not take together, and tensors of `DEVICE` that hold nothing."""
    assert not any(x.device.type == DEVICE and not isinstance(x, There) for x in tensors), f"{func}: made outside the accelerator"
    if func in COPIES or not any(isinstance(x, There) for x in tensors):
        return
    strangers = [x for x in tensors if not isinstance(x, There) and x.dim()]
    if func in INDEXING and isinstance(args[0], There):
        strangers = [x for x in strangers if x.dtype not in INDICES]
    if strangers:
        raise MixedDevices(f"{func}: {[tuple(x.shape) for x in strangers]} on the CPU beside tensors on the accelerator")


def _non_blocking(func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    return bool(kwargs.get("non_blocking") or (func is aten.copy_.default and args[2:] == (True,)))


def _waits(func: Any, args: Any, kwargs: dict[str, Any], there: bool, goes_there: bool) -> bool:
    """Whether the host stands still for this operation until the device has done all that it was given."""
    if func in COPIES:
        crosses = there != goes_there or any(isinstance(x, Tensor) and isinstance(x, There) != goes_there for x in args)
        return crosses and not _non_blocking(func, args, kwargs)
    if not there:
        return False
    if func in INDEXING:
        indices = [x for x in args[1] if isinstance(x, Tensor)]
        return any(x.dtype in MASKS or not isinstance(x, There) for x in indices)
    return func in READING


def _place() -> Place:
    """The innermost line of the package on the stack, or what called it if that is in `transfer`."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and (
        not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_filename == transfer.__file__
    ):
        frame = frame.f_back
    if frame is None:
        return Place("outside", 0, "")
    code = frame.f_code
    return Place(str(Path(code.co_filename).relative_to(PACKAGE)), frame.f_lineno, code.co_qualname.split(".<")[0])
