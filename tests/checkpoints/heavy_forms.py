"""Pickles and archives of an odd form: rare opcodes, tensors that lie, archives in archives, fields that contradict others."""

from __future__ import annotations

import io
import pickle
import random
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from tests.checkpoints.hostile import archive, entry, literal, resealed, safetensors, saved, tensor, touch, weights, zipped

Random = random.Random

BIG: tuple[Any, ...] = (
    *(0, 1, -1, 2**31, 2**32 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), 2**70, 10**4000, True, None, 1.5, float("nan"), "x"),
    *(b"y", (), []),
)
WORDS = ("storage", "module", "", "x" * 10**6, "\ud800", "\x1b[31m", "\0", "../../etc/passwd", "é" * 1000)
FLOATS = {"0": struct.pack("<2f", 1, 2)}
STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + literal("0") + literal("cpu") + literal(2) + b"tQ"


def push(value: object) -> bytes:
    """`literal`, for half surrogates too."""
    if isinstance(value, str):
        encoded = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(encoded)) + encoded
    return literal(value)


def count(rng: Random, most: int) -> int:
    return int(10 ** rng.uniform(1, 6)) % most + 1


# Pickles


def buffers_out_of_band(rng: Random) -> bytes:
    return zipped(
        b"\x80\x05](" + rng.choice((b"\x97", b"\x97\x98", b"N\x98", b"\x96" + bytes(8) + b"\x98")) * count(rng, 200_000) + b"e."
    )


def odd_persistent_ids(rng: Random) -> bytes:
    kind = rng.choice((b"ctorch\nFloatStorage\n", b"cos\nsystem\n", b"N", b"ctorch\nEvil\x1bStorage\n", push("FloatStorage")))
    parts = [
        *(push(rng.choice(WORDS)), kind, push(rng.choice(("0", *WORDS, *BIG))), push(rng.choice(("cpu", *BIG)))),
        push(rng.choice(BIG)),
    ]
    rng.shuffle(parts) if rng.randrange(2) else None
    pid = rng.choice(
        (b"(" + b"".join(parts[: rng.randrange(7)]) + b"t", b"}", b"]", push(rng.choice(WORDS)), push(rng.choice(BIG)))
    )
    return zipped(b"\x80\x02](" + (pid + b"Q") * count(rng, 20_000) + b"e.", FLOATS)


def ids_of_ids(rng: Random) -> bytes:
    return zipped(
        b"\x80\x02"
        + STORAGE
        + rng.choice((b"Q", b"\x85Q", b"(" + push("module") + b"2NNtQ", b"2\x86Q")) * count(rng, 100_000)
        + b".",
        FLOATS,
    )


def strange_rebuilds(rng: Random) -> bytes:
    name = rng.choice(
        (
            *("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter"),
            *("_rebuild_sparse_tensor", "_rebuild_qtensor", "_rebuild_nested_tensor"),
            *("_rebuild_device_tensor_from_numpy", "_rebuild_meta_tensor_no_storage", "_rebuild_parameter_with_state"),
        )
    )
    odd: list[Any] = [
        rng.choice((*BIG, (2,), (1,), (2**62,) * 4, (0,) * 20, (-1,), (2**63 - 1,) * 3, [2], "2", {1: 2}))
        for _ in range(rng.randrange(8))
    ]
    inner = STORAGE if rng.randrange(3) else push(rng.choice(WORDS))
    call = b"ctorch._utils\n" + name.encode() + b"\n(" + inner + b"".join(map(push, odd)) + b"tR"
    return zipped(
        b"\x80\x02}("
        + push("w")
        + call
        + push("v")
        + rng.choice((b"ctorch._utils\n_rebuild_parameter\n(" + call + b"\x88}tR", b"N"))
        + b"u.",
        FLOATS,
    )


def absurd_views(rng: Random) -> bytes:
    rank = rng.randrange(0, 20)
    numbers = rng.choices((0, 1, 2, 3, 2**20, 2**31, 2**62, 2**63 - 1, -1), k=2 * rank + 1)
    return tensor(
        tuple(numbers[:rank]),
        tuple(numbers[rank:-1]),
        numbers[-1],
        rng.choice((2, 2**40)),
        rng.choice(("FloatStorage", "BoolStorage", "QInt8Storage", "ComplexDoubleStorage")),
    )


