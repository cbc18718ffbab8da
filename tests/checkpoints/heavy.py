"""Files that ask for much more than they weigh: a few bytes name one large thing again and again, or make many things of nothing.

Seeded: a finding is made again from its kind and seed. ``python -m tests.checkpoints.heavy KIND SEED FOLDER`` writes one case.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.checkpoints import heavy_forms, heavy_headers, heavy_networks
from tests.checkpoints.hostile import MAGIC, PROTOCOL, entry, literal, safetensors, zipped

Random = random.Random

OPCODES = 300_000
"""About as many instructions as a large case has; the budget is a million."""
PRIME = 2**61 - 1
"""Integers that differ by multiples of it have one hash."""


def text(words: str) -> bytes:
    encoded = words.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


class Memo:
    """Puts things into the memo above what `literal` uses, and gets them out again."""

    def __init__(self) -> None:
        self.next = 1000

    def keep(self, opcodes: bytes) -> tuple[bytes, bytes]:
        """What makes a thing, stores it and takes it off the stack; and what puts it there again."""
        self.next += 1
        index = struct.pack("<I", self.next)
        return opcodes + b"r" + index + b"0", b"j" + index


def many(rng: Random, cost: int = 1, most: int = OPCODES) -> int:
    """A number of repetitions, each of `cost` instructions."""
    return int(10 ** rng.uniform(2, 5.5)) % most // cost + 1


def legacy(objects: bytes, keys: bytes) -> bytes:
    head = [MAGIC, PROTOCOL, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in head) + objects + keys


def laughs(rng: Random) -> bytes:
    """A list of two lists of two lists ..., which has few objects and an endless text."""
    depth = rng.randrange(20, 90)
    return b"]" + b"".join(b"q%c](h%ch%ce" % (n, n, n) for n in range(depth))


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\n" + literal("0") + literal("cpu") + literal(2) + b"tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
EIGHT = {"0": struct.pack("<2f", 1, 2)}


# Pickles


def text_of_nests(rng: Random) -> bytes:
    return zipped(b"\x80\x02(" + laughs(rng) + text("x") + b"tQ.")


def keys_of_nests(rng: Random) -> bytes:
    return legacy(pickle.dumps({}, 2), b"\x80\x02](" + laughs(rng) + b"e.")


def shapes_from_the_memo(rng: Random) -> bytes:
    memo = Memo()
    rank = rng.choice((3, 16, 17, 1000, 100_000))
    storage, stored = memo.keep(STORAGE)
    shape, shaped = memo.keep(b"(" + b"K\x01" * rank + b"t")
    call, called = memo.keep(b"(" + stored + b"K\x00" + shaped + shaped + b"\x89}t")
    rebuild, rebuilt = memo.keep(REBUILD)
    named = b"".join(literal(f"w{n}") + rebuilt + called + b"R" for n in range(many(rng, 5)))
    return zipped(b"\x80\x02" + storage + shape + call + rebuild + b"}(" + named + b"u.", EIGHT)


def dictionaries_from_the_memo(rng: Random) -> bytes:
    memo = Memo()
    made, again = memo.keep(b"ccollections\n" + rng.choice((b"OrderedDict\n", b"defaultdict\n")))
    pairs, paired = memo.keep(b"](" + b"".join(literal((f"k{n}", n)) for n in range(many(rng, 6, 100_000))) + b"e\x85")
    return zipped(b"\x80\x02" + made + pairs + b"](" + (again + paired + b"R") * many(rng, 3) + b"e.")


def keys_of_one_hash(rng: Random) -> bytes:
    start = rng.randrange(1, 10**6)
    return zipped(b"\x80\x02}(" + b"".join(literal((start + n) * PRIME) + b"N" for n in range(many(rng, 2))) + b"u.")


def memo_of_one_hash(rng: Random) -> bytes:
    start = rng.randrange(1, 10**6)
    return zipped(b"}" + b"".join(b"p%d\n" % ((start + n) * PRIME) for n in range(many(rng))) + b".")


def results_of_results(rng: Random) -> bytes:
    return zipped(b"cevil\nf\n" + rng.choice((b")R", b")\x81", b"}R", b")}\x92"[:2] + b"R")) * many(rng, 2) + b".")


def encoded_from_the_memo(rng: Random) -> bytes:
    memo = Memo()
    large, got = memo.keep(text("a" * rng.randrange(1000, 4_000_000)))
    encode, encoding = memo.keep(b"c_codecs\nencode\n")
    call, called = memo.keep(b"(" + got + literal(rng.choice(("latin1", "utf-8"))) + b"t")
    return b"\x80\x02" + large + encode + call + b"](" + (encoding + called + b"R") * many(rng, 3) + b"e."


def arrays_of_one_buffer(rng: Random) -> bytes:
    memo = Memo()
    size = rng.randrange(1000, 4_000_000)
    if rng.randrange(2):
        buffer, buffered = memo.keep(b"\x96" + struct.pack("<Q", size) + b"a" * size)
    else:
        buffer, buffered = memo.keep(b"c_codecs\nencode\n(" + text("a" * size) + literal("latin1") + b"tR")
    dtype, typed = memo.keep(b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR")
    made, again = memo.keep(b"cnumpy.core.multiarray\n_reconstruct\n")
    state, stated = memo.keep(b"(K\x01(J" + struct.pack("<i", size) + b"t" + typed + b"\x89" + buffered + b"t")
    array = again + b"(cnumpy\nndarray\nK\x00\x85U\x01btR" + stated + b"b"
    named = b"".join(literal(f"w{n}") + array for n in range(many(rng, 11)))
    return b"\x80\x05" + buffer + dtype + made + state + b"}(" + named + b"u."


def module(inner: bytes, name: bytes = b"X\x01\0\0\0a") -> bytes:
    return b"cm\nM\n)\x81}X\x08\0\0\0_modules}" + name + inner + b"ssb"


def chain_of_modules(rng: Random) -> bytes:
    inner = b"N"
    for _ in range(rng.choice((50, 199, 200, 5000))):
        inner = module(inner)
    return zipped(b"\x80\x02" + inner + b".")


def lattice_of_modules(rng: Random) -> bytes:
    memo = Memo()
    made, inner = memo.keep(b"N")
    for _ in range(rng.randrange(10, 100)):
        more, inner = memo.keep(b"cm\nM\n)\x81}X\x08\0\0\0_modules}(" + text("a") + inner + text("b") + inner + b"usb")
        made += more
    return zipped(b"\x80\x02" + made + inner + b".")


def modules_of_long_names(rng: Random) -> bytes:
    memo = Memo()
    name, named = memo.keep(text("n" * rng.randrange(1000, 1_000_000)))
    inner = b"cm\nM\n)\x81}X\x0b\0\0\0_parameters}" + named + b"Nssb"
    for _ in range(rng.randrange(10, 190)):
        inner = module(inner, named)
    return zipped(b"\x80\x02" + name + inner + b".")


def many_things_deep_down(rng: Random) -> bytes:
    depth, thing = rng.randrange(1, 250), rng.choice((b"]", b"}", b"N", b")", b"cm\nM\n)\x81"))
    leaves = b"".join(literal(f"{n}") + thing for n in range(many(rng, 5)))
    return zipped(b"\x80\x02" + b"}X\x01\0\0\0a" * depth + b"}(" + leaves + b"u" + b"s" * depth + b".")


def many_small_things(rng: Random) -> bytes:
    memo = Memo()
    kind, got = memo.keep(b"cm\nM\n")
    thing = rng.choice((b"]", b"}", b"(", b"\x8f", b"N", b"G" + bytes(8), got + b")\x81", got + b")R", b")\x85", b"(t", b"(l"))
    return zipped(b"\x80\x04" + kind + b"](" + thing * (many(rng, len(thing) // 5 + 1, 950_000)) + b"e.")


def many_names(rng: Random) -> bytes:
    return zipped(b"\x80\x02](" + b"".join(b"c%s\nM%d\n" % (rng.choice((b"m", b"os")), n) for n in range(many(rng))) + b"e.")


def long_names(rng: Random) -> bytes:
    memo = Memo()
    name, named = memo.keep(text("m" * rng.randrange(500, 1_000_000)))
    return zipped(b"\x80\x04" + name + b"](" + (named + named + b"\x93") * many(rng, 3) + b"e.")


def wide_text(rng: Random) -> bytes:
    return zipped(b"\x80\x02" + text("a" * rng.randrange(10**5, 2 * 10**7) + "\U0001f600") + b".")


def long_integers(rng: Random) -> bytes:
    memo = Memo()
    size = rng.randrange(10, 4_000_000)
    number, got = memo.keep(b"\x8b" + struct.pack("<I", size) + b"\x01" * (size - 1) + rng.choice((b"\x01", b"\xff")))
    opened, closed = rng.choice(((b"](", b"e."), (b"}(", b"u."), (b"(", b"t.")))
    use = got + b"N" if closed == b"u." else got
    return zipped(b"\x80\x02" + number + opened + use * many(rng, 2) + closed)


def storages_in_storages(rng: Random) -> bytes:
    memo = Memo()
    inner = legacy(b"\x80\x02(" + b"N" * many(rng, 1, 50_000) + b"t.", pickle.dumps([], 2))
    data, got = memo.keep(b"B" + struct.pack("<I", len(inner)) + inner)
    load, loading = memo.keep(b"ctorch.storage\n_load_from_bytes\n")
    return b"\x80\x03" + load + data + b"](" + (loading + got + b"\x85R") * many(rng, 4) + b"e."


def views_of_nothing(rng: Random) -> bytes:
    memo = Memo()
    storage, stored = memo.keep(STORAGE)
    length = struct.pack("<i", rng.choice((2, 1000, 250_000)))
    call, called = memo.keep(b"(" + stored + b"K\x00J" + length + b"\x85K\x00\x85\x89}t")
    rebuild, rebuilt = memo.keep(REBUILD)
    named = b"".join(literal(f"w{n}") + rebuilt + called + b"R" for n in range(many(rng, 5)))
    return zipped(b"\x80\x02" + storage + call + rebuild + b"}(" + named + b"u.", EIGHT)


def persistent_ids(rng: Random) -> bytes:
    memo = Memo()
    kind, got = memo.keep(b"ctorch\nFloatStorage\n")
    ids = b"".join(
        b"(" + text("storage") + got + text(f"{n}") + text("cpu") + literal(2**62) + b"tQ" for n in range(many(rng, 8))
    )
    return zipped(b"\x80\x02" + kind + b"](" + ids + b"e.")


# Archives


def many_entries(rng: Random) -> bytes:
    stream = io.BytesIO()
    length = rng.choice((5, 50, 5000))
    with zipfile.ZipFile(stream, "w") as file:
        for n in range(many(rng, length // 50 + 1, 60_000)):
            file.writestr(f"archive/data/{n}".ljust(length, "x"), b"")
        file.writestr("archive/data.pkl", b"}.")
    return stream.getvalue()


def wrong_sums(rng: Random) -> bytes:
    data = bytearray(zipped(pickle.dumps({"w": "x" * 1000}, 2)))
    data[rng.randrange(60, 900)] ^= 1 << rng.randrange(8)
    return bytes(data)


# Headers and folders


def header(rng: Random) -> bytes:
    number, most = many(rng, 1, 200_000), 15_000_000
    piece = rng.choice((b"[]", b"{}", b"0", b'""', b"1e5", b"null", b'"\\u0041"', b"-1", b"[[]]", b'{"":0}', b"9" * 4000))
    spelled = rng.choice(('"data_offsets"', '"data\\u005foffsets"'))
    match rng.randrange(9):
        case 0:
            parts = b",".join([piece] * (most * number // 200_000 // (len(piece) + 1)))
            return safetensors(b'{"a":[' + parts + b"]}")
        case 1:
            tensors = ",".join(f'"w{n}":{{"dtype":"F32","shape":[0],{spelled}:[0,0]}}' for n in range(number))
            return safetensors(b"{" + tensors.encode() + b"}")
        case 2:
            return safetensors(b'{"__metadata__":{' + b",".join(b'"%d":""' % n for n in range(number)) + b"}}")
        case 3:
            junk = rng.choice(("<b>\x1b,[{", '\\"', "\u2028", "\\", ",", "\U0001f600"))
            return safetensors(json.dumps({"__metadata__": {"x": junk * number}, "w": entry(0, 4)}).encode(), b"1234")
        case 4:
            digits = b"9" * rng.choice((30, 4000, 5000, 100_000))
            field = rng.choice((b'"shape":[%s],"data_offsets":[0,4]', b'"shape":[1],"data_offsets":[%s,4]')) % digits
            return safetensors(b'{"a":{"dtype":"F32",' + field + b"}}", b"1234")
        case 5:
            depth = rng.choice((60, 70, 500, 900, 2000, 10**6))
            opened, closed = rng.choice(((b"[", b"]"), (b'{"a":', b"}")))
            return safetensors(b'{"a":' + opened * depth + b"0" + closed * depth + b"}")
        case 6:
            prefix = rng.choice(("module.", "_orig_mod.", ".", "module._orig_mod.")) * rng.randrange(1, 2000)
            return safetensors({f"{prefix}w{n}": entry(0, 0) for n in range(number % 500)})
        case 7:
            names = {f"{'x' * (n % 300)}{n}": entry(0, 0, [0] * rng.randrange(20)) for n in range(number % 30_000)}
            return safetensors(names)
        case _:
            mean = "[" + "1e9," * (number % 20_000) + "0]"
            ours = {"sharpaudit.classes": "[" * (number % 70), "sharpaudit.preprocessing": f'{{"mean":{mean}}}'}
            return safetensors({"__metadata__": dict(list(ours.items())[rng.randrange(2) :]), "w": entry(0, 0)})


NESTED = ("[" * 500 + "]" * 500, "{" * 10**5, '{"a":' * 70 + "0" + "}" * 70)


def hub(folder: Path, rng: Random) -> Path:
    """A folder whose JSON files are large, deep or ask for large networks."""
    number = many(rng, 1, 200_000)
    size = rng.choice((10**3, 10**5, 10**9, 10**15, 2**63, 10**400, -1))
    arguments = ("depth", "num_classes", "in_chans", "embed_dim", "img_size", "num_heads", "layers", "width", "drop_path_rate")
    name = rng.choice(
        ("resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "mixer_s32_224", "convnext_atto", "x" * number)
    )
    config: dict[str, object] = {
        "architecture": name,
        "model_args": {rng.choice(arguments): size for _ in range(rng.randrange(3))},
        "num_classes": rng.choice((10, size)),
        "label_names": [f"c{n}" for n in range(rng.choice((10, number)))],
        "id2label": {str(n): "x" for n in range(rng.choice((0, number)))},
        "pretrained_cfg": {
            "mean": [0.5] * rng.choice((1, number)),
            "std": [rng.choice((0.5, 1e-320, 1e308, size))],
            "input_size": [1, 8, 8],
        },
    }
    documents = {"config.json": json.dumps({key: value for key, value in config.items() if rng.randrange(3)})}
    documents["preprocessor_config.json"] = json.dumps({"image_mean": [0] * number, "image_std": [size], "size": size})
    if rng.randrange(2):
        shards = {f"w{n}": f"model-{n % (number % 300 + 1)}.safetensors" for n in range(number)}
        documents["model.safetensors.index.json"] = json.dumps({"weight_map": shards, "metadata": {"total_size": size}})
    if rng.randrange(3) == 0:
        documents[rng.choice(list(documents))] = rng.choice(NESTED)
    for file, content in documents.items():
        (folder / file).write_text(content)
    (folder / "model.safetensors").write_bytes(
        safetensors({"fc.weight": entry(0, 40, [10, 1]), "fc.bias": entry(40, 80)}, bytes(80))
    )
    return folder


def _file(make: Callable[[Random], bytes], name: str) -> Callable[[Path, Random], Path]:
    def write(folder: Path, rng: Random) -> Path:
        (folder / name).write_bytes(make(rng))
        return folder / name

    return write


PICKLES = (
    *(text_of_nests, keys_of_nests, shapes_from_the_memo, dictionaries_from_the_memo, keys_of_one_hash, memo_of_one_hash),
    *(results_of_results, encoded_from_the_memo, arrays_of_one_buffer, chain_of_modules, lattice_of_modules),
    *(modules_of_long_names, many_things_deep_down, many_small_things, many_names, long_names, wide_text, long_integers),
    *(storages_in_storages, views_of_nothing, persistent_ids, many_entries, wrong_sums),
    *heavy_forms.PICKLES,
)
HEADERS = (header, *heavy_headers.HEADERS)
FOLDERS = {"hub": hub, "networks": heavy_networks.write, **{make.__name__: make for make in heavy_headers.FOLDERS}}
IN_PICKLES = [make.__name__ for make in PICKLES]
IN_HEADERS = [*(make.__name__ for make in HEADERS), *FOLDERS]
KINDS: dict[str, Callable[[Path, Random], Path]] = {
    **{make.__name__: _file(make, "weights.pt") for make in PICKLES},
    **{make.__name__: _file(make, "weights.safetensors") for make in HEADERS},
    **FOLDERS,
}


def case(kind: str, seed: int, folder: Path) -> Path:
    """Write the case into the empty `folder` and return what to read."""
    return KINDS[kind](folder, Random(f"{kind} {seed}"))


if __name__ == "__main__":
    print(case(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
