"""What is in a torch ZIP checkpoint? Its central directory, read with budgets, and the one pickle inside.

A torch archive stores every entry uncompressed, so an entry is a span of the file. Anything else (compression, duplicate names,
overlapping entries) is what bombs and parser tricks are made of, and is refused. Layout: PKWARE APPNOTE 6.3, sections 4.3, 4.5.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.pickle_reader import Contents
from sharpaudit.checkpoints.torch_pickle import TorchPickle
from sharpaudit.errors import CheckpointError, UnsafeInput, clean
from sharpaudit.request import Limits

MAGIC = b"PK\x03\x04"
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_ABSENT = 0xFFFFFFFF
"""A 32-bit field whose value is in the ZIP64 extra field."""


@dataclass(frozen=True)
class Entry:
    """A stored entry: its name, where its header and its bytes are, and their checksum."""

    name: str
    header: int
    start: int
    stop: int
    crc32: int


def read(data: bytes, limits: Limits) -> Contents:
    """The contents of a torch ZIP archive, storages filled in.

    Raises:
        CheckpointError: truncated, or not an archive of ``torch.save``.
        UnsafeInput: TorchScript, compressed, duplicate or overlapping entries.
    """
    entries = directory(data, limits)
    pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    _refuse_other_archives(entries)
    if len(pickles) != 1:
        shown = ", ".join(clean(name, 40) for name in list(entries)[:5])
        raise CheckpointError(f"a ZIP archive, but not a torch checkpoint: it holds {shown or 'nothing'}")
    prefix = pickles[0].removesuffix("data.pkl")
    order = entries.get(f"{prefix}byteorder")
    if order and data[order.start : order.stop].strip() != b"little":
        raise CheckpointError(
            "saved on a big-endian machine, which is not supported", hint="save it again on a little-endian one"
        )
    pickle = entries[pickles[0]]
    torch_pickle = TorchPickle(data, Meter(limits, len(data)), start=pickle.start)
    if torch_pickle.contents.length > pickle.stop - pickle.start:
        raise CheckpointError(f"damaged: the pickle in '{clean(pickle.name)}' does not end there")
    for key, storage in torch_pickle.storages.items():
        entry = entries.get(f"{prefix}data/{key}")
        if entry is None:
            raise CheckpointError(
                f"the archive lacks storage '{clean(key)}'", hint="the file is damaged: save or download it again"
            )
        if entry.stop - entry.start != storage.num_bytes:
            raise UnsafeInput(
                f"storage '{clean(key)}' declares {storage.num_bytes:,} bytes and stores {entry.stop - entry.start:,}"
            )
        storage.data = memoryview(data)[entry.start : entry.stop]
    return torch_pickle.contents


def directory(data: bytes, limits: Limits) -> dict[str, Entry]:
    """Every entry by name, in file order.

    Raises:
        CheckpointError: truncated.
        UnsafeInput: encrypted, compressed, duplicate or overlapping entries, or more of them than allowed.
    """
    try:
        count, position, end = _end_record(data)
        limits.check("max_tensors", count, "entries in the archive")
        limits.check("max_header_bytes", end - position, "bytes in the directory of the archive")
        entries: dict[str, Entry] = {}
        for _ in range(count):
            entry, position = _central_entry(data, position, end)
            if entry.name in entries:
                raise UnsafeInput(f"the archive holds two entries named '{clean(entry.name)}'")
            entries[entry.name] = entry
    except (struct.error, OverflowError) as error:  # a place of 64 bits is none in memory
        raise CheckpointError(f"damaged ZIP directory; file has {len(data)} bytes") from error
    ordered = sorted(entries.values(), key=lambda entry: (entry.header, entry.stop))
    for left, right in pairwise(ordered):
        if left.stop > right.header:
            raise UnsafeInput(f"entries '{clean(left.name)}' and '{clean(right.name)}' overlap in the archive")
    if any(entry.crc32 for entry in ordered):  # torch can be told to write none (set_crc32_options)
        for entry in ordered:
            _check_sum(data, entry)
    return {entry.name: entry for entry in ordered}


def _check_sum(data: bytes, entry: Entry) -> None:
    """Decide whether the bytes of an entry are those that were written."""
    found = zlib.crc32(memoryview(data)[entry.start : entry.stop])
    if found != entry.crc32:
        raise CheckpointError(
            f"entry '{clean(entry.name)}' is damaged: its checksum is {found:08x}, {entry.crc32:08x} is stated",
            hint="download or save it again",
        )


def _end_record(data: bytes) -> tuple[int, int, int]:
    """Number of entries, start and end of the central directory."""
    at = data.rfind(b"PK\x05\x06", max(0, len(data) - 65_557))
    if at < 0:
        hint = "download or save it again"
        raise CheckpointError(f"truncated: central directory missing; file has {len(data)} bytes", hint=hint)
    _, disk, _, _, count, size, start, _ = _END.unpack_from(data, at)
    if at >= _END64_LOCATOR.size and data.startswith(b"PK\x06\x07", at - _END64_LOCATOR.size):
        end64 = _END64_LOCATOR.unpack_from(data, at - _END64_LOCATOR.size)[2]
        if not data.startswith(b"PK\x06\x06", end64):
            raise CheckpointError("damaged ZIP64 directory")
        _, _, _, _, disk, _, _, count, size, start = _END64.unpack_from(data, end64)
    if disk or start + size > at:
        raise CheckpointError(f"damaged ZIP directory: it ends at {start + size}, the file has {len(data)} bytes")
    return count, start, start + size


def _central_entry(data: bytes, position: int, end: int) -> tuple[Entry, int]:
    """The entry described at `position` of the directory, and where the next one is."""
    fields = _CENTRAL.unpack_from(data, position)
    signature, _, _, flags, method, _, _, crc32, packed, size, name_length, extra_length, comment_length, _, _, _, offset = fields
    following = position + _CENTRAL.size + name_length + extra_length + comment_length
    if signature != b"PK\x01\x02" or following > end:
        raise CheckpointError("damaged ZIP directory")
    names, extras = position + _CENTRAL.size, position + _CENTRAL.size + name_length
    raw_name = data[names:extras]
    name = raw_name.decode("utf-8", "backslashreplace")
    extra = data[extras : extras + extra_length]
    size, packed, offset = _zip64(extra, [size, packed, offset])
    if method or flags & 1:
        raise UnsafeInput(
            f"compressed entry '{clean(name)}': {packed:,} bytes that unpack to {size:,}", hint="torch stores its entries"
        )
    if size != packed:
        raise UnsafeInput(f"entry '{clean(name)}' is stored but has two sizes, {packed:,} and {size:,}")
    local = _LOCAL.unpack_from(data, offset)
    start = offset + _LOCAL.size + local[9] + local[10]
    if local[0] != MAGIC or data[start - local[10] - local[9] : start - local[10]] != raw_name or start + size > len(data):
        raise UnsafeInput(f"entry '{clean(name)}' is not where the directory says")
    return Entry(name, offset, start, start + size, crc32), following


def _zip64(extra: bytes, values: list[int]) -> list[int]:
    """`values` (size, packed size, offset) with those that did not fit 32 bits taken from the ZIP64 field."""
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return [next(wide, value) if value == _ABSENT else value for value in values]
        position += 4 + length
    return values


def _refuse_other_archives(entries: dict[str, Entry]) -> None:
    """Name the archives that are not checkpoints of ``torch.save``."""
    names = list(entries)
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        hint = "load it where it was made and save its state_dict as safetensors"
        raise UnsafeInput("TorchScript is a program, and is not run", hint=hint)
    known = {
        "/models/": "torch.export .pt2 program",
        "archive_format": "torch.export .pt2 program",
        "model.weights.h5": "Keras model",
        "metadata.json": "TensorFlow or Keras model",
        "AndroidManifest.xml": "Android package",
        "word/document.xml": "Word document",
    }
    for mark, kind in known.items():
        if any(mark in name for name in names):
            raise CheckpointError(f"a {kind}, not a checkpoint", hint="save the state_dict as safetensors")
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError("a NumPy .npz archive, not a checkpoint", hint="data goes to --data npz:PATH")
