"""How does torch spell a tensor inside a pickle? The constructors and persistent ids that the inert reader understands.

``torch.save`` writes a tensor as a call of ``torch._utils._rebuild_tensor_v2`` on a persistent id that names a storage. Here the
call builds a `StoredTensor` and the id a `Storage`; the container formats fill in the bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.pickle_machine import Constructor, Global, Inert, hashable
from sharpaudit.checkpoints.pickle_reader import Contents, read
from sharpaudit.checkpoints.tensors import ITEM_BYTES, OddTensor, Storage, StoredTensor
from sharpaudit.errors import CheckpointError, UnsafeInput, clean

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
SHARDS = ("torch.distributed.tensor.DTensor", "torch.distributed._shard.sharded_tensor.api.ShardedTensor")
"""Classes of tensors that hold only a part of their values."""

FOREIGN_ITEM_BYTES = {
    "ComplexDoubleStorage": 16,
    "QInt32Storage": 4,
    "QUInt4x2Storage": 1,
    "QUInt2x4Storage": 1,
}
"""Storages that a file may carry beside the weights; to walk past them we need their width. Others (``QInt8``) have 1."""


class TorchPickle:
    """One pickle written by ``torch.save``: its contents and the storages its tensors are views of."""

    def __init__(
        self, data: bytes, meter: Meter, *, start: int = 0, constructors: Mapping[str, Constructor] | None = None
    ) -> None:
        self.storages: dict[str, Storage] = {}
        known = {**CONSTRUCTORS, **(constructors or {})}
        self.contents: Contents = read(data, meter, start=start, constructors=known, persistent=self._storage)

    def _storage(self, pid: object) -> object:
        """The storage (or, in old full-module files, the class) that a persistent id names."""
        if not isinstance(pid, tuple) or not pid:
            raise CheckpointError("a persistent id in the pickle is not one of torch's")
        if pid[0] == "module" and len(pid) == 4:
            return pid[1]
        if pid[0] != "storage" or len(pid) not in (5, 6):
            kind = f" of kind '{clean(pid[0])}'" if isinstance(pid[0], str) else ""
            raise CheckpointError(f"a persistent id{kind} is not one of torch's")
        _, kind, key, _, numel = pid[:5]
        if not isinstance(kind, Global) or not isinstance(key, str) or type(numel) is not int or not 0 <= numel < 2**63:
            raise CheckpointError("a persistent id in the pickle is malformed")
        if len(pid) == 6 and pid[5] is not None:
            raise CheckpointError(
                "views of storages as written before torch 0.4 are not supported", hint="save it again with a newer torch"
            )
        name = kind.name.rpartition(".")[2]
        dtype = STORAGE_DTYPES.get(name, name)
        found = self.storages.setdefault(key, Storage(key, dtype, numel * item_bytes(dtype)))
        if found.dtype != dtype or found.num_bytes != numel * item_bytes(dtype):
            raise UnsafeInput(f"storage '{clean(key)}' is declared twice, differently")
        return found


def item_bytes(dtype: str) -> int:
    """Width of an element of a supported or foreign dtype."""
    return ITEM_BYTES.get(dtype) or FOREIGN_ITEM_BYTES.get(dtype, 1)


def _strided(arguments: Any, meter: Meter) -> object:
    """``(storage, offset, size, stride, ...)``; `_rebuild_tensor_v3` has its dtype in seventh place."""
    storage, offset, shape, strides, *rest = arguments
    if isinstance(storage, OddTensor):
        return storage
    if not isinstance(storage, Storage):
        return OddTensor("built on something that is not a storage")
    dtype = rest[2].name.removeprefix("torch.") if len(rest) > 2 and isinstance(rest[2], Global) else storage.dtype
    return StoredTensor(storage, dtype, _integer(offset), _integers(shape, meter), _integers(strides, meter))


def _integers(values: object, meter: Meter) -> tuple[int, ...]:
    """A size or stride as pickled: a tuple, or ``torch.Size`` around one."""
    if isinstance(values, Inert) and values.kind == "torch.Size" and isinstance(values.arguments, tuple):
        values = values.arguments[0]
    if not isinstance(values, tuple | list):
        raise ValueError("the shape or stride of a tensor is not a list of integers")
    meter.check("max_rank", len(values), "dimensions of a tensor")
    return tuple(_integer(value) for value in values)


def _integer(value: object) -> int:
    if type(value) is not int or not -(2**63) < value < 2**63:
        raise ValueError("the shape, stride or offset of a tensor is not an integer")
    return value


def _first(arguments: Any, _: Meter) -> object:
    """What is wrapped: parameters and device copies carry their tensor first."""
    return arguments[0]


def _typed(arguments: Any, meter: Meter) -> object:
    """``(function, type, arguments, state)``: plain for Tensor and Parameter, else a subclass that needs its own code."""
    function, kind, inner = arguments[:3]
    if isinstance(kind, Global) and kind.name in {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}:
        return CONSTRUCTORS[function.name](inner, meter)
    name = getattr(kind, "name", "?")
    return _sharded(name) if name.startswith("torch.distributed.") else OddTensor(f"a tensor subclass ({clean(name)})")


def _sharded(name: str) -> OddTensor:
    """A part of a tensor that is spread over several machines."""
    hint = "gather the whole tensors (get_model_state_dict with full_state_dict=True) and save those"
    return OddTensor(f"sharded training state ({clean(name)}): consolidate first", hint=hint)


def _odd(kind: str) -> Constructor:
    return lambda *_: OddTensor(kind)


def _shard(name: str) -> Constructor:
    return lambda *_: _sharded(name)


def _dictionary(arguments: Any, meter: Meter) -> dict[Any, Any]:
    """An OrderedDict or defaultdict, empty or from pairs."""
    pairs = arguments[0] if arguments and isinstance(arguments[0], list) else ()
    meter.step(len(pairs))
    return {hashable(key): value for key, value in pairs}


def _encoded(arguments: Any, meter: Meter) -> object:
    """Bytes, which protocol 2 has no instruction for: text and the name of its encoding."""
    match arguments:
        case (str(text), "latin1" | "latin-1"):
            meter.make(len(text))
            return text.encode("latin-1")  # what it does not have is a ValueError: damaged
    return Inert("_codecs.encode", arguments)


CONSTRUCTORS: dict[str, Constructor] = {
    "collections.OrderedDict": _dictionary,
    "_codecs.encode": _encoded,
    "collections.defaultdict": lambda *_: {},
    "torch._utils._rebuild_tensor": _strided,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_tensor_v3": _strided,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _first,
    "torch._tensor._rebuild_from_type_v2": _typed,
    "torch._utils._rebuild_sparse_tensor": _odd("sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _odd("sparse (compressed rows)"),
    "torch._utils._rebuild_nested_tensor": _odd("a nested tensor"),
    "torch._utils._rebuild_qtensor": _odd("quantised"),
    "torch._utils._rebuild_meta_tensor_no_storage": _odd("a meta tensor, no values"),
    "torch._utils._rebuild_wrapper_subclass": _odd("a tensor subclass without values"),
    "torch._utils._rebuild_device_tensor_from_numpy": _odd("a device tensor saved through numpy"),
    **{name: _shard(name) for name in SHARDS},
}
