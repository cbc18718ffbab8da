"""How does numpy spell an array inside a pickle? Detectron-style checkpoints hold arrays where others hold tensors."""

from __future__ import annotations

from sharpaudit.checkpoints.pickle_machine import Inert
from sharpaudit.checkpoints.tensors import ITEM_BYTES, OddTensor, Storage, StoredTensor, Tensor, contiguous_strides

DTYPES = {
    "f8": "float64",
    "f4": "float32",
    "f2": "float16",
    "i8": "int64",
    "i4": "int32",
    "i2": "int16",
    "i1": "int8",
    "u1": "uint8",
    "b1": "bool",
}

MAX_RANK = 64
"""Of an array of numpy 2."""


def tensor(value: object) -> Tensor | None:
    """The tensor that `value` stands for: itself, or a pickled numpy array; None for everything else."""
    if isinstance(value, StoredTensor | OddTensor):
        return value
    if not isinstance(value, Inert):
        return None
    match value.kind.rpartition(".")[2], value.state, value.arguments:
        case "_reconstruct", (_, tuple(shape), dtype, order, data), _ if value.kind.startswith("numpy."):
            return _array(data, dtype, shape, fortran=bool(order))
        case "_frombuffer", _, (data, dtype, tuple(shape), order) if value.kind.startswith("numpy."):
            return _array(data, dtype, shape, fortran=order == "F")
    return None


def _array(data: object, dtype: object, shape: tuple[object, ...], *, fortran: bool) -> Tensor | None:
    """A dense little-endian array of a known dtype, or what is wrong with it."""
    code = dtype.arguments[0] if isinstance(dtype, Inert) and isinstance(dtype.arguments, tuple) and dtype.arguments else None
    if len(shape) > MAX_RANK:
        return OddTensor(f"a numpy array of {len(shape):,} dimensions")
    sizes = tuple(n for n in shape if type(n) is int and abs(n) < 2**63)
    if not isinstance(data, bytes | bytearray) or len(sizes) != len(shape):
        return OddTensor("a numpy array of objects")
    if not isinstance(code, str) or code not in DTYPES:
        return OddTensor("a numpy array of an unsupported dtype")
    if isinstance(dtype, Inert) and isinstance(dtype.state, tuple) and dtype.state[1:2] == (">",):
        return OddTensor("a big-endian numpy array")
    whole = len(data) // ITEM_BYTES[DTYPES[code]] * ITEM_BYTES[DTYPES[code]]
    storage = Storage("", DTYPES[code], whole, memoryview(data))
    strides = tuple(reversed(contiguous_strides(sizes[::-1]))) if fortran else contiguous_strides(sizes)
    return StoredTensor(storage, DTYPES[code], 0, sizes, strides)
