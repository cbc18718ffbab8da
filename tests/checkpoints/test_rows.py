"""The catalogue of bad checkpoints, row by row, as a user meets it: a command, an exit code and the words that help."""

from __future__ import annotations

import argparse
import collections
import json
import os
import pathlib
import pickle
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sharpaudit.checkpoints import load, source, zoo
from sharpaudit.errors import CheckpointError, EnvironmentFailure
from sharpaudit.request import LIMITS, Limits
from tests.checkpoints import hostile
from tests.checkpoints.hostile import entry, saved
from tests.cli.conftest import DEMO, Command, run

__all__ = ["run"]
GOOD = DEMO / "baseline-seed0.safetensors"
QUICK = ("--data", "digits", "--limit", "20", "--probes", "accuracy")
NET = ("--arch", "net.py:make", "--allow-code", "--mean", "0.5", "--std", "0.5", "--input-size", "1,8,8")
State = dict[str, torch.Tensor]
Make = Callable[[Path], object]


@dataclass(frozen=True)
class Row:
    """A file, how it is given, and how it must end."""

    make: Make
    """Puts the files into the folder."""
    code: int
    says: tuple[str, ...]
    """Words of the error; where it is measured, of what the card says about the checkpoint."""
    arguments: tuple[str, ...] = ("bad.pt",)


def good() -> State:
    """The weights of a real, trained network: ``zoo:digits_cnn``."""
    return dict(load_file(GOOD))


def file(data: bytes | Callable[[], bytes], name: str = "bad.pt") -> Make:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data())


def torch_file(wrap: Callable[[State], object] = lambda state: state, **options: Any) -> Make:
    """The good weights, wrapped."""
    return lambda folder: torch.save(wrap(good()), folder / "bad.pt", **options)


def each(change: Callable[[torch.Tensor], torch.Tensor]) -> Make:
    return torch_file(lambda state: {name: change(value) for name, value in state.items()})


def with_tensor(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Make:
    return torch_file(lambda state: {**state, name: change(state[name])})


def header(document: dict[str, Any] | bytes, body: bytes = b"", length: int | None = None) -> Make:
    return file(lambda: hostile.safetensors(document, body, length), "bad.safetensors")


def nothing(folder: Path) -> None:
    """The row needs no file of its own."""


def folder_of(config: object, state: Callable[[State], State] = dict) -> Make:
    """A hub folder with the good weights and a ``config.json``, which may be text."""

    def make(folder: Path) -> None:
        (folder / "hub").mkdir()
        save_file(state(good()), folder / "hub" / "model.safetensors")
        (folder / "hub" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))

    return make


