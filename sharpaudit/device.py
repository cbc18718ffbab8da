"""What does the audit run on? Device, threads, precision and memory, chosen so that equal audits give equal bytes."""

from __future__ import annotations

import math
import platform
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from sharpaudit.card import Environment
from sharpaudit.errors import EnvironmentFailure, clean

FLOPS_WORTH_SHARING = 10**9
"""Operations in one forward pass of a batch above which several threads are faster, with room to spare."""

SHARD = 32
"""Most examples in one graph on a CPU: larger ones gain no speed there and cost memory."""

GRAPH_BYTES = 1 << 30
"""Bound on the graphs that are kept on a CPU, whose memory is not ours alone; a ResNet-20 takes 0.84 GiB at 512 images."""

LEAST_GRAPH_BYTES = 1 << 20
"""A bound that is not worth halving."""


BATCH = 256
"""Images in one forward pass on a CPU."""

ACCELERATOR_BATCH, ACCELERATOR_VALUES = 1024, 1 << 25
"""Most images in one forward pass on an accelerator, and most values: a small network on small images leaves it waiting for the
host between its operations, whose number does not grow with the batch."""


def batch_size(device: torch.device, input_size: Sequence[int]) -> int:
    """Images in one forward pass that suit `device`, for images of `input_size` (channels, height, width)."""
    if device.type == "cpu":
        return BATCH
    return max(1, min(ACCELERATOR_BATCH, ACCELERATOR_VALUES // math.prod(input_size)))


@dataclass(frozen=True)
class Sizes:
    """How much curvature puts on a device at once; it changes no number beyond rounding."""

    shard: int
    """Most examples in one graph."""
    graph_bytes: int
    """Bound on the memory of the graphs that are kept."""

    def halved(self) -> Sizes:
        """Half of both."""
        return Sizes(max(1, self.shard // 2), self.graph_bytes // 2)

    @property
    def least(self) -> bool:
        """Whether half as much would be no less."""
        return self.shard == 1 and self.graph_bytes < LEAST_GRAPH_BYTES


def sizes(device: torch.device) -> Sizes:
    """What suits `device`: on a CPU always the same, elsewhere half of the memory that is free, for the other half is worked in.

    An accelerator wants as many examples in one graph as fit: small shards leave most of it idle.
    """
    if device.type == "cpu":
        return Sizes(SHARD, GRAPH_BYTES)
    return Sizes(sys.maxsize, _free_bytes(device) // 2)


def _free_bytes(device: torch.device) -> int:
    """Memory of an accelerator that can still be had, counting what torch holds and does not use."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    return 2 * GRAPH_BYTES  # of the others torch does not say it


def available_device(name: str) -> str:
    """The device to use: `name`, or for ``auto`` the first CUDA device when there is one, else the CPU.

    Apple's ``mps`` is used where it is asked for, not by itself: nobody has compared its numbers with a CPU's.

    Raises:
        EnvironmentFailure: a device that this machine or this build of torch does not have.
    """
    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        if not torch.backends.mps.is_available():
            why = "this machine has none" if torch.backends.mps.is_built() else "this torch was built without it"
            raise EnvironmentFailure(f"no mps device: {why}", hint="use --device auto")
        return name
    kind, _, index = name.partition(":")
    if kind != "cuda" or not re.fullmatch("[0-9]{0,4}", index):
        raise EnvironmentFailure(f"unknown device '{clean(name)}'", hint="use cpu, cuda, cuda:N, mps or auto")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"torch was built for CUDA {built} but finds no working driver" if built else "this torch was built without CUDA"
        raise EnvironmentFailure(f"no CUDA device: {why}", hint="use --device auto")
    if int(index or "0") >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise EnvironmentFailure(f"'{name}' was asked for and there are {found} CUDA devices", hint="use --device auto")
    return name if index else "cuda:0"


def devices() -> list[str]:
    """The devices of this machine that an audit can use."""
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return [*found, "mps"] if torch.backends.mps.is_available() else found


def with_float64(device: torch.device) -> torch.device:
    """`device` itself where it computes in float64, else the CPU: Apple's mps has no such numbers."""
    try:
        torch.ones(1, dtype=torch.float64, device=device)
    except TypeError:
        return torch.device("cpu")
    return device


def wait() -> None:
    """Return when the accelerator has done what it was asked for, as a clock must; at once where there is none."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()


@contextmanager
def compute_settings(threads: int) -> Iterator[None]:
    """TF32 off, deterministic convolutions and `threads` threads, for as long as the context lasts."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic
    threads_before = torch.get_num_threads()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic = before
        torch.set_num_threads(threads_before)


def useful_threads(module: nn.Module, example: Tensor, batch_size: int) -> int:
    """One thread where a forward pass of one batch is so little work that waiting for others costs more, else torch's choice.

    Decided by counting operations on `example` (1, ...), not by timing, so that equal audits on a machine use equally many: sums
    depend on it in the last digits.
    """
    with Work() as work, torch.no_grad():
        module(example)
    return 1 if work.operations * batch_size < FLOPS_WORTH_SHARING else torch.get_num_threads()


class Work(TorchDispatchMode):
    """Counts multiplications and additions, and sees the size of the largest tensor that comes out of an operation.

    torch's own counter hooks every module, and fails on those that are handed a parameter (CaiT) while no gradients are taken.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.operations = self.largest = 0

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = function(*args, **given)
        if count := flop_registry.get(getattr(function, "overloadpacket", None)):
            self.operations += int(count(*args, **given, out_val=result))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.largest = max(self.largest, tensor.untyped_storage().nbytes())
        return result


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that an allocation failed: on a GPU, or on the CPU, where torch has no class of its own for it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "you tried to allocate" in str(error)
    )


def environment(device: str) -> Environment:
    """Versions and device of this process."""
    packages = ("sharpaudit", "torch", "torchvision", "timm", "numpy", "scipy", "safetensors")
    return Environment(
        versions={"python": platform.python_version(), **{name: version(name) for name in packages}},
        device=described(device),
        dtype="float32",
        tf32=False,
        threads=torch.get_num_threads(),
        determinism="bitwise" if device == "cpu" else "tolerance",
    )


def described(device: str) -> str:
    """What a card calls `device`, and what is done elsewhere because it cannot."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    capable = with_float64(torch.device(device)) == torch.device(device)
    return name if capable else f"{name}, without float64: curvature and corruptions on the CPU"


def peak_memory_mib(device: str) -> float:
    """Peak memory of the CUDA device, or the peak resident memory of this process, in MiB."""
    if device.startswith("cuda"):
        return float(torch.cuda.max_memory_allocated(device) / 2**20)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
