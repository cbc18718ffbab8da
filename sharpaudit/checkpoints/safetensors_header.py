"""What does a safetensors header say? Parsed here, with budgets, because a header is foreign text; and written.

Format: eight bytes little-endian length, JSON, then the bytes of all tensors without holes or overlaps
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sharpaudit.checkpoints import strict_json
from sharpaudit.checkpoints.tensors import ITEM_BYTES, Storage, StoredTensor, contiguous_strides
from sharpaudit.errors import CheckpointError, UnsafeInput, clean
from sharpaudit.request import Limits
from sharpaudit.strict_json import is_text

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class Safetensors:
    """Tensors by name, and the free text that came with them."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]
    """Untrusted."""


def looks_like(data: bytes) -> bool:
    """Whether a JSON object of the stated length, which fits into the file, starts where a header would."""
    return data[8:9] == b"{" and 8 + int.from_bytes(data[:8], "little") <= len(data)


def read(data: bytes, limits: Limits) -> Safetensors:
    """Descriptions of all tensors in a safetensors file.

    Raises:
        CheckpointError: truncated, trailing bytes, malformed JSON, unsupported dtype.
        UnsafeInput: duplicate keys, overlaps, holes, out-of-range offsets, or more than the budgets allow.
    """
    length = int.from_bytes(data[:8], "little")
    if 8 + length > len(data):
        hint = "download it again"
        raise CheckpointError(f"truncated safetensors: header of {length:,} bytes expected, file has {len(data):,}", hint=hint)
    limits.check("max_header_bytes", length, "bytes in the safetensors header")
    text = data[8 : 8 + length]
    header = strict_json.parse(text, "the safetensors header")
    metadata = header.pop("__metadata__", {})
    limits.check("max_tensors", len(header), "tensors in the safetensors header")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError("the __metadata__ of the safetensors file is not a table of texts")
    body = memoryview(data)[8 + length :]
    tensors = {name: _tensor(name, entry, body, limits) for name, entry in header.items()}
    _check_coverage(header, body)
    return Safetensors(tensors, metadata)


def _tensor(name: str, entry: Any, body: memoryview, limits: Limits) -> StoredTensor:
    shown = clean(name)
    match entry:
        case {"dtype": str(code), "shape": list(shape), "data_offsets": [int(start), int(stop)]} if len(entry) == 3:
            pass
        case _:
            raise CheckpointError(f"tensor '{shown}' of the safetensors header is malformed")
    if code not in DTYPES:
        raise CheckpointError(f"tensor '{shown}' has unsupported dtype {clean(code, 20)}", hint="convert it to float32")
    if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise CheckpointError(f"tensor '{shown}' of the safetensors header is malformed: its shape is not a list of counts")
    limits.check("max_rank", len(shape), f"dimensions of tensor '{shown}'")
    num_bytes = math.prod(shape) * ITEM_BYTES[DTYPES[code]]
    if num_bytes >= 2**63:
        raise UnsafeInput(f"tensor '{shown}' has a shape whose size overflows")
    if not 0 <= start <= stop or stop - start != num_bytes:
        raise UnsafeInput(f"tensor '{shown}' needs {num_bytes:,} bytes and claims offsets {start} to {stop}")
    storage = Storage(name, DTYPES[code], num_bytes, body[start:stop])
    return StoredTensor(storage, DTYPES[code], 0, tuple(shape), contiguous_strides(shape))


def _check_coverage(header: dict[str, Any], body: memoryview) -> None:
    """Decide whether the tensors tile the body exactly."""
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"])):
        start, stop = entry["data_offsets"]
        if start != position:
            kind = "overlaps the one before" if start < position else "leaves a hole before it"
            raise UnsafeInput(f"tensor '{clean(name)}' {kind}: offsets {start} to {stop}, expected to start at {position}")
        position = stop
    if position > len(body):
        hint = "download it again"
        raise CheckpointError(
            f"truncated safetensors: {position:,} bytes of tensors expected, {len(body):,} are there", hint=hint
        )
    if position < len(body):
        raise CheckpointError(
            f"{len(body) - position:,} trailing bytes in the safetensors file: not fully covered by its tensors"
        )


def compose(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> bytes:
    """Length and header of a file in which the `tensors` follow in their order, each row-major and without gaps.

    The header is padded with spaces so that the first tensor starts at a multiple of eight bytes.

    Raises:
        CheckpointError: a name that the format has no place for.
    """
    for name in tensors:
        if name == "__metadata__" or not is_text(name):
            raise CheckpointError(f"a tensor of safetensors cannot be called '{clean(name)}'")
    codes = {name: code for code, name in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position = 0
    for name, tensor in tensors.items():
        stop = position + tensor.num_bytes
        header[name] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
