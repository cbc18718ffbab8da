"""`convert` writes the bits that were there, and a manifest of everything that was done and left out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sharpaudit.checkpoints import load
from tests.checkpoints.hostile import saved, touch, weights
from tests.cli.conftest import DEMO, Command
from tests.cli.test_inspect import training

GOOD = DEMO / "baseline-seed0.safetensors"


def manifest(folder: Path, name: str = "out") -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / f"{name}.manifest.json").read_text())
    return document


def every_kind() -> dict[str, torch.Tensor]:
    """Every dtype, among them views that are transposed, strided, offset, empty and scalar."""
    generator = torch.Generator().manual_seed(0)
    floats = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    integers = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
    wide = torch.randn(6, 10, generator=generator)
    return {
        **{f"float{n}": torch.randn(3, 5, generator=generator).to(kind) for n, kind in enumerate(floats)},
        **{f"int{n}": torch.randint(0, 100, (7,), generator=generator).to(kind) for n, kind in enumerate(integers)},
        "bool": torch.rand(9, generator=generator) > 0.5,
        "transposed": wide.t(),
        "strided": wide[1::2, 2::3],
        "expanded": torch.randn(4, 1, generator=generator).expand(4, 3),
        "channels last": torch.randn(2, 3, 4, 5, generator=generator).contiguous(memory_format=torch.channels_last),
        "empty": torch.empty(0, 4),
        "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
        "special": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
    }


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
@pytest.mark.parametrize("code", [False, True])
@pytest.mark.parametrize("held", [{}, {"note": "no tensors"}, weights()], ids=["nothing", "text", "weights"])
def test_inspect_ends_as_convert_does(
    run: Command, tmp_path: Path, options: dict[str, bool], code: bool, held: dict[str, Any]
) -> None:
    more = {"hook": touch(tmp_path / "canary")} if code else {}
    (tmp_path / "in.pt").write_bytes(saved({**held, **more}, **options))
    inspected, converted = run("inspect", "in.pt"), run("convert", "in.pt", "-o", "out.safetensors")
    assert (inspected.code, inspected.err) == (converted.code, "" if converted.code == 0 else converted.err)
    assert inspected.code == (4 if code else 0 if "weight" in held else 3)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_bits_survive_the_round_trip(run: Command, tmp_path: Path, legacy: bool) -> None:
    tensors = every_kind()
    torch.save(tensors, tmp_path / "in.pt", _use_new_zipfile_serialization=not legacy)
    assert run("convert", "in.pt", "-o", "out.safetensors").code == 0
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert written[name].dtype == tensor.dtype
        assert written[name].shape == tensor.shape
        kind = torch.int16 if tensor.dtype == torch.bfloat16 else tensor.dtype
        there, here = (value.contiguous().view(kind).numpy().tobytes() for value in (tensor, written[name]))
        assert there == here, name
    again = run("convert", "out.safetensors", "-o", "again.safetensors")
    assert again.code == 0
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "out.safetensors").read_bytes()


def test_the_manifest_says_what_was_done(run: Command, tmp_path: Path) -> None:
    path = training(tmp_path)
    result = run("convert", path, "-o", "out.safetensors", "--weights", "raw", "--json")
    found = manifest(tmp_path)
    assert json.loads(result.out) == found
    source, target = path.read_bytes(), (tmp_path / "out.safetensors").read_bytes()
    assert found["source"] == {
        "file": "last.pth",
        "format": "torch-zip",
        "sha256": hashlib.sha256(source).hexdigest(),
        "size_bytes": len(source),
    }
    assert found["target"] == {
        "file": "out.safetensors",
        "sha256": hashlib.sha256(target).hexdigest(),
        "size_bytes": len(target),
    }
    assert found["steps"] == ["opened state_dict", "stripped prefix 'module.' from 2 names"]
    assert found["dropped"] == ["args (argparse.Namespace)", "epoch", "model_ema", "optimizer"]
    assert (found["dtypes"], found["num_tensors"]) == ({"float32": 1, "int64": 1}, 2)
    assert (found["ties"], found["code"], found["clean_load"]) == ({}, [], True)
    assert set(load_file(tmp_path / "out.safetensors")) == {"conv.weight", "bn.num_batches_tracked"}
    shown = run("convert", path, "-o", "out.safetensors", "--force").out
    assert "out.safetensors: 2 tensors (1 float32, 1 int64), sha256" in shown
    assert "opened model_ema" in shown and "args (argparse.Namespace)" in shown


def test_ties_are_cloned_and_recorded(run: Command, tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    torch.save({"module.embed.weight": shared, "module.head.weight": shared}, tmp_path / "in.pt")
    assert run("convert", "in.pt", "-o", "out.safetensors").code == 0
    assert manifest(tmp_path)["ties"] == {"head.weight": "embed.weight"}
    written = load_file(tmp_path / "out.safetensors")
    assert torch.equal(written["head.weight"], shared) and torch.equal(written["embed.weight"], shared)


def test_what_the_checkpoint_said_travels_along(run: Command, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    save_file(load_file(GOOD), folder / "model.safetensors")
    preprocessing = {"mean": [0.25], "std": [0.5], "input_size": [1, 8, 8]}
    (folder / "config.json").write_text(json.dumps({"label_names": list("abcdefghij"), "pretrained_cfg": preprocessing}))
    assert run("convert", "hub", "-o", "out.safetensors").code == 0
    before, after = load(folder), load(tmp_path / "out.safetensors")
    assert after.classes == before.classes == tuple("abcdefghij")
    assert after.subject.preprocessing.mean == [0.25]
    with safe_open(GOOD, "pt") as file:
        metadata = file.metadata()
    assert run("convert", GOOD, "-o", "copy.safetensors").code == 0
    with safe_open(tmp_path / "copy.safetensors", "pt") as file:
        assert file.metadata() == metadata


def test_code_is_left_out_only_on_request(run: Command, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "bad.pt").write_bytes(saved({"state_dict": weights(), "x": touch(canary)}))
    refused = run("convert", "bad.pt", "-o", "out.safetensors")
    assert refused.code == 4
    assert "posix.system" in refused.err and "--allow-inert" in refused.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.pt"]
    assert run("convert", "bad.pt", "-o", "out.safetensors", "--allow-inert").code == 0
    assert (manifest(tmp_path)["code"], manifest(tmp_path)["clean_load"]) == (["posix.system"], False)
    assert load_file(tmp_path / "out.safetensors").keys() == weights().keys()
    assert not canary.exists()


@pytest.mark.parametrize("there", ["out.safetensors", "out.manifest.json"])
def test_nothing_is_overwritten_unasked(run: Command, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("precious")
    refused = run("convert", GOOD, "-o", "out.safetensors")
    assert refused.code == 5
    assert "the file exists" in refused.err and "--force" in refused.err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "precious"
    assert run("convert", GOOD, "-o", "out.safetensors", "--force").code == 0
    assert len(load_file(tmp_path / "out.safetensors")) == 6


def test_a_file_can_replace_itself(run: Command, tmp_path: Path) -> None:
    save_file(load_file(GOOD), tmp_path / "x.safetensors")
    assert run("convert", "x.safetensors", "-o", "x.safetensors", "--force").code == 0
    assert load_file(tmp_path / "x.safetensors").keys() == load_file(GOOD).keys()


def test_where_it_cannot_write(run: Command, tmp_path: Path) -> None:
    (tmp_path / "dir.safetensors").mkdir()
    for target, code, words in [
        ("out.pt", 2, "ends in .safetensors"),
        ("nowhere/out.safetensors", 5, "cannot write: there is no such folder"),
        ("dir.safetensors", 5, "name another file"),
    ]:
        refused = run("convert", GOOD, "-o", target, "--force")
        assert refused.code == code
        assert words in refused.err
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["dir.safetensors"]


def test_a_file_that_cannot_be_read_leaves_nothing_behind(run: Command, tmp_path: Path) -> None:
    refused = run("convert", "missing.pt", "-o", "out.safetensors")
    assert refused.code == 3
    assert "missing.pt" in refused.err
    assert list(tmp_path.iterdir()) == []
