"""Files of arrays that ask for much more than they weigh, or say what they are not: npz, idx, CIFAR and their corrupted sets."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints.hostile import Payload, touch

Random = random.Random

BLOCK = 1 << 20
TYPES = ("|u1", "<u2", "<f2", "<f4", "<f8", ">f8", "<i8", "<f16", "<c16", "|b1", "|i1", "<u8")
ODD_TYPES = (
    *("|O", "<U5", "<U536870911", "|S1", "|S0", "|V8", "<M8[s]", "<m8", "<f3", "", "x", "|u1,|u1", "<f16", "<c32", "object"),
    *(repr([("a", "<f8", (1000, 1000))]), repr([("a", "|u1"), ("a", "|u1")]), repr([("", [("x", "|O")])]), "[" * 90 + "]" * 90),
    *(
        *(repr(("<f8", (2**31 - 1,) * 3)), repr(("|u1", (0,))), "None", "3", "{'names': ['a'], 'formats': ['O']}"),
        repr([(("t", "n"), "|O")]),
    ),
)
ODD_SHAPES = (
    *(
        *("(-1, 8, 8)", "(True, 8, 8)", "(2, True, True)", "(2.0, 8, 8)", "(2**9, 8, 8)", "(0x" + "F" * 5000 + ",)"),
        *("(None,)", "'a'", "[2, 8, 8]"),
    ),
    *(
        *("(9223372036854775807, 2, 2)", "(4294967296, 4294967296)", "(0, 2, 2)", "(1, " * 40 + ")" * 40, "(" * 1000),
        *("(1,) * 9", "2", "()"),
    ),
    *(
        *("(" + "1, " * 65 + ")", "(" + "1, " * 3000 + ")", "(2, 8, 8", "(-0, 8, 8)", "(2, 8, 1_0)"),
        *("(False, False, False)", "(1e9, 1, 1)"),
    ),
)


def npy(shape: object, dtype: str = "|u1", order: object = False, version: int = 1) -> bytes:
    """A header that says so; what is no text of a type is written as it is."""
    spelled = dtype if dtype[:1] in "[({N3" and dtype else repr(dtype)
    text = f"{{'descr': {spelled}, 'fortran_order': {order!r}, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode()


def zeros(num_bytes: int) -> Iterator[bytes]:
    for start in range(0, num_bytes, BLOCK):
        yield bytes(min(BLOCK, num_bytes - start))


def deflated(head: bytes, num_bytes: int, body: bytes = bytes(BLOCK)) -> tuple[bytes, int]:
    """A raw deflate stream of the header and so many zeros, and its checksum; the zeros are not compressed one by one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(head + bytes(num_bytes % BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = zlib.crc32(head + bytes(num_bytes % BLOCK))
    for _ in range(num_bytes // BLOCK if num_bytes < 400 * BLOCK else 0):
        crc = zlib.crc32(body, crc)
    return first + again * (num_bytes // BLOCK) + packer.flush(), crc


def archive(members: dict[str, tuple[bytes, int, int]], method: int = 8, flags: int = 0) -> bytes:
    """A ZIP of members already packed, each with the size and checksum that it states: {name: (packed, size, crc)}."""
    body, central = b"", b""
    for name, (packed, size, crc) in members.items():
        encoded = name.encode()
        fields = (20, flags, method, 0, 0, crc, len(packed), size & 0xFFFFFFFF, len(encoded), 0)
        central += struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, len(body)) + encoded
        body += struct.pack("<4s5H3L2H", b"PK\x03\x04", *fields) + encoded + packed
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, len(members), len(members), len(central), len(body), 0)
    return body + central + end


def bomb(shape: tuple[int, ...], dtype: str, order: bool = False) -> tuple[bytes, int, int]:
    """A deflated member of zeros."""
    head = npy(shape, dtype, order)
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    packed, crc = deflated(head, size)
    return packed, len(head) + size, crc


def plain(array: Any) -> tuple[bytes, int, int]:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    data = stream.getvalue()
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush(), len(data), zlib.crc32(data)


def _npz(folder: Path, members: dict[str, tuple[bytes, int, int]], method: int = 8, flags: int = 0) -> str:
    (folder / "set.npz").write_bytes(archive({f"{name}.npy": member for name, member in members.items()}, method, flags))
    return f"npz:{folder / 'set.npz'}"


def size(rng: Random) -> int:
    """Of what is unpacked: from 10 MB to 4 GB."""
    return int(10 ** rng.uniform(7, 9.6))


def deflated_images(folder: Path, rng: Random) -> str:
    dtype = rng.choice(TYPES)
    row = rng.choice(((8, 8), (2, 2), (32, 32, 3), (3, 32, 32), (4096, 4096), (2, 100_000), (1000, 1000, 3), (2, 2, 1)))
    n = max(1, size(rng) // (int(np.prod(row)) * np.dtype(dtype).itemsize))
    labels = bomb((n,), rng.choice(("|u1", "<i8", "<u2")))
    return _npz(folder, {"images": bomb((n, *row), dtype, rng.choice((False, True))), "labels": labels})


def deflated_labels(folder: Path, rng: Random) -> str:
    n = size(rng) // 8
    return _npz(
        folder, {"images": plain(np.zeros((10, 8, 8), np.uint8)), "labels": bomb(rng.choice(((n,), (n, 1), (1, n))), "<i8")}
    )


def class_names(folder: Path, rng: Random) -> str:
    images, labels = plain(np.zeros((10, 8, 8), np.uint8)), plain(np.arange(10))
    dtype = rng.choice(("<U1", "|S1", "<U1000000", "|S100000000", "<U1", "|S1"))
    n = size(rng) // np.dtype(dtype).itemsize or 1
    return _npz(folder, {"images": images, "labels": labels, "classes": bomb((n,), dtype)})


def stored_doubles(folder: Path, rng: Random) -> str:
    n = rng.randrange(1000, 60_000)
    images = np.zeros((n, 8, 8), rng.choice(("<f8", ">f8", "<f4", "<f2", "<i8", "<f16", "<i2")))
    images = np.asfortranarray(images) if rng.randrange(2) else images
    images[rng.randrange(n)] = rng.choice((0, 0, 1, 5, -1))
    np.savez(folder / "set.npz", images=images, labels=np.arange(n, dtype=rng.choice((np.uint64, np.int16, np.int64))) % 10)
    return f"npz:{folder / 'set.npz'}"


def odd_values(folder: Path, rng: Random) -> str:
    odd = rng.choice((np.nan, np.inf, -np.inf, 1e308, -1, 2**62, 1e-320, 2**31, 99_999))
    images = np.zeros((10, 8, 8), rng.choice((np.float64, np.float32, np.int64)))
    labels = np.arange(10).astype(rng.choice((np.float64, np.int64, np.uint64, np.int8, np.complex128, "U5", bool)))
    with np.errstate(all="ignore"):
        try:
            rng.choice((images, labels)).flat[3] = odd
        except (OverflowError, ValueError):
            labels = labels[:9]
    np.savez(
        folder / "set.npz",
        images=images,
        labels=labels,
        classes=np.array(rng.choice((["\x1b[31m"] * 10, ["x" * 10**6] * 3, [1]))),
    )
    return f"npz:{folder / 'set.npz'}"


def headers(folder: Path, rng: Random) -> str:
    shape = rng.choice(ODD_SHAPES) if rng.randrange(2) else "(10, 8, 8)"
    dtype = rng.choice(ODD_TYPES) if rng.randrange(2) else "|u1"
    head = npy(shape, dtype, rng.choice((False, True, 1, None, "x")), rng.choice((1, 1, 2, 3, 4)))
    if rng.randrange(4) == 0:
        head = rng.choice(
            (
                *(head[: rng.randrange(len(head))], b"\x93NUMPY\x02\0\xff\xff\xff\xff", b"\x93NUMPY\x01\0\0\0"),
                head[:10] + b"\xff" * 118,
            )
        )
    body = head + bytes(rng.choice((640, 0, 1, 10_000)))
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    member = packer.compress(body) + packer.flush(), len(body), zlib.crc32(body)
    members = {
        "images": plain(np.zeros((10, 8, 8), np.uint8)),
        "labels": plain(np.arange(10)),
        "classes": plain(np.array(list("0123456789"))),
    }
    return _npz(folder, members | {rng.choice(("images", "images", "labels", "classes")): member})


def pickled_members(folder: Path, rng: Random) -> str:
    code = np.array([touch(folder / "ran"), Payload(print, "x")], dtype=object)
    data = rng.choice((plain(code), (pickle.dumps(touch(folder / "ran")),) * 1 + (100, 0)))
    members = {
        "images": plain(np.zeros((2, 8, 8), np.uint8)),
        "labels": plain(np.arange(2)),
        "classes": plain(np.array(["a", "b"])),
    }
    return _npz(folder, members | {rng.choice(list(members)): data}, rng.choice((0, 8)))


def many_members(folder: Path, rng: Random) -> str:
    number, length = int(10 ** rng.uniform(3, 5.6)), rng.choice((1, 10, 60_000))
    number = min(number, 20_000_000 // (length + 46))
    name = b"images.npy" if rng.randrange(2) else b"x" * length
    extra = rng.choice((b"", b"\x01\0\0\0" * 10))
    record = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    central = b"".join(
        record[:28] + struct.pack("<2H", len(name) + 6, len(extra)) + record[32:] + name + b"%06d" % n + extra
        for n in range(number)
    )
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, number & 0xFFFF, number & 0xFFFF, len(central), 0, 0)
    (folder / "set.npz").write_bytes(central + end)
    return f"npz:{folder / 'set.npz'}"


def lying_archive(folder: Path, rng: Random) -> str:
    """One member's sizes, checksum, method or place are not what they are; also several names for one place."""
    n = rng.randrange(10, 300_000)
    members = {"images": bomb((n, 8, 8), "|u1"), "labels": bomb((n,), "|u1")}
    spec = _npz(folder, members, rng.choice((8, 8, 8, 12, 14, 99, 9, 0)), rng.choice((0, 0, 1, 8, 0x40, 0x800)))
    path = folder / "set.npz"
    data = bytearray(path.read_bytes())
    marks = [at for at in range(len(data)) if data.startswith(b"PK\x01\x02", at)]
    at = rng.choice(marks)
    for _ in range(rng.randrange(3)):
        place = rng.choice((16, 20, 24, 42, 28, 30, 34, 8, 10, 6))
        new = rng.choice(
            (bytes(4), b"\xff" * 4, bytes([rng.randrange(256)]) + bytes(3), data[marks[0] + place : marks[0] + place + 4])
        )
        data[at + place : at + place + rng.choice((2, 4))] = new[: rng.choice((2, 4))]
    cut = rng.choice((0, 0, 0, 7))
    path.write_bytes(rng.choice((b"", b"", b"MZ" * 500)) + bytes(data[: len(data) - cut]) + rng.choice((b"", b"", b"x" * 70_000)))
    return spec


def other_packings(folder: Path, rng: Random) -> str:
    n = rng.randrange(10**4, 10**6)
    method = rng.choice((zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    with zipfile.ZipFile(folder / "set.npz", "w", method) as file:
        for name, head, body in (("images", npy((n, 8, 8)), 64 * n), ("labels", npy((n,)), n)):
            with file.open(f"{name}.npy", "w") as member:
                member.write(head)
                for part in zeros(body):
                    member.write(part)
    data = bytearray((folder / "set.npz").read_bytes())
    if method == zipfile.ZIP_LZMA and rng.randrange(2):  # the size of the dictionary, which is set aside first
        at = data.index(b"images.npy") + 10
        data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    (folder / "set.npz").write_bytes(data)
    return f"npz:{folder / 'set.npz'}"


def not_archives(folder: Path, rng: Random) -> str:
    content = rng.choice(
        (
            *(npy("(10, 8, 8)") + bytes(640), pickle.dumps({"images": touch(folder / "ran")}), b"PK\x05\x06" + bytes(18)),
            *(b"PK\x05\x06" * 10**5, bytes(10**6)),
            b"PK\x06\x06" + b"\xff" * 52 + b"PK\x06\x07" + bytes(4) + b"\xff" * 8 + b"\xff" * 4 + b"PK\x05\x06" + b"\xff" * 18,
            rng.randbytes(1000),
        )
    )
    (folder / "set.npz").write_bytes(content)
    return f"npz:{folder / 'set.npz'}"


def _gzip_with(name: bytes, content: bytes) -> bytes:
    packed = gzip.compress(content)
    return packed[:3] + b"\x08" + packed[4:10] + name + b"\0" + packed[10:]


def idx(folder: Path, rng: Random) -> str:
    n = rng.choice((10, 10_000, 2**31, 2**32 - 1, rng.randrange(1, 5_000_000)))
    side = rng.choice((8, 28, 2, 1, 0, 65_536, 2**32 - 1, 4096))
    head = bytes([0, 0, rng.choice((8, 8, 8, 13)), rng.choice((3, 3, 3, 255, 0))]) + struct.pack(">3I", n, side, side)
    body = min(n * side * side, size(rng)) - rng.choice((0, 0, 1))
    packed, crc = deflated(head, max(body, 0))
    bombed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + packed + struct.pack("<2L", crc, (len(head) + body) & 0xFFFFFFFF)
    small = head[:3] + b"\x03" + struct.pack(">3I", 10, 8, 8) + bytes(640)
    labels = bytes([0, 0, 8, 1]) + struct.pack(">I", rng.choice((10, 10, n))) + bytes(rng.choice((10, 200)))
    images = rng.choice(
        (
            *(bombed, bombed, bombed, head + bytes(1000), _gzip_with(b"n" * rng.randrange(10**5, 10**7), small)),
            *(gzip.compress(b"") * rng.randrange(10**4, 300_000) + gzip.compress(small), gzip.compress(small) * 2),
            *(
                *(gzip.compress(small) + b"\0" * 10**6, gzip.compress(small)[:-6] + b"bad!!!", small),
                gzip.compress(gzip.compress(small)),
            ),
            b"".join(gzip.compress(small[at : at + 1]) for at in range(len(small))),
        )
    )
    (folder / "images").write_bytes(images)
    (folder / "labels").write_bytes(rng.choice((labels, gzip.compress(labels), bombed)))
    if rng.randrange(2):
        return f"idx:{folder / 'images'},{folder / 'labels'}"
    (folder / "images").rename(folder / rng.choice(("t10k-images-idx3-ubyte", "t10k-images-idx3-ubyte.gz")))
    (folder / "labels").rename(folder / "t10k-labels-idx1-ubyte.gz")
    return f"mnist:{folder}"


def cifar(folder: Path, rng: Random) -> str:
    """Binary batches with odd sizes, labels and names, or the pickled version, which must not be read."""
    name = rng.choice(("cifar10", "cifar100"))
    inside = folder / rng.choice((".", "cifar-10-batches-bin", "cifar-100-binary"))
    inside.mkdir(exist_ok=True)
    n = rng.randrange(1, 10_000)
    width = 3073 if name == "cifar10" else 3074
    content = rng.choice(
        (bytes(n * width), bytes(n * width + 1), rng.randbytes(1000), b"\xff" * (20 * width), pickle.dumps(touch(folder / "ran")))
    )
    (inside / ("test_batch.bin" if name == "cifar10" else "test.bin")).write_bytes(content)
    names = rng.choice(
        (b"\x1b]0;x\x07\n" * 10, b"a\n" * 32_000, b"\xff\xfe\0" * 5000, b"x" * 65_536, b"y" * 70_000, b"<script>\n" * 100)
    )
    (inside / rng.choice(("batches.meta.txt", "fine_label_names.txt"))).write_bytes(names)
    if rng.randrange(3) == 0:
        (inside / ("test_batch.bin" if name == "cifar10" else "test.bin")).unlink()
        (folder / rng.choice(("test_batch", "data_batch_1", "cifar10_test.npz", "cifar100_test.npz"))).write_bytes(
            pickle.dumps({b"data": touch(folder / "ran"), b"labels": [pickle.dumps(touch(folder / "ran"))]})
        )
    return f"{name}:{folder}"


def cifar_c(folder: Path, rng: Random) -> str:
    """A published set whose arrays have headers that lie, beside clean images."""
    inside = folder / "CIFAR-10-C"
    inside.mkdir()
    (folder / "test_batch.bin").write_bytes(bytes(20 * 3073))
    labels = rng.choice((npy("(100,)") + bytes(100), npy("(100,)", "<f8") + bytes(800), npy(rng.choice(ODD_SHAPES)) + bytes(100)))
    (inside / "labels.npy").write_bytes(labels)
    for name in ("gaussian_noise", "fog", "pixelate"):
        shape, dtype = rng.choice((*ODD_SHAPES, "(100, 32, 32, 3)", "(100, 32, 32, 3)")), rng.choice(("|u1", "|u1", *ODD_TYPES))
        (inside / f"{name}.npy").write_bytes(
            npy(shape, dtype, rng.choice((False, False, True))) + bytes(rng.choice((0, 307_200)))
        )
    return f"cifar10-c:{folder}"


def synthetic_c(folder: Path, rng: Random) -> str:
    """A set like those of ``data make-c`` whose manifest is hostile."""
    from sharpaudit.data import open_images
    from sharpaudit.data.published import MANIFEST
    from sharpaudit.data.synthetic import write_synthetic

    inside = folder / "made"
    write_synthetic(open_images("digits", limit=10), inside, severities=(1, 3), corruptions=("fog", "contrast"))
    document = json.loads((inside / MANIFEST).read_text())
    odd: Any = rng.choice(
        (
            *(
                *([], {}, None, -1, 0, 10**400, 1e308, "\x1b[31m", "x" * 10**6, True, [[]], [0], [1] * 10**6),
                *(["fog"] * 10**5, {"a": 1}),
            ),
            *(
                *({"../../etc/passwd": "0" * 64}, {"/dev/zero": "x"}, {f"{n}": "" for n in range(200_000)}),
                *([f"{n}" for n in range(300_000)], [9, -1]),
            ),
        )
    )
    target = rng.choice((document, document, document["data"]))
    key = rng.choice(list(target))
    if rng.randrange(8) == 0:
        (inside / MANIFEST).write_text(
            rng.choice(("[" * 10**6, "{", '{"a":' * 10**5, "null", " " * 10**7, '[""' + ',""' * 10**6 + "]"))
        )
        return f"synthetic-c:{inside}"
    if isinstance(target[key], dict) and isinstance(odd, dict) and rng.randrange(2):
        odd = target[key] | odd
    target[key] = odd
    (inside / MANIFEST).write_text(json.dumps(document))
    if rng.randrange(2):
        shape = rng.choice((*ODD_SHAPES, "(10, 8, 8, 1)", "(20, 8, 8, 1)", "(10, 8, 8)", "(640,)"))
        (inside / rng.choice(("clean.npy", "labels.npy", "fog.npy"))).write_bytes(
            npy(shape, rng.choice(("|u1", *ODD_TYPES))) + bytes(640)
        )
    return f"synthetic-c:{inside}"


KINDS = (
    *(deflated_images, deflated_labels, class_names, stored_doubles, odd_values, headers, pickled_members, many_members),
    *(lying_archive, other_packings, not_archives, idx, cifar, cifar_c, synthetic_c),
)
