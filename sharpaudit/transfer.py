"""How do images get to a device and results back, so that neither the host nor the device waits for the other?

A copy between the two is asked for, and made in the order of the device's work. Where the host needs the result, it waits for an
event that lies behind the copy; a thread can do that as well. On the CPU there is nothing to wait for: all is done in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

AHEAD = 4
"""Batches that are read before the device asks for them, and that it may have to do while the next are read: both are memory."""

Device = torch.device | str


def sent(tensor: Tensor, to: Device | Tensor) -> Tensor:
    """A host tensor on a device, or on the device and in the floating type of another tensor.

    The host goes on at once; not on ``mps``, which may read memory that is gone by then.
    """
    device, dtype = (to.device, to.dtype) if isinstance(to, Tensor) else (torch.device(to), tensor.dtype)
    return tensor.to(device, dtype, non_blocking=device.type != "mps")


def fetched(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """Tensors of one device as arrays, after one wait for all of them."""
    copies, arrived = _asked_for(tensors)
    arrived()
    return [copy.numpy() for copy in copies]


def read_ahead(batches: Iterable[Tensor], device: Device) -> Iterator[Tensor]:
    """Host tensors on `device`, in order; a thread reads the next ones while the device works.

    What the consumer does with a batch must be asked of the device before it takes the next one.
    """
    device, remaining, working = torch.device(device), iter(batches), deque[Callable[[], None]]()
    if device.type == "cpu":
        yield from remaining
        return

    def read(done: Callable[[], None]) -> Tensor | None:
        done()
        batch = next(remaining, None)
        return batch.pin_memory(device) if batch is not None and device.type == "cuda" else batch

    with ThreadPoolExecutor(1, "reading") as thread:
        reading = deque(thread.submit(read, _nothing) for _ in range(AHEAD))
        while (batch := reading.popleft().result()) is not None:
            yield sent(batch, device)
            working.append(_mark(device))
            reading.append(thread.submit(read, working.popleft() if len(working) > AHEAD else _nothing))


class Aside:
    """`work` on copies of what is on a device, in order, by a thread while the device goes on; the end of the context waits."""

    def __init__(self, work: Callable[[NDArray[Any]], None]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "aside")
        self._pending: deque[Future[None]] = deque()

    def __enter__(self) -> Aside:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(cancel_futures=error is not None)
        if error is None:
            for each in self._pending:
                each.result()

    def __call__(self, tensor: Tensor) -> None:
        """Work on `tensor` as it is now."""
        if tensor.device.type == "cpu":
            self._work(tensor.numpy())
            return
        (copy,), arrived = _asked_for([tensor])

        def work() -> None:
            arrived()
            self._work(copy.numpy())

        self._pending.append(self._thread.submit(work))
        if len(self._pending) > AHEAD:
            self._pending.popleft().result()


def _asked_for(tensors: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[], None]]:
    """Copies on the host that will hold the tensors' values, and what waits until they do."""
    device = tensors[0].device
    if device.type == "cpu":
        return list(tensors), _nothing
    copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=device.type == "cuda") for t in tensors]
    for copy, tensor in zip(copies, tensors, strict=True):
        copy.copy_(tensor, non_blocking=True)
    return copies, _mark(device)


def _mark(device: torch.device) -> Callable[[], None]:
    """What waits until `device` has done all that it was asked for so far."""
    event = torch.Event(device)
    event.record()
    return event.synchronize


def _nothing() -> None:
    pass