def rebuilt_within(rng: Random) -> bytes:
    """A tensor in a parameter in a typed tensor in a parameter ..."""
    inner = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x02\x85K\x01\x85\x89}tR"
    wrap = b"ctorch._utils\n_rebuild_parameter\n"
    typed = b"ctorch._tensor\n_rebuild_from_type_v2\n(" + rng.choice(
        (wrap, b"ctorch._tensor\n_rebuild_from_type_v2\n", b"cos\nsystem\n", b"N")
    )
    if rng.randrange(2):
        depth = rng.choice((10, 1000, 100_000))
        return zipped(b"\x80\x02}" + push("w") + (wrap + b"(") * depth + inner + b"\x88}tR" * depth + b"s.", FLOATS)
    return zipped(b"\x80\x02}" + push("w") + typed + b"ctorch\nTensor\n" + b"(" + inner + b"t}tRs.", FLOATS)


def built_on_plain(rng: Random) -> bytes:
    """BUILD, SETITEMS, APPENDS and ADDITEMS on what is no such thing."""
    thing = rng.choice(
        (
            *(b"ccollections\nOrderedDict\n)R", b"cdatetime\ndatetime\n)R", b"N", push("x"), b"ctorch\nSize\n)R"),
            *(STORAGE, b"cbuiltins\nset\n)R", b"ccollections\ndeque\n)R", b"cargparse\nNamespace\n)\x81"),
            b"ctypes\nSimpleNamespace\n)R",
        )
    )
    state = rng.choice(
        (
            *(b"}", b"N", b"}" + push("__class__") + b"cos\nsystem\ns", b"N}" + push("__dict__") + b"}s\x86"),
            *(push("x" * 10**6), b"}" + push("__setstate__") + b"cos\nsystem\ns", b"(lK\x01a"),
        )
    )
    what = rng.choice((b"b", b"(" + state + state + b"u", b"(" + state + b"e", b"(" + state + b"\x90", b"a"))
    return zipped(b"\x80\x04" + push("k") + thing + (state + what if what in b"ba" else what) * count(rng, 1000) + b".", FLOATS)


def memo_of_millions(rng: Random) -> bytes:
    index = struct.pack("<I", rng.choice((2**32 - 1, 2**31)))
    return zipped(
        b"\x80\x04}"
        + rng.choice((b"\x94", b"r" + index, b"q\x00", b"2\x94", b"p%d\n" % rng.randrange(2**60))) * count(rng, 900_000)
        + b"."
    )


def long_numbers(rng: Random) -> bytes:
    size = count(rng, 4_000_000)
    number = rng.choice(
        (
            *(b"\x8b" + struct.pack("<i", size) + b"\x7f" * size, b"\x8b" + struct.pack("<i", -size)),
            *(b"I" + b"9" * size + b"\n", b"L" + b"9" * size + b"L\n", b"F" + b"9" * size + b"\n"),
            *(b"F1e" + b"9" * size + b"\n", b"I" + b"_1" * size + b"\n", b"\x8a\xff" + b"\x80" * 255),
            b"F0x" + b"f" * size + b"\n",
        )
    )
    where = rng.choice((b"}(%sNu", b"](%se", b"}X\x01\0\0\0w%ss", b"ctorch\nSize\n(%stR", b"%s\x85"))
    return zipped(b"\x80\x02" + where.replace(b"%s", number) + b".")


def odd_texts(rng: Random) -> bytes:
    raw = rng.choice((b"\xed\xa0\x80", b"\xff\xfe", b"\x1b]0;x\x07", b"\\ud800", b"\xe2\x80\xae", b"\0" * 100)) * count(
        rng, 300_000
    )
    text = rng.choice(
        (
            *(b"X" + struct.pack("<I", len(raw)) + raw, b"T" + struct.pack("<I", len(raw)) + raw, b"V" + raw + b"\n"),
            *(b"\x8d" + struct.pack("<Q", len(raw)) + raw, b"S'" + raw + b"'\n", b"c" + raw + b"\nx\n"),
        )
    )
    inner = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x02\x85K\x01\x85\x89}tR"
    return zipped(b"\x80\x04}(" + text + inner + push("fc.bias") + inner + b"u.", FLOATS)


