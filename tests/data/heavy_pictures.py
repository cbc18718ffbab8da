"""Pictures that unpack to more than they weigh, keep a decoder busy, or are not what they are called; and folders of them."""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Random = random.Random

SIDES = (1, 2, 8, 64, 1000, 4096, 4097, 16_383, 65_535, 2**31 - 1)
PNG = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def small(mode: str = "RGB") -> Image.Image:
    return Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).convert(mode)


def head(width: int, height: int, depth: int = 8, kind: int = 2, interlaced: int = 0) -> bytes:
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced))


def rows(width: int, height: int, channels: int = 3) -> bytes:
    """Zeros for a picture, packed; without packing them one by one."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    row = bytes(1 + width * channels)
    first = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(row) + packer.flush(zlib.Z_FULL_FLUSH)
    num_zeros = len(row) * height  # Adler-32 of zeros: their number in the upper half
    return b"\x78\xda" + first + again * (height - 1) + packer.flush() + struct.pack(">2H", num_zeros % 65_521, 1)


def black(rng: Random) -> bytes:
    """A PNG of one colour, as large as one may be."""
    width, height = rng.choice(((4096, 4096), (16_000_000, 1), (1, 2_000_000), (2048, 2048), (4096, 4096)))
    kind, channels = rng.choice(((0, 1), (2, 3), (6, 4), (2, 3), (3, 1)))
    palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\0") if kind == 3 else b""
    data = rows(width, height, channels)
    return head(width, height, 8, kind, rng.choice((0, 0, 0, 1))) + palette + chunk(b"IDAT", data) + END


def declared(rng: Random) -> bytes:
    """Sizes that a header only claims."""
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    match rng.randrange(5):
        case 0:
            return (
                head(width, height, rng.choice((1, 8, 16, 7)), rng.choice((0, 2, 3, 4, 6, 5)))
                + chunk(b"IDAT", zlib.compress(b""))
                + END
            )
        case 1:
            fields = struct.pack(
                "<IiiHHIIiiII",
                40,
                min(width, 2**31 - 1),
                rng.choice((1, -1)) * height,
                1,
                rng.choice((1, 8, 24)),
                rng.choice((0, 1, 2, 3)),
                0,
                0,
                0,
                0,
                0,
            )
            return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + fields + bytes(rng.choice((0, 1000)))
        case 2:
            return (
                f"P{rng.choice((1, 2, 3, 4, 5, 6, 7))}\n{width} {height}\n{rng.choice((255, 65_535, 1, 0, -1, 10**9))}\n".encode()
                + bytes(192)
            )
        case 3:
            data = bytearray(saved(small(), "JPEG"))
            at = data.index(b"\xff\xc0")
            data[at + 5 : at + 9] = struct.pack(">2H", min(height, 65_535), min(width, 65_535))
            return bytes(data)
        case _:
            lossless = rng.randrange(2)
            data = bytearray(saved(small(), "WEBP", lossless=bool(lossless)))
            if lossless:
                data[21:25] = struct.pack("<I", (min(width, 16_384) - 1) | (min(height, 16_384) - 1) << 14)
            else:
                data[26:30] = struct.pack("<2H", min(width, 16_383), min(height, 16_383))
            return bytes(data)


def many_chunks(rng: Random) -> bytes:
    kind = rng.choice((b"teSt", b"tEXt", b"IDAT", b"gAMA", b"eXIf", b"acTL", b"fdAT"))
    chunks = chunk(kind, rng.choice((b"", b"a\0b", b"\0" * 8))) * rng.randrange(10_000, 1_500_000)
    return head(8, 8) + chunks + chunk(b"IDAT", rows(8, 8)) + END


def texts(rng: Random) -> bytes:
    packed = zlib.compress(bytes(rng.choice((10**5, 10**6, 10**8))), 9)
    one = rng.choice(
        (chunk(b"zTXt", b"k\0\0" + packed), chunk(b"iTXt", b"k\0\1\0\0\0" + packed), chunk(b"iCCP", b"k\0\0" + packed))
    )
    where = one * rng.randrange(1, 200)
    return head(8, 8) + rng.choice((where, b"")) + chunk(b"IDAT", rows(8, 8)) + where + END


def moving(rng: Random) -> bytes:
    """Animated pictures: only the first frame is of use."""
    side, count = rng.choice(((8, 2000), (2000, 50))), 0
    count = side[1]
    frames = [Image.new("RGB", (side[0], side[0]), (n % 256, n // 256, 0)) for n in range(min(count, 60))]
    kind = rng.choice(("PNG", "WEBP", "GIF", "TIFF"))
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    if kind == "PNG":  # says that there are more frames than there are
        data = data.replace(b"acTL" + struct.pack(">I", len(frames)), b"acTL" + b"\x7f\xff\xff\xff")
    return data


def tiff(entries: list[tuple[int, int, int, bytes]], tail: bytes = b"", following: int = 0) -> bytes:
    """A TIFF of one directory: (tag, type, count, value or place in `tail`, which begins at `len(head)`)."""
    start = 8 + 2 + 12 * len(entries) + 4
    body = struct.pack("<H", len(entries))
    for tag, kind, count, value in sorted(entries, key=lambda entry: entry[0]):
        body += struct.pack("<2HL", tag, kind, count) + (value if len(value) == 4 else struct.pack("<L", start))
    return b"II*\0" + struct.pack("<L", 8) + body + struct.pack("<L", following) + tail


def long(number: int) -> bytes:
    return struct.pack("<L", number)


def tiffs(rng: Random) -> bytes:
    width, height = rng.choice(((4096, 4096), (2048, 2048), (8, 8), (1, 10_000_000)))
    count = rng.randrange(1000, 3_000_000)
    packing = rng.choice((1, 1, 5, 8, 32773, 7, 50000, 34925, 99))
    entries = [
        *((256, 4, 1, long(width)), (257, 4, 1, long(height)), (258, 3, 1, long(8)), (259, 3, 1, long(packing))),
        (262, 3, 1, long(1)),
    ]
    tiles = rng.choice((1, 16, 1))
    match rng.randrange(5):
        case 0:  # a great many small tiles
            entries += [(322, 4, 1, long(tiles)), (323, 4, 1, long(tiles)), (324, 4, count, b""), (325, 4, count, b"")]
            return tiff(entries, struct.pack("<L", 8) * count)
        case 1:  # strips of one row, all in one place
            entries += [(273, 4, count, b""), (278, 4, 1, long(1)), (279, 4, count, b"")]
            return tiff(entries, struct.pack("<L", 8) * count)
        case 2:  # a directory that follows itself, and a tag of everything
            entries += [(273, 4, 1, long(8)), (279, 4, 1, long(1)), (700, 1, 2**32 - 1, b""), (34675, 7, count, b"")]
            return tiff(entries, bytes(count), 8)
        case 3:
            entries += [(273, 4, 1, long(8)), (279, 4, 1, long(width * height))]
            entries += [(40_000 + n, 2, count // 10, b"") for n in range(20_000)]
            return tiff(entries, b"a" * count)
        case _:
            return saved(
                Image.new("L", (4096, 4096)),
                "TIFF",
                compression=rng.choice(("tiff_deflate", "tiff_lzw", "packbits", "tiff_adobe_deflate")),
            )


def scans(rng: Random) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    side = rng.choice((1000, 2000, 4096))
    data = saved(Image.new(rng.choice(("L", "RGB")), (side, side)), "JPEG", progressive=True, quality=rng.choice((10, 90)))
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * rng.randrange(10, 3_000_000 // len(last) + 11) + b"\xff\xd9"


def markers(rng: Random) -> bytes:
    data = saved(small(), "JPEG")
    one = rng.choice(
        (
            *(b"\xff\xe1\0\2", b"\xff\xfe\0\2", b"\xff\xed\0\x10Photoshop 3.0\0", b"\xff\xe2\0\x12ICC_PROFILE\0\1\1aa"),
            *(b"\xff\xff", b"\0"),
        )
    )
    return data[:2] + one * rng.randrange(1000, 5_000_000 // len(one)) + data[2:]


def slow_text(rng: Random) -> bytes:
    side = rng.choice((8, 1000, 4096))
    number = rng.randrange(10**5, 10**7)
    filling = rng.choice((b"0 ", b"0", b"#\n", b" ", b"# " + b"x" * 1000 + b"\n", b"255\n"))
    place = rng.choice(
        (f"P3\n{side} {side}\n255\n", f"P1\n{side} {side}\n", f"P2\n{side} {side}\n65535\n", "P6\n", f"P5 {side} ")
    )
    return place.encode() + filling * (number // len(filling))


def other_formats(rng: Random) -> bytes:
    kind = rng.choice(("GIF", "PDF", "EPS", "ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000", "ICNS", "IM"))
    return rng.choice(
        (
            *(lambda: saved(small(), kind), lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", lambda: b"#!/bin/sh\n"),
            lambda: b"\0",
        )
    )()


def modes(rng: Random) -> bytes:
    mode, kind = rng.choice(
        (
            *(("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF"), ("F", "TIFF"), ("I", "TIFF"), ("1", "PNG")),
            *(("LA", "PNG"), ("I;16", "PNG"), ("P", "BMP"), ("RGBA", "WEBP"), ("I", "PPM")),
        )
    )
    return saved(small(mode) if mode != "LAB" else Image.new("LAB", (8, 8)), kind)


def damaged(rng: Random) -> bytes:
    kind = rng.choice(("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM"))
    options = {"compression": rng.choice(("tiff_lzw", "jpeg", "tiff_deflate", None))} if kind == "TIFF" else {}
    data = bytearray(saved(small(), kind, **options))
    for _ in range(rng.randint(1, 6)):
        data[rng.randrange(min(len(data), 200))] = rng.choice((0, 255, rng.randrange(256)))
    return bytes(data[: rng.choice((len(data), rng.randrange(1, len(data))))])


def _in_folder(make: Callable[[Random], bytes]) -> Callable[[Path, Random], str]:
    def write(folder: Path, rng: Random) -> str:
        data = make(rng)
        for name in ("a", "b"):
            (folder / "set" / name).mkdir(parents=True)
        suffix = rng.choice((".png", ".jpg", ".webp", ".tif", ".ppm", ".bmp"))
        for n in range(rng.choice((1, 1, 3, 40)) if len(data) < 10**6 else 1):
            (folder / "set" / "ab"[n % 2] / f"{n}{suffix}").write_bytes(data)
        if rng.randrange(3) == 0:
            (folder / "set" / "b" / "small.png").write_bytes(saved(small(), "PNG"))
        return f"imagefolder:{folder / 'set'}"

    write.__name__ = make.__name__
    return write


# Folders


def _set(folder: Path, rng: Random, classes: list[str]) -> Path:
    root = folder / "set"
    for name in classes:
        (root / name).mkdir(parents=True)
        (root / name / f"{rng.randrange(9)}.png").write_bytes(saved(small("L"), "PNG"))
    return root


def many_black(folder: Path, rng: Random) -> str:
    """Many pictures of nothing, which weigh nothing together."""
    root = _set(folder, rng, ["a", "b"])
    side = rng.choice((224, 500, 1000, 2000))
    data = head(side, side) + chunk(b"IDAT", rows(side, side)) + END
    for n in range(rng.choice((100, 1000, 3000))):
        (root / "a" / f"x{n}.png").write_bytes(data)
    shutil.rmtree(root / "b") if rng.randrange(2) else None
    for path in root.glob("*/?.png"):
        path.write_bytes(data)
    return f"imagefolder:{root}"


def links(folder: Path, rng: Random) -> str:
    """Links to one picture, to one another, to folders that hold links to folders, out of the folder, and to nothing."""
    root = _set(folder, rng, ["a", "b", *(f"d{n}" for n in range(30))])
    match rng.randrange(7):
        case 0:
            data = head(2000, 2000) + chunk(b"IDAT", rows(2000, 2000)) + END
            for path in root.glob("*/*.png"):
                path.write_bytes(data)
            for n in range(2000):
                (root / "b" / f"x{n}.png").symlink_to(next((root / "a").iterdir()))
        case 1:
            for n in range(29):
                for side in "lr":
                    (root / f"d{n}" / side).symlink_to(root / f"d{n + 1}")
        case 2:
            (root / "a" / "l").symlink_to(root / "b")
            (root / "b" / "l").symlink_to(root / "a")
        case 3:
            (root / "a" / "x.png").symlink_to(
                rng.choice(("/dev/zero", "/dev/stdin", "/etc/passwd", "x.png", "nowhere", "/proc/self/mem"))
            )
        case 4:
            (root / "c").symlink_to(rng.choice(("/proc", "/", "..", ".", "/dev", "c")))
        case 5:
            os.mkfifo(root / "a" / "x.png")
        case _:
            (root / "classes.txt").symlink_to(rng.choice(("/dev/zero", "/etc/passwd", "classes.txt", "/proc/self/environ")))
    return f"imagefolder:{root}"


def hostile_names(folder: Path, rng: Random) -> str:
    names = [
        *("\x1b[31mred", "<script>alert(1)</script>", "a\nb", "x" * 250, "\u202egnp", "'\"&<>", "|a|b|", "=cmd()", "%00"),
        *("٣", "１", "-1", "001", "1"),
    ]
    root = _set(folder, rng, rng.sample(names, rng.randrange(2, 10)))
    raw = os.fsencode(root) + b"/\xff\xfe"
    if rng.randrange(2):
        Path(os.fsdecode(raw)).mkdir()
        Path(os.fsdecode(raw + b"/\xed\xa0\x80.png")).write_bytes(rng.choice((saved(small(), "PNG"), b"bad")))
    return f"imagefolder:{root}"


def class_lists(folder: Path, rng: Random) -> str:
    names = [f"c{n}" for n in range(rng.choice((2, 100)))]
    root = _set(folder, rng, names)
    lines = rng.choice(
        (
            *(
                *(names + [f"x{n}" for n in range(rng.choice((10, 60_000)))], names * 2, [], ["\x1b[31m " * 1000]),
                *(names[::-1], ["x" * 10**6]),
            ),
            *(
                *([f"{name} \x1b]0;x\x07" for name in names], ["a b " * 200_000]),
                *([f"{name} {'<b>' * 1000}" for name in names], [""] * 10**6),
            ),
        )
    )
    (root / "classes.txt").write_text("\n".join(lines))
    return f"imagefolder:{root}"


def many_entries(folder: Path, rng: Random) -> str:
    root = _set(folder, rng, ["a", "b"])
    match rng.randrange(3):
        case 0:
            for n in range(1000):
                (root / f"c{n}").mkdir()
        case 1:
            for n in range(2000):
                (root / rng.choice(("a", ".")) / f"{n}.txt").touch()
        case _:
            deep = root / "a"
            for _ in range(rng.choice((31, 33, 60))):
                deep = deep / "d"
            deep.mkdir(parents=True)
            (deep / "x.png").write_bytes(saved(small(), "PNG"))
    return f"imagefolder:{root}"


def annotated(folder: Path, rng: Random) -> str:
    """The validation images of Tiny-ImageNet with a list that names other places, or a great many."""
    inside = folder / "val" / "images"
    inside.mkdir(parents=True)
    (inside / "x.png").write_bytes(saved(small(), "PNG"))
    names = rng.choice(
        (
            *(["x.png"], ["../../x.png"], ["/etc/passwd"], ["x.png"] * 200_000, [f"{n}.png" for n in range(300_000)]),
            *(["\x1b[31m"], ["x" * 10**6], [""], ["."], ["x.png\0"]),
        )
    )
    tail = rng.choice(("\tn01\t0\t0\t7\t7", "\t", "", "\t\x1b[31m", "\t" * 1000, "\t" + "w" * 10))
    (folder / "val" / "val_annotations.txt").write_text("".join(f"{name}{tail}\n" for name in names)[: 15 << 20])
    return f"tiny-imagenet:{folder}"


PICTURES = (black, declared, many_chunks, texts, moving, tiffs, scans, markers, slow_text, other_formats, modes, damaged)
KINDS = (*map(_in_folder, PICTURES), many_black, links, hostile_names, class_lists, many_entries, annotated)
