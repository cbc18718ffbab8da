"""What is in a legacy ``torch.save`` file (torch < 1.6)? Five pickles in a row, then the bytes of every storage.

Magic number, protocol, system info, the object, the list of storage keys; then for each key its length in elements and its bytes.
"""

from __future__ import annotations

import struct

from sharpaudit.checkpoints.limits import Limits
from sharpaudit.checkpoints.pickle_reader import Contents
from sharpaudit.checkpoints.pickle_reader import read as read_pickle
from sharpaudit.checkpoints.source import LEGACY_MAGIC
from sharpaudit.checkpoints.torch_pickle import TorchPickle, item_bytes
from sharpaudit.errors import CheckpointError, UnsafeInput, clean

PROTOCOL = 1001


def read(data: bytes, limits: Limits) -> Contents:
    """The contents of a legacy file, storages filled in.

    Raises:
        CheckpointError: truncated or malformed.
        UnsafeInput: a storage whose lengths contradict each other.
    """
    position = len(LEGACY_MAGIC)
    protocol = read_pickle(data, limits, start=position)
    position += protocol.length
    system = read_pickle(data, limits, start=position)
    position += system.length
    if protocol.root != PROTOCOL or not isinstance(system.root, dict):
        raise CheckpointError("damaged legacy torch file: protocol or system info missing")
    if system.root.get("little_endian") is not True:
        raise CheckpointError(
            "saved on a big-endian machine, which is not supported", hint="save it again on a little-endian one"
        )
    torch_pickle = TorchPickle(data, limits, start=position)
    position += torch_pickle.contents.length
    keys = read_pickle(data, limits, start=position)
    position += keys.length
    if not isinstance(keys.root, list) or sorted(map(str, keys.root)) != sorted(torch_pickle.storages):
        raise CheckpointError("damaged legacy torch file: its storages are not the ones its tensors name")
    for key in keys.root:
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
    for other in (protocol, system, keys):
        contents.globals += other.globals
        contents.calls += other.calls
    return contents


def _truncated(data: bytes, key: str) -> CheckpointError:
    return CheckpointError(f"truncated in storage '{clean(key)}'; file has {len(data)} bytes", hint="download or save it again")
