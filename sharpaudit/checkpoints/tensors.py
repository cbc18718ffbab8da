"""What does a file say about a tensor? A description (storage, dtype, offset, shape, strides) that is checked but not loaded.

Readers of every format produce these descriptions; nothing is copied until an architecture has accepted all names and shapes
(`bits`). Hence `inspect` costs no memory, and a file cannot make us allocate what no network needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.lib.stride_tricks import as_strided

from sharpaudit.errors import CheckpointError, UnsafeInput, clean
from sharpaudit.request import Limits

ITEM_BYTES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "complex64": 8,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
"""The dtypes that can be weights or buffers, with their width."""


@dataclass(eq=False, slots=True)
class Storage:
    """A run of bytes in the file that tensors are views of."""

    key: str
    dtype: str
    """A key of `ITEM_BYTES`, or the foreign name of an unsupported type."""
    num_bytes: int
    """As declared; the reader of the container checks it against the file."""
    data: memoryview = field(default_factory=lambda: memoryview(b""), repr=False)
    """Filled by the reader of the container."""


@dataclass(frozen=True, eq=False, slots=True)
class StoredTensor:
    """A dense strided view of a storage. Offset and strides count elements."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def num_elements(self) -> int:
        """Product of the shape."""
        return math.prod(self.shape)

    @property
    def num_bytes(self) -> int:
        """Bytes the tensor takes once it is contiguous."""
        return self.num_elements * ITEM_BYTES.get(self.dtype, 1)

    @property
    def last_element(self) -> int:
        """Index in the storage of the last element that a tensor which is not empty reaches."""
        return self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=True))

    def check(self, name: str, limits: Limits) -> None:
        """Decide whether every element lies inside the storage.

        Raises:
            CheckpointError: the dtype cannot be a weight.
            UnsafeInput: a view outside its storage, larger than it, or of absurd rank.
        """
        shown = clean(name)
        if self.dtype not in ITEM_BYTES:
            raise CheckpointError(f"tensor '{shown}' has unsupported dtype {clean(self.dtype)}", hint="convert it to float32")
        limits.check("max_rank", len(self.shape), f"dimensions of tensor '{shown}'")
        if min((self.offset, *self.shape, *self.strides), default=0) < 0 or len(self.shape) != len(self.strides):
            raise UnsafeInput(f"tensor '{shown}' has a negative or inconsistent offset, shape or stride")
        declared, stored = self.num_bytes, self.storage.num_bytes
        if declared > stored + limits.max_view_excess_bytes:
            raise UnsafeInput(f"tensor '{shown}' declares {declared:,} bytes over {stored:,} stored ones")
        if self.num_elements and (self.last_element + 1) * ITEM_BYTES[self.dtype] > stored:
            raise UnsafeInput(f"tensor '{shown}' reaches element {self.last_element}, outside its storage of {stored:,} bytes")


@dataclass(frozen=True, eq=False, slots=True)
class OddTensor:
    """A tensor that is not dense, strided and real; fine to carry along, refused as a weight."""

    kind: str
    """What it is: ``sparse``, ``quantised``, ``a meta tensor, no values``, ..."""
    shape: tuple[int, ...] = ()
    hint: str = "save it as a dense floating-point tensor"

    def check(self, name: str, limits: Limits) -> None:
        """Always refuse.

        Raises:
            CheckpointError: naming the tensor and its layout.
        """
        raise CheckpointError(f"tensor '{clean(name)}' is {self.kind}", hint=self.hint)


Tensor = StoredTensor | OddTensor


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of a row-major tensor of that shape, in elements."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= max(n, 1)
    return tuple(reversed(strides))


def bits(tensor: StoredTensor) -> np.ndarray[tuple[int, ...], np.dtype[np.unsignedinteger]]:
    """A row-major copy of the elements as unsigned integers of their width. `tensor` has passed its `check`."""
    width = ITEM_BYTES[tensor.dtype]
    kind = np.dtype(f"<u{width}")
    if not tensor.num_elements:
        return np.empty(tensor.shape, kind)
    first, last = tensor.offset, tensor.last_element
    flat = np.frombuffer(tensor.storage.data[first * width : (last + 1) * width], kind)
    strides = [stride * width if n > 1 else 0 for n, stride in zip(tensor.shape, tensor.strides, strict=True)]
    view = as_strided(flat, tensor.shape, strides, writeable=False)
    return np.array(view, order="C")