def frames(rng: Random) -> bytes:
    frame = b"\x95" + struct.pack("<Q", rng.choice((0, 1, 2**63, 2**64 - 1)))
    return zipped(
        b"\x80\x04" + (frame + rng.choice((b"", b"N0", b"\x80\x04", b"(1", b"N2" + b"00"))) * count(rng, 90_000) + b"}."
    )


def extensions(rng: Random) -> bytes:
    one = rng.choice((b"\x82\x01", b"\x83\xff\xff", b"\x84\xff\xff\xff\x7f", b"\x82\x00", b"\x84\xff\xff\xff\xff"))
    return zipped(b"\x80\x02](" + (one + rng.choice((b"", b")R", b")\x81"))) * count(rng, 100_000) + b"e.")


def old_calls(rng: Random) -> bytes:
    """INST and OBJ, with a great many arguments or of a great many classes."""
    number = count(rng, 200_000)
    if rng.randrange(2):
        return zipped(b"](" + b"".join(b"(im%d\nC\n" % n for n in range(number)) + b"e.")
    return zipped(b"(" + rng.choice((b"cm\nC\n", b"N", b"ctorch._utils\n_rebuild_tensor_v2\n")) + b"N" * number + b"o.")


def sets_of_all(rng: Random) -> bytes:
    number = count(rng, 100_000)
    items = b"".join(literal(rng.choice((n, float(n), str(n), (n,), bytes([n % 256])))) for n in range(number))
    return zipped(
        b"\x80\x04" + rng.choice((b"\x8f(%s\x90", b"(%s\x91", b"\x8f(\x8f\x90", b"}(\x8f%su")).replace(b"%s", items) + b"."
    )


def lightning(rng: Random) -> bytes:
    """Weights beside settings that nobody would use."""
    odd: Any = rng.choice(
        (
            *(float("nan"), -1, 10**400, "x" * 10**6, [1] * 10**5, {"a": {"b": {"c": {}}}}, {"\x1b[31m": 1}),
            *({f"k{n}": n for n in range(50_000)}, None, b"x" * 10**6),
        )
    )
    keys = (
        *("hyper_parameters", "hparams_name", "epoch", "global_step", "pytorch-lightning_version", "best_prec1", "arch"),
        *("args", "class_names", "classes", "model_args", "num_classes", "callbacks", "loops"),
    )
    return saved(
        {"state_dict": {f"model.{name}": value for name, value in weights().items()}, **{rng.choice(keys): odd for _ in range(3)}}
    )


def nested_files(rng: Random) -> bytes:
    """A pickle that holds pickles of storages that hold pickles."""
    data = saved(weights(), _use_new_zipfile_serialization=False)
    for _ in range(rng.choice((1, 3, 30, 150))):
        inner = b"B" + struct.pack("<I", len(data)) + data
        head = b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
        data = head + b"\x80\x03ctorch.storage\n_load_from_bytes\n" + inner + b"\x85R." + pickle.dumps([], 2)
    return data


# Archives


