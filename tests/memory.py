"""A pretend limit of memory: an allocator that refuses what does not fit."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Limit(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class hook is untyped
    """Inside, tensors may take `most` bytes together; one storage counts once, from the operation that made it to its end.

    What an operation needs for itself alone is not seen, nor what was there before.
    """

    def __init__(self, most: float = float("inf")) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # of torch
        self.most = most
        self.live = 0
        self.peak = 0
        self.refused = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        before = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage())._cdata not in before:
                self._count(storage)
        if self.live > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError(f"{self.live:,} bytes in use, {self.most:,.0f} allowed")
        self.peak = max(self.peak, self.live)
        return result

    def _count(self, storage: Any) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            weakref.finalize(storage, self._free, storage.nbytes())

    def _free(self, nbytes: int) -> None:
        self.live -= nbytes
