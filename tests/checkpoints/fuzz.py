"""Files that were valid until something in their structure was changed. Seeded: a finding is made again from its kind and seed.

``python -m tests.checkpoints.fuzz KIND SEED FOLDER`` writes one case to look at.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import struct
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from sharpaudit.checkpoints import zoo
from tests.checkpoints.hostile import MAGIC, PROTOCOL, archive, literal, saved
from tests.cli.conftest import DEMO

Random = random.Random
INTEGERS = (
    0,
    1,
    -1,
    2,
    7,
    10,
    255,
    256,
    65_535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    10**30,
)
TEXTS = (
    "",
    "a",
    "weight",
    "cpu",
    "0",
    "storage",
    "module",
    "../x",
    "/",
    "\0",
    "\x1b[2J",
    "é" * 9,
    "x" * 5_000,
    "features.0.weight",
    "nan",
    "\ud800",
    "__metadata__",
)
VALUES: tuple[object, ...] = (
    None,
    True,
    False,
    1.5,
    float("inf"),
    float("nan"),
    b"",
    b"\xff" * 40,
    (),
    [],
    {},
    *INTEGERS,
    *TEXTS,
)
NAMES = (
    *("os system", "builtins getattr", "builtins list", "builtins set", "collections OrderedDict", "collections defaultdict"),
    *(
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch FloatStorage",
    ),
    *("torch.storage _load_from_bytes", "torch._tensor _rebuild_from_type_v2", "torch Tensor", "torch.nn.parameter Parameter"),
    *(
        "torch._utils _rebuild_sparse_tensor",
        "torch._utils _rebuild_device_tensor_from_cpu_tensor",
        "torch Size",
        "torch float32",
    ),
    *("numpy._core.multiarray _reconstruct", "numpy._core.multiarray scalar", "numpy dtype", "numpy ndarray", "_codecs encode"),
    *("argparse Namespace", "pathlib PosixPath", "copyreg _reconstructor", "functools partial", "evil.package thing"),
)
OPCODES = [opcode for opcode in pickletools.opcodes if opcode.arg is None]
JSON_VALUES: tuple[object, ...] = (
    None,
    True,
    1.5,
    "",
    "F32",
    "model.safetensors",
    [],
    {},
    [1],
    {"a": 1},
    [[]],
    *INTEGERS,
    *TEXTS,
    "BF16",
    "F8_E4M3",
)


# Pickles


def spoiled_pickle(data: bytes, rng: Random) -> bytes:
    """A pickle with one to three of its instructions deleted, doubled, swapped, changed or put in."""
    starts = [position for _, _, position in pickletools.genops(data)] + [len(data)]
    steps = [data[start:stop] for start, stop in pairwise(starts)]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(steps))
        match rng.randrange(10):
            case 0:
                del steps[at]
            case 1:
                steps.insert(at, steps[at])
            case 2:
                other = rng.randrange(len(steps))
                steps[at], steps[other] = steps[other], steps[at]
            case 3:
                steps[at] = _instruction(rng)
            case 4:
                steps.insert(at, _instruction(rng))
            case 5:
                steps = steps[: at + 1]
            case 6:
                steps[at] = _flipped(steps[at], rng)
            case 7:
                names = [n for n, step in enumerate(steps) if step[:1] == b"c"]
                steps[rng.choice(names or [at])] = b"c" + "\n".join([*rng.choice(NAMES).split(), ""]).encode()
            case 8:
                texts = [n for n, step in enumerate(steps) if step[:1] in (b"X", b"\x8c", b"U")]
                steps[rng.choice(texts or [at])] = literal(rng.choice(TEXTS))
            case 9:
                numbers = [n for n, step in enumerate(steps) if step[:1] in (b"K", b"M", b"J")]
                steps[rng.choice(numbers or [at])] = literal(rng.choice(INTEGERS))
        steps = steps or [b"."]
    return b"".join(steps)


def _instruction(rng: Random) -> bytes:
    """Any instruction: one without an argument, a value, a name, or a use of the memo."""
    match rng.randrange(5):
        case 0:
            return rng.choice(OPCODES).code.encode("latin-1")
        case 1:
            return literal(rng.choice(VALUES))
        case 2:
            return b"c" + "\n".join([*rng.choice(NAMES).split(), ""]).encode()
        case 3:
            return rng.choice((b"h", b"q")) + bytes([rng.randrange(256)])
    return rng.choice((b"j", b"r", b"\x84", b"\x8d", b"\x8e", b"\x95", b"\x96", b"B", b"X", b"T")) + rng.randbytes(8)


def _flipped(data: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(data)) if data else 0
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


# Containers


def spoiled_zip(data: bytes, rng: Random) -> bytes:
    """An archive with a field of one of its records changed, or cut."""
    if rng.randrange(8) == 0:
        return data[: rng.randrange(len(data))]
    layouts = {b"PK\x01\x02": "<4s6H3L5H2L", b"PK\x03\x04": "<4s5H3L2H", b"PK\x05\x06": "<4s4H2LH", b"PK\x06\x06": "<4sQ2H2L4Q"}
    records = [(at, layout) for mark, layout in layouts.items() for at in _positions(data, mark)]
    for _ in range(rng.randint(1, 2)):
        at, layout = rng.choice(records)
        fields = list(struct.unpack_from(layout, data, at))
        sizes = [{"H": 2, "L": 4, "Q": 8}[code] for code in _expanded(layout)]
        which = rng.randrange(1, len(fields))
        near = fields[which] + rng.choice((-1, 1, 2, 64))
        fields[which] = rng.choice((*INTEGERS, near, near)) % 2 ** (8 * sizes[which - 1])
        data = data[:at] + struct.pack(layout, *fields) + data[at + struct.calcsize(layout) :]
    return data


def _positions(data: bytes, mark: bytes) -> list[int]:
    found, at = [], data.find(mark)
    while at >= 0:
        if at + 56 <= len(data) or mark == b"PK\x05\x06":
            found.append(at)
        at = data.find(mark, at + 1)
    return found


def _expanded(layout: str) -> str:
    """``<4s4H2LH`` as ``HHHHLLH``."""
    found, count = "", ""
    for character in layout.removeprefix("<4s"):
        if character.isdigit():
            count += character
        else:
            found, count = found + character * int(count or 1), ""
    return found


def spoiled_json(document: Any, rng: Random) -> bytes:
    """A document with one to three of its nodes replaced, removed, renamed or doubled; sometimes with its text spoiled."""
    document = json.loads(json.dumps(document))
    for _ in range(rng.randint(1, 3)):
        node, depth = document, rng.randint(0, 3)
        while depth and (
            children := [c for c in (node.values() if isinstance(node, dict) else node) if isinstance(c, dict | list) and c]
        ):
            node, depth = rng.choice(children), depth - 1
        if not node:
            continue
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = rng.choice(keys)
        match rng.randrange(4):
            case 0:
                del node[key]
            case 1:
                node[key] = rng.choice(JSON_VALUES)
            case 2 if isinstance(node, dict):
                node[rng.choice((*TEXTS, *map(str, keys)))] = node.pop(key)
            case _:
                node[key] = node[rng.choice(keys)]
    text = json.dumps(document).encode()
    if rng.randrange(8) == 0:
        text = _flipped(text, rng)
    return text[: rng.randrange(len(text))] if rng.randrange(20) == 0 else text


# Kinds of files: each writes one case into a folder and returns what to load


@cache
def _state() -> dict[str, torch.Tensor]:
    return dict(load_file(DEMO / "baseline-seed0.safetensors"))


@cache
def _objects() -> tuple[object, ...]:
    """What people save: weights, a training state, a whole module, views of one storage."""
    state = _state()
    network = zoo.build("digits_cnn")
    network.load_state_dict(state)
    flat = torch.cat([value.flatten() for value in state.values()])
    views = dict(zip(state, torch.split(flat, [value.numel() for value in state.values()]), strict=True))
    training = {
        "epoch": 3,
        "state_dict": {f"module.{name}": value for name, value in state.items()},
        "args": Path("x"),
        "best": np.float64(1),
    }
    return (
        state,
        training,
        network,
        {name: views[name].view(state[name].shape) for name in state},
        {"model": nn.ParameterDict({name.replace(".", "_"): nn.Parameter(value) for name, value in state.items()}).state_dict()},
    )


@cache
def _parts(which: int) -> dict[str, bytes]:
    """The entries of a torch archive."""
    with zipfile.ZipFile(io.BytesIO(saved(_objects()[which]))) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


@cache
def _archived(which: int) -> bytes:
    return archive(_parts(which))


def torch_zip(folder: Path, rng: Random) -> Path:
    which = rng.randrange(len(_objects()))
    if rng.randrange(2):
        data = spoiled_zip(_archived(which), rng)
    else:
        parts = dict(_parts(which))
        parts["data.pkl"] = spoiled_pickle(parts["data.pkl"], rng)
        if rng.randrange(10) == 0:
            name = rng.choice(list(parts))
            parts[name] = parts[name][: rng.randrange(len(parts[name]) + 1)]
        data = archive(parts)
    return _written(folder / "weights.pt", data)


@cache
def _pieces(which: int) -> tuple[list[bytes], bytes]:
    """The five pickles of a legacy file, and the storages after them."""
    data = saved(_objects()[which], _use_new_zipfile_serialization=False)
    pickles, stream = [], io.BytesIO(data)
    for _ in range(5):
        start = stream.tell()
        for _ in pickletools.genops(stream):
            pass
        pickles.append(data[start : stream.tell()])
    assert pickle.loads(pickles[0]) == MAGIC and pickle.loads(pickles[1]) == PROTOCOL
    return pickles, data[stream.tell() :]


def torch_legacy(folder: Path, rng: Random) -> Path:
    pickles, storages = _pieces(rng.randrange(len(_objects())))
    pickles = list(pickles)
    match rng.randrange(6):
        case 0:
            storages = storages[: rng.randrange(len(storages))]
        case 1:
            storages = struct.pack("<Q", rng.choice(INTEGERS) % 2**64) + storages[8:]
        case 2:
            at = rng.randrange(2, 5)
            pickles[at] = spoiled_pickle(pickles[at], rng)
        case _:
            pickles[3] = spoiled_pickle(pickles[3], rng)
    return _written(folder / "weights.pth", b"".join(pickles) + storages)


@cache
def _plain(which: int) -> bytes:
    arrays = {name: value.numpy() for name, value in _state().items()}
    return pickle.dumps((arrays, {"model": arrays, "step": np.int64(3)}, _state())[which], protocol=(2, 5, 4)[which])


def plain_pickle(folder: Path, rng: Random) -> Path:
    return _written(folder / "weights.pkl", spoiled_pickle(_plain(rng.randrange(3)), rng))


@cache
def _safetensors() -> tuple[dict[str, Any], bytes]:
    data = save(
        _state(), metadata={"format": "pt", "sharpaudit.classes": json.dumps(list("abcdefghij")), "sharpaudit.num_classes": "10"}
    )
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def safetensors(folder: Path, rng: Random) -> Path:
    return _written(folder / "weights.safetensors", _spoiled_safetensors(rng))


def _spoiled_safetensors(rng: Random) -> bytes:
    header, body = _safetensors()
    text = spoiled_json(header, rng)
    length = len(text) if rng.randrange(10) else rng.choice(INTEGERS) % 2**64
    if rng.randrange(10) == 0:
        body = body[: rng.randrange(len(body))]
    return struct.pack("<Q", length) + text + body


CONFIG = {
    "architecture": "resnet18",
    "num_classes": 10,
    "pretrained_cfg": {"mean": [0.5], "std": [0.5], "input_size": [1, 8, 8], "interpolation": "bilinear", "crop_pct": 0.9},
    "label_names": list("abcdefghij"),
    "id2label": {str(n): str(n) for n in range(10)},
    "model_args": {"num_classes": 10, "in_chans": 1},
    "architectures": ["ResNetForImageClassification"],
    "auto_map": {"AutoModel": "evil.Model"},
}
PREPROCESSOR = {
    "image_mean": [0.5], "image_std": [0.5], "size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8},
    "resample": 3, "do_normalize": True, "do_center_crop": True,
}  # fmt: skip


def hub_folder(folder: Path, rng: Random) -> Path:
    """A folder with one file or two shards; one of its files is spoiled, renamed or lost."""
    folder = folder / "hub"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    state = _state()
    names = ["model-1.safetensors", "model-2.safetensors"]
    weight_map = {name: names[n % 2] for n, name in enumerate(state)}
    index = {"metadata": {"total_size": sum(value.nbytes for value in state.values())}, "weight_map": weight_map}
    config = {key: value for key, value in CONFIG.items() if key != "architecture" and rng.randrange(3)}
    documents: dict[str, Any] = {"config.json": config or CONFIG, "preprocessor_config.json": PREPROCESSOR}
    if rng.randrange(2):
        documents["model.safetensors.index.json"] = index
        for shard in names:
            _written(folder / shard, save({name: state[name] for name in state if weight_map[name] == shard}))
    else:
        _written(folder / "model.safetensors", save(state))
    for name, document in documents.items():
        _written(folder / name, json.dumps(document).encode())
    victim = rng.choice(sorted(folder.iterdir()))
    match rng.randrange(8):
        case 0:
            victim.unlink()
        case 1:
            victim.rename(folder / rng.choice(("pytorch_model.bin", "weights.pt", "model.safetensors", "config.json", "x")))
        case 2 if victim.suffix == ".safetensors":
            _written(victim, _spoiled_safetensors(rng))
        case _:
            name = rng.choice(list(documents))
            _written(folder / name, spoiled_json(documents[name], rng))
    return folder


@cache
def _npz() -> dict[str, bytes]:
    members = {}
    for name, array in (("images", np.zeros((20, 8, 8), np.uint8)), ("labels", np.arange(20) % 10)):
        stream = io.BytesIO()
        np.save(stream, array)
        members[f"{name}.npy"] = stream.getvalue()
    return members


def npz(folder: Path, rng: Random) -> Path:
    """An archive of arrays; given as a checkpoint and as data."""
    members = dict(_npz())
    if rng.randrange(2):
        name = rng.choice(list(members))
        head, body = members[name][:128], members[name][128:]
        at = rng.randrange(10, 80)
        change = rng.choice(("'", "(", ")", ",", "-", "9999999999", "'|O8'", "True", "None", "{", "<f4", ">i8"))
        members[name] = (head[:at] + change.encode() + head[at + len(change) :])[:128] + body[: rng.choice((len(body), 3))]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as file:
        for name, data in members.items():
            file.writestr(name, data)
    data = stream.getvalue()
    return _written(folder / "arrays.npz", spoiled_zip(data, rng) if rng.randrange(2) else data)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


KINDS: dict[str, Callable[[Path, Random], Path]] = {
    "zip": torch_zip,
    "legacy": torch_legacy,
    "pickle": plain_pickle,
    "safetensors": safetensors,
    "folder": hub_folder,
    "npz": npz,
}


def case(kind: str, seed: int, folder: Path) -> Path:
    """Write the case and return what to load."""
    return KINDS[kind](folder, Random(f"{kind} {seed}"))


if __name__ == "__main__":
    print(case(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