def odd_archives(rng: Random) -> bytes:
    """Fields of the directory and of the local headers changed: flags, versions, sizes, names, places."""
    data = bytearray(saved(weights()))
    marks = [at for at in range(len(data)) if bytes(data[at : at + 4]) in (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06")]
    for _ in range(rng.randrange(1, 4)):
        at = rng.choice(marks) + rng.choice((4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 42))
        new = rng.choice((b"\xff\xff\xff\xff", bytes(4), b"\x01\0\0\0", b"\x08\0\0\0", b"\x41\0\0\0", rng.randbytes(4)))[
            : rng.choice((2, 4))
        ]
        data[at : at + len(new)] = new[: max(0, len(data) - at)]
    return bytes(data)


def names_alike(rng: Random) -> bytes:
    names = rng.choice(
        (
            *(["data.pkl", "DATA.PKL"], ["data.pkl", "./data.pkl"], ["data.pkl", "data.pkl\0x"]),
            *(["data.pkl", "x/../data.pkl"], ["data.pkl", "dat\u0430.pkl"], ["data.pkl", "data.pkl/"]),
            *(["data.pkl", "sub/data.pkl"], ["\x1b[31m", "data.pkl"], ["data.pkl", "x" * 60_000]),
        )
    )
    return archive(dict.fromkeys(names, pickle.dumps({"w": 1}, 2)))


def with_comments(rng: Random) -> bytes:
    """Another archive, or a second end, in the comment."""
    inner = saved(weights())
    data = bytearray(saved(weights()))
    comment = rng.choice((inner[:65_535], b"PK\x05\x06" * 10_000, b"PK\x05\x06" + bytes(18), b"PK\x06\x07" * 9000, b"x" * 65_535))
    data[-2:] = struct.pack("<H", len(comment))
    return bytes(data) + comment + rng.choice((b"", b"x", inner))


def wide_fields(rng: Random) -> bytes:
    """ZIP64 fields that are short, long, many, or say what the others contradict."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, content in (("a/data.pkl", pickle.dumps({}, 2)), ("a/data/0", bytes(8)), ("a/version", b"3")):
            info = zipfile.ZipInfo(name)
            values = [rng.choice((0, 1, 8, 2**32, 2**63, 2**64 - 1)) for _ in range(rng.randrange(5))]
            info.extra = rng.choice(
                (
                    *(struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values), struct.pack("<2H", 1, 60_000)),
                    *(b"\x01", struct.pack("<2H", 7, 0) * 10_000),
                )
            )
            file.writestr(info, content)
    data = bytearray(stream.getvalue())
    for at in [at for at in range(len(data)) if data.startswith(b"PK\x01\x02", at)]:
        for place in (20, 24, 42):
            if rng.randrange(3) == 0:
                data[at + place : at + place + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


def described_later(rng: Random) -> bytes:
    """Entries whose sizes stand behind them, as a stream writes them."""

    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, part: Any) -> int:
            self.data += part
            return len(part)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", rng.choice((0, 8))) as file:
        for name, content in (("a/data.pkl", pickle.dumps({"w": "x" * 1000}, 2)), ("a/version", b"3")):
            file.writestr(name, content)
    return bytes(stream.data)


def scripted(rng: Random) -> bytes:
    entries = {
        "data.pkl": pickle.dumps({}, 2),
        "constants.pkl": pickle.dumps(touch(Path("ran")), 2),
        "code/__torch__.py": b"import os\n" * count(rng, 10_000),
        "byteorder": rng.choice((b"little", b"big", b"x" * 10**6)),
    }
    return archive({name: entries[name] for name in rng.sample(list(entries), rng.randrange(1, 5))})


def tarred(rng: Random) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        for name in rng.choice(
            (("sys_info", "pickle", "storages", "tensors"), ("../../etc/x", "storages"), ("x" * 90,), ("sys_info",) * 1000)
        ):
            info = tarfile.TarInfo(name)
            info.size = 4
            file.addfile(info, io.BytesIO(b"abcd"))
    return stream.getvalue()


def storages_in_disorder(rng: Random) -> bytes:
    """Storages that are missing, named twice, of other lengths, not named by any tensor, or in another order."""
    stored = {str(n): bytes(rng.choice((8, 8, 8, 0, 4, 1000))) for n in rng.sample(range(40), 30)}
    names = b"".join(
        push(f"w{n}")
        + b"ctorch._utils\n_rebuild_tensor_v2\n("
        + STORAGE.replace(literal("0"), literal(str(n)))
        + b"K\x00K\x02\x85K\x01\x85\x89}tR"
        for n in rng.sample(range(40), rng.randrange(1, 30))
    )
    return zipped(b"\x80\x02}(" + names + b"u.", stored)


def cut_and_mixed(rng: Random) -> bytes:
    data = rng.choice(
        (saved(weights()), saved(weights(), _use_new_zipfile_serialization=False), safetensors({"w": entry(0, 8)}, bytes(8)))
    )
    other = rng.choice(
        (saved(weights()), b"\x80\x04N.", safetensors({"w": entry(0, 8)}, bytes(8)), b"\x89PNG\r\n\x1a\n", bytes(1000))
    )
    return rng.choice(
        (
            *(data[: rng.randrange(len(data))], other + data, data + other, data[:100] + other + data[100:]),
            resealed(data) if data[:2] == b"PK" else data[::-1],
        )
    )


PICKLES = (
    *(buffers_out_of_band, odd_persistent_ids, ids_of_ids, strange_rebuilds, absurd_views, rebuilt_within, built_on_plain),
    *(
        *(memo_of_millions, long_numbers, odd_texts, frames, extensions, old_calls, sets_of_all, lightning, nested_files),
        odd_archives,
    ),
    *(names_alike, with_comments, wide_fields, described_later, scripted, tarred, storages_in_disorder, cut_and_mixed),
)
