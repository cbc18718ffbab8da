"""What is in a legacy ``torch.save`` file (torch < 1.6)? Five pickles in a row, then the bytes of every storage.

Magic number, protocol, system info, the object, the list of storage keys; then for each key its length in elements and its bytes.
"""

from __future__ import annotations

import struct
from typing import Any

from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.pickle_reader import Contents
from sharpaudit.checkpoints.pickle_reader import read as read_pickle
from sharpaudit.checkpoints.torch_pickle import TorchPickle, item_bytes
from sharpaudit.errors import CheckpointError, UnsafeInput, clean

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def looks_like(data: bytes) -> bool:
    """Whether the first pickle is the magic number, in any pickle protocol."""
    return MAGIC.to_bytes(10, "little") in data[:32] or str(MAGIC).encode() in data[:32]


def read(data: bytes, meter: Meter) -> Contents:
    """The contents of a legacy file, storages filled in.

    Raises:
        CheckpointError: truncated or malformed.
        UnsafeInput: a storage whose lengths contradict each other.
    """
    magic = read_pickle(data, meter)
    position = magic.length
    protocol = read_pickle(data, meter, start=position)
    position += protocol.length
    system = read_pickle(data, meter, start=position)
    position += system.length
    if magic.root != MAGIC or protocol.root != PROTOCOL or not isinstance(system.root, dict):
        raise CheckpointError("damaged legacy torch file: protocol or system info missing")
    if system.root.get("little_endian") is not True:
        raise CheckpointError(
            "saved on a big-endian machine, which is not supported", hint="save it again on a little-endian one"
        )
    torch_pickle = TorchPickle(data, meter, start=position)
    position += torch_pickle.contents.length
    keys = read_pickle(data, meter, start=position)
    position += keys.length
    named = [key for key in keys.root if isinstance(key, str)] if isinstance(keys.root, list) else []
    if not isinstance(keys.root, list) or len(named) < len(keys.root) or sorted(named) != sorted(torch_pickle.storages):
        raise CheckpointError("damaged legacy torch file: its storages are not the ones its tensors name")
    for key in named:
        storage = torch_pickle.storages[key]
        if position + 8 > len(data):
            raise _truncated(data, key)
        (count,) = struct.unpack_from("<q", data, position)
        position += 8
        if count * item_bytes(storage.dtype) != storage.num_bytes:
            raise UnsafeInput(f"storage '{clean(key)}' declares {storage.num_bytes:,} bytes and stores {count:,} elements")
        if position + storage.num_bytes > len(data):
            raise _truncated(data, key)
        storage.data = memoryview(data)[position : position + storage.num_bytes]
        position += storage.num_bytes
    contents = torch_pickle.contents
    for other in (magic, protocol, system, keys):
        contents.globals += other.globals
        contents.calls += other.calls
    return contents


def nested_storage(arguments: Any, meter: Meter) -> object:
    """The storage in ``torch.storage._load_from_bytes(bytes)``: plain pickles of tensors hold a legacy file for each.

    Raises:
        UnsafeInput: the inner file carries code.
    """
    data = arguments[0]
    if not isinstance(data, bytes) or not looks_like(data):
        raise CheckpointError("a storage inside the pickle is not a legacy torch file")
    found = read(data, meter)
    if found.calls:
        raise UnsafeInput(f"a storage inside the pickle carries code: {clean(found.calls[0])}")
    return found.root


def _truncated(data: bytes, key: str) -> CheckpointError:
    return CheckpointError(f"truncated in storage '{clean(key)}'; file has {len(data)} bytes", hint="download or save it again")
