"""Files made to hurt: code in pickles, machines tricked, tensors and containers that lie. Each with the refusal it deserves.

A file that would run something touches the canary: a path that exists afterwards if anything at all was run.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class Hostile:
    """A file and how it must end."""

    data: Callable[[Path], bytes]
    """Given the canary."""
    exit_code: int
    says: str
    """Words of the message."""
    name: str = "weights.pth"


class Payload:
    """Pickles to a call of `function`; an argument ``CANARY`` becomes a command or a path that leaves a trace."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.arguments


def touch(canary: Path) -> Payload:
    """A command that creates the canary."""
    return Payload(os.system, f"touch {canary}")


def weights() -> dict[str, torch.Tensor]:
    """A small state dict."""
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}


def saved(value: object, **options: Any) -> bytes:
    """What ``torch.save`` writes."""
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def legacy(value: object, protocol: int = 2) -> bytes:
    """A legacy torch file."""
    return saved(value, _use_new_zipfile_serialization=False, pickle_protocol=protocol)


def archive(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A ZIP archive under the folder name that torch uses."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as file:
        for name, data in entries.items():
            file.writestr(f"archive/{name}", data)
    return stream.getvalue()


def zipped(pickled: bytes, storages: dict[str, bytes] | None = None) -> bytes:
    """A torch archive around a hand-written pickle."""
    return archive({"data.pkl": pickled, "version": b"3\n", **{f"data/{key}": data for key, data in (storages or {}).items()}})


def tensor(
    shape: tuple[Any, ...] = (2,),
    stride: tuple[Any, ...] = (1,),
    offset: Any = 0,
    numel: Any = 2,
    kind: str = "FloatStorage",
    key: Any = "0",
) -> bytes:
    """A torch archive with one tensor ``w`` of any description over two floats."""
    pickled = b"\x80\x02}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n("
    pickled += (
        b"(X\x07\x00\x00\x00storagectorch\n" + kind.encode() + b"\n" + literal(key) + literal("cpu") + literal(numel) + b"tQ"
    )
    pickled += literal(offset) + literal(shape) + literal(stride) + b"\x89}tRu."
    return zipped(pickled, {"0": struct.pack("<2f", 1, 2)})


def literal(value: object) -> bytes:
    """The opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def safetensors(header: dict[str, Any] | bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with any header, which may state any length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(start: int, stop: int, shape: list[Any] | None = None, dtype: str = "F32") -> dict[str, Any]:
    """A tensor of a safetensors header."""
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


def text(words: str) -> bytes:
    """The opcode that pushes a short string in protocol 0."""
    return f"V{words}\n".encode()


def duplicated() -> bytes:
    """Two entries of one name; the second holds something else."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for data in (pickle.dumps({}), pickle.dumps({"a": 1})):
            info = zipfile.ZipInfo("archive/data.pkl")
            file.NameToInfo.pop(info.filename, None)
            file.writestr(info, data)
    return stream.getvalue()


def patched(data: bytes, at: int, new: bytes) -> bytes:
    """`data` with some bytes replaced; negative positions count from the end."""
    at %= len(data)
    return data[:at] + new + data[at + len(new) :]


def resealed(data: bytes) -> bytes:
    """An archive whose entries were changed, with checksums that fit them again."""
    for at in [at for at in range(len(data)) if data.startswith(b"PK\x01\x02", at)]:
        size, header = (struct.unpack_from(kind, data, at + place)[0] for kind, place in (("<L", 24), ("<L", 42)))
        start = header + 30 + sum(struct.unpack_from("<2H", data, header + 26))
        data = patched(data, at + 16, struct.pack("<L", zlib.crc32(data[start : start + size])))
    return data


def overlapping() -> bytes:
    """The directory sends two names to one place."""
    data = saved(weights())
    central = [at for at in range(len(data)) if data.startswith(b"PK\x01\x02", at)]
    first, last = central[1], central[2]
    merged = patched(data, last + 42, data[first + 42 : first + 46])
    return merged


def _code(make: Callable[[Path], object]) -> dict[str, Hostile]:
    """One payload in both containers and all protocols."""
    found = {}
    for protocol in range(6):
        found[f"zip, protocol {protocol}"] = Hostile(partial(_zip_code, make, protocol), 4, "system")
        found[f"legacy, protocol {protocol}"] = Hostile(partial(_legacy_code, make, protocol), 4, "system")
    return found


def _zip_code(make: Callable[[Path], object], protocol: int, canary: Path) -> bytes:
    return zipped(pickle.dumps({"a": make(canary)}, protocol))


def _legacy_code(make: Callable[[Path], object], protocol: int, canary: Path) -> bytes:
    return legacy({"a": make(canary), **weights()}, protocol)


def _raw(opcodes: bytes, says: str, exit_code: int = 4) -> Hostile:
    """A hand-written pickle in a torch archive. ``CANARY`` in it becomes the path."""
    return Hostile(lambda canary: zipped(opcodes.replace(b"CANARY", str(canary).encode())), exit_code, says)


def _fixed(data: Callable[[], bytes], says: str, exit_code: int, name: str = "weights.pth") -> Hostile:
    return Hostile(lambda _: data(), exit_code, says, name)


def _header(header: dict[str, Any] | bytes, says: str, exit_code: int, body: bytes = b"", length: int | None = None) -> Hostile:
    return _fixed(lambda: safetensors(header, body, length), says, exit_code, "weights.safetensors")


SYSTEM = b"cposix\nsystem\n"
TOUCH = b"Vtouch CANARY\n"
CODE = {
    **_code(touch),
    "code beside weights": Hostile(lambda c: saved({"state_dict": weights(), "x": touch(c)}), 4, "posix.system"),
    "eval": Hostile(lambda c: saved({"x": Payload(eval, f"open({str(c)!r}, 'w')"), **weights()}), 4, "builtins.eval"),
    "exec": Hostile(lambda c: saved({"x": Payload(exec, f"open({str(c)!r}, 'w')"), **weights()}), 4, "builtins.exec"),
    "Popen": Hostile(lambda c: saved({"x": Payload(subprocess.Popen, ["touch", str(c)]), **weights()}), 4, "subprocess.Popen"),
    "open for writing": Hostile(lambda c: saved({"x": Payload(open, str(c), "w"), **weights()}), 4, "open"),
    "Path.write_text": _raw(
        b"\x80\x04(X\x07\0\0\0pathlibX\x0f\0\0\0Path.write_text\x93VCANARY\nVx\n\x86R.", "pathlib.Path.write_text"
    ),
    "STACK_GLOBAL": _raw(b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + TOUCH + b"\x85R.", "posix.system"),
    "STACK_GLOBAL from the memo": _raw(
        b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94h\x00h\x01\x93" + TOUCH + b"\x85R.", "posix.system"
    ),
    "INST": _raw(b"(Vtouch CANARY\niposix\nsystem\n.", "posix.system"),
    "OBJ": _raw(b"(" + SYSTEM + TOUCH + b"o.", "posix.system"),
    "NEWOBJ": _raw(b"\x80\x02csubprocess\nPopen\n" + TOUCH + b"\x85\x81.", "subprocess.Popen"),
    "NEWOBJ_EX": _raw(b"\x80\x04csubprocess\nPopen\n" + TOUCH + b"\x85}\x92.", "subprocess.Popen"),
    "BUILD calls __setstate__": _raw(b"\x80\x02cos\n_wrap_close\n)\x81}Vx\nI1\nsb.", "os._wrap_close"),
    "BUILD on numpy": _raw(
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"("
        + SYSTEM
        + TOUCH
        + b"\x85Rtb.",
        "posix.system",
    ),
    "numpy.load": _raw(b"cnumpy\nload\nVCANARY\n\x85R.", "numpy.load"),
    "EXT1": _raw(b"\x80\x02\x82\x01)R.", "extension 1"),
    "EXT2": _raw(b"\x80\x02\x83\x01\x02)R.", "extension 513"),
    "EXT4": _raw(b"\x80\x02\x84\x01\x02\x03\x04)R.", "extension"),
    "copyreg._reconstructor": _raw(
        b"ccopyreg\n_reconstructor\n(csubprocess\nPopen\nc__builtin__\nobject\nNtR.", "subprocess.Popen"
    ),
    "copyreg.add_extension": _raw(b"ccopyreg\nadd_extension\n(Vos\nVsystem\nI1\ntR.", "copyreg.add_extension"),
    "a lookalike of _reconstructor": _raw(b"cevil\n_reconstructor\n(cevil\nThing\nNNtR.", "evil._reconstructor"),
    "getattr chain": _raw(b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nV__call__\ntR(Vos\ntR.", "builtins.getattr"),
    "call of a result": _raw(b"cevil\nmake\n)R(VCANARY\ntR.", "evil.make"),
    "call of a plain object": _raw(b"\x80\x02cargparse\nNamespace\n)\x81(VCANARY\ntR.", "the result of argparse.Namespace"),
    "functools.partial": _raw(b"cfunctools\npartial\n(" + SYSTEM + TOUCH + b"tR.", "posix.system"),
    "operator.methodcaller": _raw(b"coperator\nmethodcaller\n(Vsystem\n" + TOUCH + b"tR.", "operator.methodcaller"),
    "pickle in pickle": Hostile(lambda c: saved({"x": Payload(pickle.loads, pickle.dumps(touch(c)))}), 4, "pickle.loads"),
    "torch.load in pickle": _raw(b"ctorch\nload\nVCANARY\n\x85R.", "torch.load"),
    "torch.hub": _raw(b"ctorch.hub\nload\n(Vx/y\nVz\ntR.", "torch.hub.load"),
    "persistent id holds a call": _raw(
        b"\x80\x02(" + text("storage") + SYSTEM + TOUCH + b"\x85RV0\nVcpu\nK\x01tQ.", "posix.system"
    ),
    "whole module with code": Hostile(lambda c: saved([torch.nn.Linear(2, 2), touch(c)]), 4, "posix.system"),
    "called third-party function": _raw(b"cevil.package\nrun\n)R.", "evil.package.run"),
    "code in a legacy header": Hostile(
        lambda c: (
            pickle.dumps(MAGIC, 2)
            + pickle.dumps(PROTOCOL, 2)
            + pickle.dumps({"little_endian": True, "x": touch(c)}, 2)
            + pickle.dumps({}, 2)
            + pickle.dumps([], 2)
        ),
        4,
        "posix.system",
    ),
    "code in a nested storage": Hostile(
        lambda c: pickle.dumps({"w": Payload(torch.storage._load_from_bytes, legacy(touch(c)))}, 4),
        4,
        "posix.system",
        "w.pkl",
    ),
    "sklearn-like code": Hostile(lambda c: pickle.dumps([touch(c)], 4), 4, "posix.system", "model.pkl"),
}

MACHINE = {
    "memo never written": _raw(b"\x80\x02h\x07.", "damaged", 3),
    "memo index of 2^32": _raw(b"\x80\x02}r\xff\xff\xff\xff.", "no tensors", 3),
    "negative memo index": _raw(b"(dp-1\n.", "no tensors", 3),
    "pops an empty stack": _raw(b"00.", "damaged", 3),
    "no STOP": _raw(b"\x80\x02}", "damaged", 3),
    "unknown opcode": _raw(b"\xff.", "damaged", 3),
    "out-of-band buffer": _raw(b"\x80\x05\x97.", "NEXT_BUFFER", 3),
    "lying BINBYTES8": _raw(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x0fabc.", "damaged", 3),
    "lying BYTEARRAY8": _raw(b"\x96\x00\x00\x00\x00\x00\x01\x00\x00abc.", "damaged", 3),
    "lying FRAME": _raw(b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.", "no tensors", 3),
    "integer of a million digits": _raw(b"I" + b"9" * 1_000_000 + b"\n.", "damaged", 3),
    "long of 16 MB": _fixed(lambda: zipped(b"\x8b\x00\x00\x00\x01" + b"\x7f" * 2**24 + b"."), "no tensors", 3),
    "tuples nested half a million deep": _fixed(lambda: zipped(b")" + b"\x85" * 500_000 + b"."), "nesting", 4),
    "nested tuple as a key": _fixed(lambda: zipped(b"})" + b"\x85" * 500_000 + b"Ns."), "no tensors", 3),
    "list inside itself": _raw(b"]q\x00h\x00a.", "no tensors", 3),
    "dictionary inside itself": _raw(b"}q\x00X\x01\x00\x00\x00ah\x00s.", "no tensors", 3),
    "billion laughs": _raw(
        b"]" + b"".join(b"q%c](h%ch%ce" % (n, n, n) for n in range(90)) + b".",
        "no tensors",
        3,
    ),
    "two million marks": _fixed(lambda: zipped(b"(" * 2_000_000 + b"."), "--max-pickle-steps", 4),
    "append to a string": _raw(b"Va\nNa.", "damaged", 3),
    "set items of a tuple": _raw(b")Va\nNs.", "damaged", 3),
    "global named by a number": _raw(b"\x80\x04K\x01K\x02\x93.", "not text", 3),
    "text persistent id": _raw(b"Pevil\n.", "persistent id", 3),
    "persistent id of a stranger": _raw(b"(Vfile\nV/etc/passwd\ntQ.", "persistent id", 3),
    "persistent id too short": _raw(b"(Vstorage\ntQ.", "persistent id", 3),
    "strange escapes": _raw(b"S'\\q\\d'\n.", "no tensors", 3),
}

TENSORS = {
    "stride 0, 4 TB": _fixed(lambda: tensor((2**40,), (0,)), "declares 4,398,046,511,104 bytes over 8 stored", 4),
    "offset outside": _fixed(lambda: tensor((2,), (1,), 1), "outside its storage", 4),
    "stride outside": _fixed(lambda: tensor((2,), (1000,)), "outside its storage", 4),
    "negative stride": _fixed(lambda: tensor((2,), (-1,), 1), "negative", 4),
    "negative offset": _fixed(lambda: tensor((2,), (1,), -1), "negative", 4),
    "negative shape": _fixed(lambda: tensor((-2,), (1,)), "negative", 4),
    "shape and stride differ in length": _fixed(lambda: tensor((2,), (1, 1)), "inconsistent", 4),
    "rank 10,000": _fixed(lambda: tensor((1,) * 10_000, (1,) * 10_000), "--max-rank", 4),
    "shape overflows": _fixed(lambda: tensor((2**62, 2**62), (1, 1)), "declares", 4),
    "shape of floats": _fixed(lambda: tensor((2.0,), (1,)), "not an integer", 3),
    "shape of booleans": _fixed(lambda: tensor((True,), (1,)), "not an integer", 3),
    "shape of 2^70": _fixed(lambda: tensor((2**70,), (1,)), "not an integer", 3),
    "storage shorter than declared": _fixed(lambda: tensor(numel=100), "declares 400 bytes and stores 8", 4),
    "storage of negative length": _fixed(lambda: tensor(numel=-1), "persistent id", 3),
    "storage of 2^62 elements": _fixed(lambda: tensor(numel=2**62), "declares", 4),
    "storage outside the archive": _fixed(lambda: tensor(key="../../../etc/passwd"), "lacks storage", 3),
    "storage key is a number": _fixed(lambda: tensor(key=0), "persistent id", 3),
    "quantised to 32 bits": _fixed(lambda: tensor(kind="QInt32Storage"), "unsupported dtype QInt32Storage", 3),
    "quantised storage": _fixed(lambda: tensor((2,), (1,), 0, 8, "QInt8Storage"), "unsupported dtype QInt8Storage", 3),
    "storage of unknown type": _fixed(lambda: tensor(kind="EvilStorage", numel=8), "unsupported dtype EvilStorage", 3),
    "sparse": _fixed(lambda: saved({"w": torch.eye(3).to_sparse()}), "'w' is sparse", 3),
    "sparse, lying indices": _fixed(
        lambda: resealed(saved({"w": torch.eye(3).to_sparse()}).replace(struct.pack("<q", 2), struct.pack("<q", 2**50))),
        "'w' is sparse",
        3,
    ),
    "meta": _fixed(lambda: saved({"w": torch.empty(3, device="meta")}), "meta tensor, no values", 3),
    "nested tensor size": _raw(b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR.", "no tensors", 3),
    "rebuild without arguments": _raw(b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "damaged", 3),
    "DTensor": _raw(b"}Vw\nctorch.distributed.tensor\nDTensor\n)\x81s.", "consolidate first", 3),
    "a hundred thousand characters in a name": _fixed(lambda: saved({"w" * 100_000: torch.zeros(2)}), "--max-name-chars", 4),
}

ARCHIVES = {
    "two data.pkl": _fixed(duplicated, "two entries named 'archive/data.pkl'", 4),
    "two folders with data.pkl": _fixed(
        lambda: archive({"data.pkl": b"}.", "x": b""}).replace(b"archive/x", b"archiv2/x"), "", 3
    ),
    "deflate bomb": _fixed(
        lambda: archive({"data.pkl": b"\0" * 50_000_000}, zipfile.ZIP_DEFLATED), "compressed entry 'archive/data.pkl'", 4
    ),
    "overlapping entries": _fixed(overlapping, "not where the directory says", 4),
    "cut in the middle": _fixed(lambda: saved(weights())[:600], "central directory missing; file has 600 bytes", 3),
    "cut in the directory": _fixed(
        lambda: (lambda d: d[: d.find(b"PK\x01\x02") + 50] + d[-22:])(saved(weights())), "directory", 3
    ),
    "directory far away": _fixed(
        lambda: patched(archive({"data.pkl": b"}."}), -6, b"\xf0\xff\xff\x7f"), "damaged ZIP directory", 3
    ),
    "count of 65,535": _fixed(lambda: patched(archive({"data.pkl": b"}."}), -12, b"\xff\xff"), "--max-tensors", 4),
    "count of 9": _fixed(lambda: patched(archive({"data.pkl": b"}."}), -12, b"\x09\x00"), "damaged ZIP directory", 3),
    "encrypted": _fixed(
        lambda: (lambda d: patched(d, d.find(b"PK\x01\x02") + 8, b"\x01\x00"))(archive({"data.pkl": b"}."})),
        "compressed entry",
        4,
    ),
    "two sizes": _fixed(
        lambda: (lambda d: patched(d, d.find(b"PK\x01\x02") + 24, b"\x09"))(archive({"data.pkl": b"}."})), "two sizes", 4
    ),
    "entry beyond the file": _fixed(
        lambda: (lambda d: patched(d, d.find(b"PK\x01\x02") + 20, b"\xff\xff\xff\x0f\xff\xff\xff\x0f"))(
            archive({"data.pkl": b"}."})
        ),
        "not where the directory says",
        4,
    ),
    "another name in the local header": _fixed(
        lambda: archive({"data.pkl": b"}."}).replace(b"archive/d", b"archivX/d", 1), "not where", 4
    ),
    "big-endian": _fixed(lambda: archive({"data.pkl": b"}.", "byteorder": b"big"}), "big-endian", 3),
    "TorchScript": _fixed(
        lambda: archive({"data.pkl": b"}.", "constants.pkl": b").", "code/x.py": b""}), "TorchScript is a program", 4
    ),
    "torch.export": _fixed(lambda: archive({"models/model.json": b"{}"}), "torch.export", 3),
    "npz": _fixed(lambda: archive({"a.npy": b""}), ".npz", 3),
    "Keras": _fixed(lambda: archive({"model.weights.h5": b""}), "Keras", 3),
    "some other ZIP": _fixed(lambda: archive({"readme.txt": b""}), "not a torch checkpoint", 3),
    "empty ZIP": _fixed(lambda: b"PK\x05\x06" + bytes(18), "not a checkpoint", 3),
    "legacy, cut": _fixed(lambda: legacy(weights())[:-4], "truncated in storage", 3),
    "legacy, lying length": _fixed(
        lambda: (lambda d: patched(d, -16, struct.pack("<q", 2**40)))(legacy({"b": torch.zeros(2)})), "declares", 4
    ),
    "legacy, storages missing": _fixed(
        lambda: (
            pickle.dumps(MAGIC, 2)
            + pickle.dumps(PROTOCOL, 2)
            + pickle.dumps({"little_endian": True}, 2)
            + pickle.dumps({}, 2)
            + pickle.dumps(["0"], 2)
        ),
        "its storages are not the ones",
        3,
    ),
    "legacy, big-endian": _fixed(
        lambda: pickle.dumps(MAGIC, 2) + pickle.dumps(PROTOCOL, 2) + pickle.dumps({"little_endian": False}, 2), "big-endian", 3
    ),
    "legacy, only the magic": _fixed(lambda: pickle.dumps(MAGIC, 2), "damaged", 3),
}

HEADERS = {
    "header of 2^63": _header({}, "9,223,372,036,854,775,808 bytes expected, file has 10", 3, length=2**63),
    "header longer than the file": _header({}, "header of 100 bytes expected, file has 10", 3, length=100),
    "300,000 tensors": _fixed(
        lambda: safetensors({f"w{n}": entry(0, 0) for n in range(300_000)}), "--max", 4, "weights.safetensors"
    ),
    "shape overflows 2^63": _header({"w": entry(0, 4, [2**40, 2**40])}, "'w' has a shape whose size overflows", 4, b"1234"),
    "overlap": _header({"a": entry(0, 8), "b": entry(4, 12)}, "'b' overlaps the one before: offsets 4 to 12", 4, bytes(12)),
    "hole": _header({"a": entry(0, 4), "b": entry(8, 12)}, "'b' leaves a hole before it", 4, bytes(12)),
    "end before start": _header({"a": entry(8, 4, [1])}, "claims offsets 8 to 4", 4, bytes(8)),
    "negative offset": _header({"a": entry(-4, 0, [1])}, "claims offsets -4 to 0", 4, bytes(8)),
    "size and shape differ": _header({"a": entry(0, 8, [1])}, "needs 4 bytes", 4, bytes(8)),
    "truncated body": _header({"a": entry(0, 8)}, "8 bytes of tensors expected, 4 are there", 3, bytes(4)),
    "trailing bytes": _header({"a": entry(0, 8)}, "3 trailing bytes", 3, bytes(11)),
    "name twice": _header(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}', "holds 'a' twice", 4),
    "FP8": _header({"a": entry(0, 4, [4], "F8_E4M3")}, "'a' has unsupported dtype F8_E4M3", 3, bytes(4)),
    "unknown dtype": _header({"a": entry(0, 4, [4], "\x1b[31mX")}, "unsupported dtype \\x1b[31mX", 3, bytes(4)),
    "shape is text": _header({"a": {"dtype": "F32", "shape": "4", "data_offsets": [0, 4]}}, "malformed", 3, bytes(4)),
    "shape of booleans, header": _header({"a": entry(0, 4, [True])}, "malformed", 3, bytes(4)),
    "three offsets": _header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2, 4]}}, "malformed", 3, bytes(4)),
    "rank 1,000": _header({"a": entry(0, 4, [1] * 1_000)}, "--max-rank", 4, bytes(4)),
    "metadata of numbers": _header({"__metadata__": {"a": 1}}, "not a table of texts", 3),
    "brackets 200,000 deep": _header(b'{"a":' + b"[" * 200_000, "nested too deep", 3),
    "not JSON": _header(b"{nope}", "is not JSON", 3),
    "a list": _fixed(lambda: safetensors(b"[1]"), "is not JSON: expected an object", 3, "weights.safetensors"),
    "infinity": _header(b'{"a":Infinity}', "is not a number of JSON", 3),
    "not UTF-8": _header(b'{"\xff":1}', "is not JSON", 3),
}

CORPUS = {
    f"{family}: {name}": case
    for family, cases in {"code": CODE, "machine": MACHINE, "tensor": TENSORS, "archive": ARCHIVES, "header": HEADERS}.items()
    for name, case in cases.items()
}
"""Every file by family and name."""