def sharded(change: Callable[[dict[str, Any], Path], object]) -> Make:
    """Two shards and their index; `change` spoils the index or the files."""

    def make(folder: Path) -> None:
        folder = folder / "hub"
        folder.mkdir()
        state = good()
        names = [f"model-{n}.safetensors" for n in (1, 2)]
        weight_map = {name: names[position % 2] for position, name in enumerate(state)}
        for shard in names:
            save_file({name: state[name] for name in state if weight_map[name] == shard}, folder / shard)
        total = sum(value.nbytes for value in state.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        change(index, folder)
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return make


def second_copy(index: dict[str, Any], folder: Path) -> None:
    one, two = (folder / f"model-{n}.safetensors" for n in (1, 2))
    save_file({**load_file(two), **dict(list(load_file(one).items())[:1])}, two)


def shard_name(name: str) -> Make:
    return sharded(lambda index, _: index["weight_map"].update(dict.fromkeys(list(index["weight_map"])[:1], name)))


def link_out(index: dict[str, Any], folder: Path) -> None:
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (folder / "model-1.safetensors").rename(outside / "secret")
    (folder / "model-1.safetensors").symlink_to(outside / "secret")


def code(make: Callable[[Path], bytes]) -> Make:
    """A file of the hostile corpus; its canary is ``canary``."""
    return lambda folder: (folder / "bad.pt").write_bytes(make(folder / "canary"))


def of_corpus(name: str) -> Make:
    case = hostile.CORPUS[name]
    return lambda folder: (folder / "bad.pt").write_bytes(case.data(folder / "canary"))


def module(folder: Path) -> None:
    network = zoo.build("digits_cnn")
    network.load_state_dict(good())
    torch.save(network, folder / "bad.pt")


def linked(folder: Path) -> None:
    torch_file()(folder)
    (folder / "link").symlink_to("bad.pt")


def objects(state: State) -> object:
    return {
        "state_dict": state,
        "args": argparse.Namespace(lr=0.1),
        "path": pathlib.PurePosixPath("/data"),
        "best": np.float64(0.5),
        "history": collections.defaultdict(list, {"a": [1]}),
    }


def network_file(body: str, weights: Make | None = None) -> Make:
    """``net.py`` with its ``make``, beside weights, by default the good ones."""

    def make(folder: Path) -> None:
        lines = ["import torch", "from torch import nn", "from sharpaudit.checkpoints import zoo", PARENT, *body.splitlines()]
        (folder / "net.py").write_text("\n".join(lines) + "\n")
        (weights or torch_file())(folder)

    return make


PARENT = "Parent = type(zoo.build('digits_cnn'))"
SUBCLASS = """
def make():
    made = zoo.build('digits_cnn')
    made.__class__ = type('Net', (Parent,), {'forward': forward})
    return made
"""


def returning(expression: str) -> Make:
    """The digits network with another output, written in terms of the logits ``out``."""
    return network_file(f"def forward(self, x):\n    out = Parent.forward(self, x)\n    return {expression}\n{SUBCLASS}")


def batchnorm(change: Callable[[State], object]) -> Make:
    """A network with BatchNorm whose statistics are `change`d."""

    def weights(folder: Path) -> None:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
        network(torch.randn(9, 1, 8, 8))
        state = network.state_dict()
        change(state)
        torch.save(state, folder / "bad.pt")

    build = "nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))"
    return network_file(f"def make():\n    return {build}", weights)


def sparse_file(size: int) -> Make:
    def make(folder: Path) -> None:
        with (folder / "bad.pt").open("wb") as stream:
            stream.write(b"PK\x03\x04")
            stream.truncate(size)

    return make


def transposed(value: torch.Tensor) -> torch.Tensor:
    if value.dim() == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return torch.cat([value.flatten()[:3], value.flatten()])[3:].view(value.shape)


def a_named_pipe(folder: Path) -> None:
    os.mkfifo(folder / "bad.pt")


def a_socket(folder: Path) -> None:
    here = Path.cwd()
    os.chdir(folder)  # the path of a socket may have 107 characters
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("bad.pt")
    finally:
        os.chdir(here)


def two_networks(state: State) -> State:
    student = {f"student.{name}": value for name, value in state.items()}
    return {**student, **{f"teacher.{name}": value for name, value in list(state.items())[:4]}}


def scikit_learn(folder: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    (folder / "bad.pt").write_bytes(pickle.dumps(fitted))


def files(*names: str) -> Make:
    """A folder of small files."""

    def make(folder: Path) -> None:
        for name in names:
            (folder / "hub" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "hub" / name).write_bytes(b"x")

    return make


HUB = ("hub",)
SAFETENSORS = ("bad.safetensors",)
INERT = ("bad.pt", "--allow-inert")
DIGITS_CNN = ("bad.pt", "--arch", "zoo:digits_cnn")
CONSOLIDATE = "consolidate first"
PROTOCOLS = {
    f"C22 {container}, protocol {n}": Row(of_corpus(f"code: {container}, protocol {n}"), 4, ("system",))
    for container in ("zip", "legacy")
    for n in range(6)
}
TRICKS = (
    "STACK_GLOBAL from the memo",
    "BUILD on numpy",
    "EXT1",
    "copyreg.add_extension",
    "persistent id holds a call",
    "pickle in pickle",
    "INST",
    "NEWOBJ_EX",
    "code in a nested storage",
)

ROWS: dict[str, Row] = {
    "C01": Row(file(b"x", "weights.pt"), 3, ("no such file", "weight.pt", "nearest: weights.pt"), ("weight.pt",)),
    "C01 unlike any": Row(
        files("b.pt", "d.pt", "a.pt", "c.pt"),
        3,
        ("no such file", "check the path: its folder holds a.pt, b.pt, c.pt and 1 more"),
        ("hub/nosuch.bin",),
    ),
    "C01 no folder": Row(file(b"x"), 3, ("no such file", "there is no folder 'nosuch'"), ("nosuch/bad.pt",)),
    "C01 too long": Row(file(b"x"), 3, ("cannot read the file: File name too long", "check the path"), ("x" * 300,)),
    "C02": Row(files("notes.txt"), 3, ("a folder, not a checkpoint", "notes.txt"), HUB),
    "C03": Row(file(b""), 3, ("0 bytes",)),
    "C05 pipe": Row(a_named_pipe, 4, ("not a regular file",)),
    "C05 device": Row(nothing, 4, ("not a regular file",), ("/dev/zero",)),
    "C05 socket": Row(a_socket, 4, ("not a regular file",)),
    "C06": Row(sharded(link_out), 4, ("model-1.safetensors", "link to outside"), HUB),
    "C07": Row(linked, 0, ("followed the link to bad.pt",), ("link",)),
    "C08": Row(
        file(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 44700000\n"), 3, ("Git LFS pointer", "44,700,000")
    ),
    "C09": Row(file(b"\n<!DOCTYPE html><html>"), 3, ("looks like HTML (a failed download?)",)),
    "C10": Row(file(lambda: saved(hostile.weights())[:900]), 3, ("truncated: central directory missing; file has 900 bytes",)),
    "C11": Row(file(lambda: GOOD.read_bytes()[:-100], "bad.safetensors"), 3, ("24,360 bytes", "24,260 are there"), SAFETENSORS),
    "C12": Row(
        file(lambda: GOOD.read_bytes() + b"abc", "bad.safetensors"), 3, ("3 trailing bytes", "not fully covered"), SAFETENSORS
    ),
    "C13 2^63": Row(header({}, length=2**63), 3, ("9,223,372,036,854,775,808", "file has 10"), SAFETENSORS),
    "C13 above the file": Row(header({}, length=99), 3, ("99 bytes expected", "file has 10"), SAFETENSORS),
    "C14": Row(header({f"w{n}": entry(0, 0) for n in range(300_000)}), 4, ("above the limit", "--max-"), SAFETENSORS),
    "C15": Row(header({"conv.w": entry(0, 4, [2**40, 2**40])}, b"1234"), 4, ("'conv.w'", "overflows"), SAFETENSORS),
    "C16 overlap": Row(header({"a": entry(0, 8), "b": entry(4, 12)}, bytes(12)), 4, ("'b' overlaps", "4 to 12"), SAFETENSORS),
    "C16 hole": Row(header({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), 4, ("'b' leaves a hole", "8 to 12"), SAFETENSORS),
    "C16 outside": Row(header({"a": entry(8, 4, [1])}, bytes(8)), 4, ("'a'", "8 to 4"), SAFETENSORS),
    "C17": Row(header(b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'), 4, ("'a' twice",), SAFETENSORS),
    "C18 FP8": Row(header({"a": entry(0, 4, [4], "F8_E4M3")}, bytes(4)), 3, ("F8_E4M3", "unsupported"), SAFETENSORS),
    "C18 FP4": Row(header({"a": entry(0, 4, [8], "F4")}, bytes(4)), 3, ("F4", "unsupported"), SAFETENSORS),
    "C19 ESC": Row(torch_file(lambda s: {"\x1b[31mw\n": torch.zeros(2)}), 3, ("\\x1b[31mw\\n", "0 of 6"), DIGITS_CNN),
    "C19 parent": Row(torch_file(lambda s: {"../../etc/passwd": torch.zeros(2)}), 3, ("../../etc/passwd",), DIGITS_CNN),
    "C19 10 kB": Row(torch_file(lambda s: {"w" * 10_240: torch.zeros(2)}), 3, ("wwww", "…"), DIGITS_CNN),
    "C20": Row(
        lambda folder: save_file(
            good(), folder / "bad.safetensors", metadata={"a": "<script>\x1b[2J" + "x" * 5_000_000, "\x1b]0;t\x07": "b"}
        ),
        0,
        ("zoo:digits_cnn",),
        SAFETENSORS,
    ),
    "C21": Row(code(lambda canary: saved({**good(), "x": hostile.touch(canary)})), 4, ("posix.system", "--allow-inert")),
    "C21 allowed": Row(
        code(lambda canary: saved({"state_dict": good(), "x": hostile.touch(canary)})), 0, ("x (posix.system)",), INERT
    ),
    **PROTOCOLS,
    **{f"C22 {name}": Row(of_corpus(f"code: {name}"), 4, ()) for name in TRICKS},
    "C23": Row(module, 0, ("full module of class", "FeaturesClassifier", "re-save", '"clean_load": false'), DIGITS_CNN),
    "C23 without arch": Row(
        lambda folder: torch.save(nn.Sequential(nn.Linear(3, 2)), folder / "bad.pt"), 3, ("no architecture was named", "--arch")
    ),
    "C24": Row(torch_file(objects), 0, ("args (argparse.Namespace)", "path (pathlib.PurePosixPath)", "best", "history")),
    "C25": Row(of_corpus("archive: deflate bomb"), 4, ("compressed entry", "50,000,000")),
    "C26 two": Row(of_corpus("archive: two data.pkl"), 4, ("archive/data.pkl",)),
    "C26 overlapping": Row(of_corpus("archive: overlapping entries"), 4, ("entry 'archive/",)),
    "C27": Row(of_corpus("tensor: stride 0, 4 TB"), 4, ("4,398,046,511,104 bytes over 8",)),
    "C28 sparse": Row(with_tensor("classifier.weight", torch.Tensor.to_sparse), 3, ("'classifier.weight' is sparse",)),
    "C28 complex": Row(
        with_tensor("classifier.bias", lambda v: v.to(torch.complex64)),
        3,
        ("'classifier.bias' has dtype complex64, expected real numbers",),
    ),
    "C28 quantised": Row(
        with_tensor("classifier.bias", lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8)), 3, ("is quantised",)
    ),
    "C28 nested": Row(
        with_tensor("classifier.bias", lambda v: torch.nested.nested_tensor([v])), 3, ("'classifier.bias'", "nested")
    ),
    "C29": Row(each(lambda value: value.to("meta")), 3, ("meta tensor, no values",)),
    "C30 DTensor": Row(
        file(lambda: hostile.zipped(b"}Vw\nctorch.distributed.tensor\nDTensor\n)\x81s.")), 3, (CONSOLIDATE, "full_state_dict")
    ),
    "C30 FSDP": Row(torch_file(lambda s: {"block._flat_param": torch.zeros(9)}), 3, (CONSOLIDATE, "FULL_STATE_DICT")),
    "C30 ZeRO": Row(
        torch_file(lambda s: {"module": {n: torch.empty(0) for n in s}, "param_shapes": [], "ds_version": "0.15"}),
        3,
        (CONSOLIDATE, "zero_to_fp32"),
    ),
    "C30 ZeRO optimizer": Row(
        torch_file(lambda s: {"optimizer_state_dict": {"zero_stage": 3}, "zero_stage": 3}), 3, (CONSOLIDATE, "zero_to_fp32")
    ),
    "C30 DeepSpeed folder": Row(files("zero_pp_rank_0_mp_rank_00_model_states.pt", "latest"), 3, (CONSOLIDATE, "zero_to"), HUB),
    "C30 DCP folder": Row(files("__0_0.distcp", ".metadata"), 3, (CONSOLIDATE, "dcp_to_torch"), HUB),
    "C30 DCP file": Row(file(b"PK\x03\x04", "__0_0.distcp"), 3, (CONSOLIDATE, "dcp_to_torch"), ("__0_0.distcp",)),
    "C31": Row(of_corpus("archive: TorchScript"), 4, ("TorchScript is a program",)),
    "C32 pt2": Row(of_corpus("archive: torch.export"), 3, ("torch.export .pt2",)),
    "C32 ONNX": Row(file(b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:"), 3, ("ONNX",)),
    "C32 GGUF": Row(file(b"GGUF\x03\0\0\0"), 3, ("GGUF",)),
    "C32 SavedModel": Row(files("saved_model.pb", "variables/variables.index"), 3, ("TensorFlow SavedModel",), HUB),
    "C32 Keras, HDF5": Row(file(b"\x89HDF\r\n\x1a\n"), 3, ("Keras",)),
    "C32 Keras, ZIP": Row(of_corpus("archive: Keras"), 3, ("Keras",)),
    "C32 msgpack": Row(file(b"\x81\xa6params\x81"), 3, ("msgpack (Flax or JAX",)),
    "C32 scikit-learn": Row(scikit_learn, 3, ("scikit-learn",)),
    "C33": Row(
        torch_file(lambda s: {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}}),
        3,
        ("only optimizer state", "keys seen: optimizer"),
    ),
    "C34": Row(
        torch_file(lambda s: {"state_dict": {n: torch.zeros_like(v) for n, v in s.items()}, "model_ema": s}),
        0,
        ("took 'model_ema'", "state_dict (--weights KEY)"),
    ),
    "C35": Row(
        torch_file(lambda s: {"model": s, "swa": dict(s)}), 3, ("--weights emma", "model", "swa"), ("bad.pt", "--weights", "emma")
    ),
    "C36 compiled DataParallel": Row(
        torch_file(lambda s: {f"module._orig_mod.{n}": v for n, v in s.items()}), 0, ("'module.' from 6", "'_orig_mod.' from 6")
    ),
    "C36 DataParallel, compiled": Row(
        torch_file(lambda s: {f"_orig_mod.module.{n}": v for n, v in s.items()}), 0, ("'_orig_mod.' from 6", "'module.' from 6")
    ),
    "C37": Row(torch_file(two_networks), 3, ("6 of 10 names (60%) fit under 'student.'", "4 of 10", "'teacher.'"), DIGITS_CNN),
    "C37 one of them": Row(
        torch_file(two_networks),
        0,
        ("took the 6 names that begin with 'student.', without it", "teacher.classifier.bias"),
        (*DIGITS_CNN, "--weights", "student."),
    ),
    "C37 none of them": Row(
        torch_file(two_networks), 3, ("--weights tutor.: no name in the file begins so",), (*DIGITS_CNN, "--weights", "tutor.")
    ),
    "C38": Row(
        torch_file(lambda s: {n.replace("classifier.bias", "classifier.bais"): v for n, v in s.items() if n[-4:] != "0.bi"}),
        3,
        ("5 of 6", "1 missing (classifier.bias)", "classifier.bais resembles classifier.bias"),
        DIGITS_CNN,
    ),
    "C39": Row(
        torch_file(lambda s: {**s, **{f"extra{n}.weight": torch.zeros(3) for n in range(7)}}),
        3,
        ("7 unexpected (extra0.weight, extra1.weight, extra2.weight, extra3.weight, extra4.weight, …)",),
        DIGITS_CNN,
    ),
    "C40": Row(
        torch_file(), 3, ("0 of 122 names match", "wrong architecture?", "zoo:digits_cnn"), ("bad.pt", "--arch", "timm:resnet18")
    ),
    "C41": Row(
        torch_file(), 3, ("the head has 10 classes, 100 were asked for", "--num-classes"), ("bad.pt", "--num-classes", "100")
    ),
    "C42": Row(
        with_tensor("features.3.weight", lambda v: v[:, :8].clone()),
        3,
        ("features.3.weight [32, 8, 3, 3] instead of [32, 16, 3, 3]",),
        DIGITS_CNN,
    ),
    "C43 NaN": Row(
        with_tensor("classifier.bias", lambda v: v.index_fill(0, torch.tensor([3]), float("nan"))),
        3,
        ("'classifier.bias' holds NaN or infinity: 1 of 10 (10%)", "--allow-nonfinite"),
    ),
    "C43 infinity": Row(with_tensor("classifier.bias", lambda v: v / 0), 3, ("10 of 10 (100%)",)),
    "C44 zeros": Row(with_tensor("features.3.weight", torch.zeros_like), 0, ("all zeros", "features.3.weight"), DIGITS_CNN),
    "C44 constant": Row(
        with_tensor("features.3.weight", torch.ones_like), 0, ("one number only", "features.3.weight"), DIGITS_CNN
    ),
    "C45 float16": Row(each(torch.Tensor.half), 0, ("cast 6 tensors from float16 to float32",)),
    "C45 bfloat16": Row(each(torch.Tensor.bfloat16), 0, ("cast 6 tensors from bfloat16 to float32",)),
    "C46": Row(each(torch.Tensor.double), 0, ("cast 6 tensors from float64 to float32",)),
    "C47": Row(each(lambda value: (100 * value).to(torch.int8)), 3, ("int8", "floating-point", "dequantise")),
    "C48 negative": Row(
        batchnorm(lambda s: s["1.running_var"].fill_(-1)), 3, ("'1.running_var' has a negative variance",), ("bad.pt", *NET)
    ),
    "C48 NaN": Row(batchnorm(lambda s: s["1.running_var"].fill_(float("nan"))), 3, ("'1.running_var'", "NaN"), ("bad.pt", *NET)),
    "C48 zero": Row(batchnorm(lambda s: s["1.running_var"].fill_(0)), 0, ("variance 0", "1.running_var"), ("bad.pt", *NET)),
    "C48 untrained": Row(
        batchnorm(lambda s: s["1.num_batches_tracked"].fill_(0)),
        0,
        ("BN never updated, train-mode statistics?",),
        ("bad.pt", *NET),
    ),
    "C49": Row(
        batchnorm(lambda s: s.update({"1.bias": s["1.weight"]})),
        0,
        ("'1.bias' shares its storage with '1.weight'",),
        ("bad.pt", *NET),
    ),
    "C50": Row(each(transposed), 0, ("zoo:digits_cnn",)),
    "C51 zip": Row(of_corpus("archive: big-endian"), 3, ("big-endian",)),
    "C51 legacy": Row(of_corpus("archive: legacy, big-endian"), 3, ("big-endian",)),
    "C52": Row(sparse_file(2**42), 5, ("4,096.00 GiB needed", "GiB available")),
    "C52 plan": Row(sparse_file(2**42), 5, ("4,096.00 GiB needed", "GiB available"), ("bad.pt", "--dry-run")),
    "C53 missing": Row(
        sharded(lambda _, folder: (folder / "model-2.safetensors").unlink()), 3, ("'model-2.safetensors' is missing",), HUB
    ),
    "C53 total_size": Row(
        sharded(lambda index, _: index["metadata"].update(total_size=7)), 3, ("total_size of 7 bytes", "hold 24360"), HUB
    ),
    "C53 twice": Row(sharded(second_copy), 3, ("two shards hold", "'model-2.safetensors'"), HUB),
    "C53 absent": Row(
        sharded(lambda index, _: index["weight_map"].update({"ghost.w": "model-1.safetensors"})), 3, ("'ghost.w'",), HUB
    ),
    "C54 absolute": Row(shard_name("/etc/passwd"), 4, ("'/etc/passwd' is not a plain file name",), HUB),
    "C54 parent": Row(shard_name("../x.safetensors"), 4, ("'../x.safetensors'",), HUB),
    "C54 NUL": Row(shard_name("a\0b.safetensors"), 4, ("'a\\x00b.safetensors'",), HUB),
    "C54 Windows": Row(shard_name("C:\\x.safetensors"), 4, ("'C:\\x.safetensors'",), HUB),
    "C54 reserved": Row(shard_name("nul.safetensors"), 4, ("'nul.safetensors'",), HUB),
    "C55 not JSON": Row(folder_of("{nope"), 3, ("config.json is not JSON",), HUB),
    "C55 unknown": Row(folder_of({"architecture": "resnet1800"}), 3, ("timm has no architecture 'resnet1800'",), HUB),
    "C55 num_classes": Row(folder_of({"num_classes": "ten"}), 3, ("config.json: num_classes", "'ten'"), HUB),
    "C55 mean": Row(folder_of({"pretrained_cfg": {"mean": [0.5, 0.5]}}), 3, ("mean must be 1", "[0.5, 0.5]"), HUB),
    "C55 nested": Row(folder_of('{"a":' * 100_000), 3, ("config.json is not JSON: nested too deep",), HUB),
    "C56": Row(
        folder_of({"auto_map": {"AutoModel": "evil.Model"}}, lambda s: {f"x.{n}.y": v for n, v in s.items()}),
        3,
        ("remote code is never run",),
        HUB,
    ),
    "C56 known": Row(folder_of({"auto_map": {"AutoModel": "evil.Model"}}), 0, ("remote code is never run",), HUB),
    "C57 two inputs": Row(
        network_file(f"def forward(self, x, y):\n    return Parent.forward(self, x)\n{SUBCLASS}"),
        3,
        ("cannot be run on images of 2×1×8×8", "TypeError", "'y'"),
        ("bad.pt", *NET),
    ),
    "C57 detection": Row(
        returning("[{'boxes': out, 'scores': out[:, 0]}, {}]"), 3, ("a list (0 dict, 1 dict) for 2 images",), ("bad.pt", *NET)
    ),
    "C57 text": Row(returning("'a cat'"), 3, ("gives a str for 2 images",), ("bad.pt", *NET)),
    "C58 maps": Row(returning("out[:, :, None, None]"), 3, ("shape (2, 10, 1, 1)",), ("bad.pt", *NET)),
    "C58 one number": Row(returning("out[:, 0]"), 3, ("shape (2,)",), ("bad.pt", *NET)),
    "C58 classes": Row(returning("out.argmax(1)"), 3, ("int64 of shape (2,)",), ("bad.pt", *NET)),
    "C58 integers": Row(returning("out.long()"), 3, ("int64 of shape (2, 10)",), ("bad.pt", *NET)),
    "C58 one logit": Row(returning("out[:, :1]"), 3, ("shape (2, 1)",), ("bad.pt", *NET)),
    "C58 tuple": Row(
        returning("(out, out[:, :, None])"),
        0,
        ("took the logits from part 0 of a tuple (0 (2, 10), 1 (2, 10, 1))",),
        ("bad.pt", *NET),
    ),
    "C58 dictionary": Row(returning("{'logits': out, 'loss': None}"), 0, ("part 'logits' of a dictionary",), ("bad.pt", *NET)),
    "C58 two tables": Row(returning("(out, out)"), 3, ("a tuple (0 (2, 10), 1 (2, 10))",), ("bad.pt", *NET)),
    "preprocessing by flags": Row(
        torch_file(),
        0,
        ('"interpolation": "nearest"', '"crop_pct": 0.5', '"mean": [0.25]', "flags: "),
        (*DIGITS_CNN, "--interpolation", "nearest", "--crop-pct", "0.5", "--mean", "0.25"),
    ),
    "a crop of nothing": Row(torch_file(), 2, ("--crop-pct",), (*DIGITS_CNN, "--crop-pct", "0")),
    "an unknown interpolation": Row(torch_file(), 2, ("--interpolation", "bicubic"), (*DIGITS_CNN, "--interpolation", "lanczos")),
    "--allow-missing": Row(
        torch_file(lambda s: {n: v for n, v in s.items() if n != "classifier.bias"}),
        0,
        ("1 tensors are not in the file", "(--allow-missing): classifier.bias"),
        (*DIGITS_CNN, "--allow-missing", "*.bias"),
    ),
    "--allow-missing of others": Row(
        torch_file(lambda s: {n: v for n, v in s.items() if n != "classifier.bias"}),
        3,
        ("1 missing (classifier.bias)",),
        (*DIGITS_CNN, "--allow-missing", "*.weight"),
    ),
}
"""By the row of the catalogue and what is special."""


experimental = pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor", "ignore:The PyTorch API of nested tensors")


@experimental
@pytest.mark.parametrize("name", ROWS)
def test_ends_in_its_code_and_says_what_helps(name: str, run: Command, tmp_path: Path) -> None:
    row = ROWS[name]
    row.make(tmp_path)
    result = run("measure", *row.arguments, *QUICK, "-o", "out")
    assert result.code == row.code, result.err
    assert "Traceback" not in result.out + result.err
    assert not (tmp_path / "canary").exists()
    if row.code:
        assert result.out == ""
        assert result.err.startswith("error[") and result.err.count("\n") == 1, result.err
        assert result.err.rstrip("\n").isprintable()
        assert [word for word in row.says if word not in result.err] == [], result.err
        assert not (tmp_path / "out").exists()
    else:
        subject = json.loads((tmp_path / "out" / "report.json").read_text())["subject"]
        told = json.dumps(subject, ensure_ascii=False)
        assert [word for word in row.says if word not in told] == [], told


@experimental
@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.code])
def test_the_same_under_json(name: str, run: Command, tmp_path: Path) -> None:
    row = ROWS[name]
    row.make(tmp_path)
    result = run("measure", *row.arguments, *QUICK, "-o", "out", "--json")
    assert result.code == row.code, result.err
    error = json.loads(result.out)["error"]
    assert set(error) == {"code", "message", "hint", "path"}
    told = " ".join(str(value) for value in error.values())
    assert [word for word in row.says if word not in told] == [], told


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become nobody")
def test_c04_no_permission(tmp_path: Path) -> None:
    """As nobody, because root reads everything; below the command line, which would import what nobody may not read."""
    file(b"x")(tmp_path)
    tmp_path.joinpath("bad.pt").chmod(0)
    owner = tmp_path.joinpath("bad.pt").owner()
    opened = [folder for folder in (tmp_path, *tmp_path.parents) if not folder.stat().st_mode & 1]
    for folder in opened:
        folder.chmod(folder.stat().st_mode | 0o11)
    os.seteuid(65534)
    try:
        with pytest.raises(CheckpointError) as caught:
            source.read(tmp_path / "bad.pt", LIMITS)
    finally:
        os.seteuid(0)
        for folder in opened:
            folder.chmod(folder.stat().st_mode & ~0o11)
    assert "permission denied" in str(caught.value)
    assert f"owned by {owner}" in str(caught.value)
    assert caught.value.exit_code == 3


def test_c59_a_file_that_changes_while_it_is_read(run: Command, tmp_path: Path) -> None:
    """Another thread touches the file all the while: its time of change differs before and after."""
    with (tmp_path / "bad.pt").open("wb") as stream:
        stream.truncate(2**27)
    stop = threading.Event()

    def touch() -> None:
        for moment in range(1, 2**40):
            os.utime(tmp_path / "bad.pt", ns=(moment, moment))
            if stop.is_set():
                return

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        result = run("measure", "bad.pt", *QUICK)
    finally:
        stop.set()
        thread.join()
    assert result.code == 3
    assert "changed while being read" in result.err


def test_c52_a_small_file_that_stands_for_a_large_network(tmp_path: Path) -> None:
    """One stored number, expanded: 32 TiB once it is copied. The refusal comes before the copy."""
    torch.save({"0.weight": torch.zeros(1).expand(2**21, 2**22)}, tmp_path / "bad.pt")
    (tmp_path / "net.py").write_text(
        f"from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear({2**22}, {2**21}, bias=False))"
    )
    limits = Limits(max_view_excess_bytes=2**50, max_shared_bytes=2**50)
    with pytest.raises(EnvironmentFailure, match=r"not enough memory for the network: 32,768\.00 GiB needed, .* GiB available"):
        load(tmp_path / "bad.pt", architecture=f"{tmp_path}/net.py:make", allow_code=True, limits=limits)


def test_class_names_of_the_checkpoint_stand_on_the_card(run: Command, tmp_path: Path) -> None:
    names = [f"kind {letter}" for letter in "abcdefghij"]
    folder_of({"label_names": names})(tmp_path)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", images=rng.integers(0, 255, (20, 8, 8), np.uint8), labels=np.arange(20) % 10)
    result = run("measure", "hub", "--data", "npz:data.npz", "--arch", "zoo:digits_cnn", "--probes", "accuracy", "--json")
    data = json.loads(result.out)["data"]
    assert data["classes"] == names
    assert "names of the classes from the checkpoint's config.json" in data["notes"]


def test_stated_classes_that_contradict_the_weights_are_not_believed(run: Command, tmp_path: Path) -> None:
    folder_of({"num_classes": 12})(tmp_path)
    subject = json.loads(run("measure", "hub", *QUICK, "--json").out)["subject"]
    assert subject["num_classes"] == 10
    assert "config.json states 12 classes, the weights have 10: the weights were believed" in subject["warnings"]
