"""`inspect` tells what is in a file, quickly and without torch, and describes also what would be refused."""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sharpaudit.cli.app import option_names
from sharpaudit.request import Limits
from tests.checkpoints.hostile import saved, touch, weights
from tests.cli.conftest import DEMO, Command

GOOD = DEMO / "baseline-seed0.safetensors"


def inspected(run: Command, *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    result = run("inspect", *arguments, "--json")
    assert result.code == code, result.err
    document: dict[str, Any] = json.loads(result.out)
    return document


def training(folder: Path) -> Path:
    """A training checkpoint: raw and averaged weights under DataParallel's prefix, an optimizer, an object."""
    raw = {"module.conv.weight": torch.zeros(3, 2, 1, 1), "module.bn.num_batches_tracked": torch.tensor(7)}
    averaged = {name: value + 1 for name, value in raw.items()}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}
    content = {"state_dict": raw, "model_ema": averaged, "optimizer": optimizer, "args": argparse.Namespace(lr=1), "epoch": 3}
    torch.save(content, folder / "last.pth")
    return folder / "last.pth"


def test_describes_a_training_checkpoint(run: Command, tmp_path: Path) -> None:
    path = training(tmp_path)
    found = inspected(run, path)
    assert found["format"] == "torch-zip"
    assert found["size_bytes"] == path.stat().st_size
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found["tensors"] == [
        {"name": "conv.weight", "dtype": "float32", "shape": [3, 2, 1, 1]},
        {"name": "bn.num_batches_tracked", "dtype": "int64", "shape": []},
    ]
    assert found["dtypes"] == {"float32": {"tensors": 1, "elements": 6}, "int64": {"tensors": 1, "elements": 1}}
    assert (found["num_tensors"], found["num_elements"]) == (2, 7)
    assert found["choices"] == [
        {"key": "model_ema", "tensors": 2, "elements": 7, "average": True},
        {"key": "state_dict", "tensors": 2, "elements": 7, "average": False},
    ]
    assert found["steps"] == ["opened model_ema", "stripped prefix 'module.' from 2 names"]
    assert found["dropped"] == ["args (argparse.Namespace)", "epoch", "optimizer", "state_dict"]
    assert ["state_dict" in warning for warning in found["warnings"]] == [True]
    assert "argparse.Namespace" in found["globals"]
    assert found["code"] == [] and found["error"] is None
    assert inspected(run, path, "--weights", "raw")["steps"][0] == "opened state_dict"


def test_shows_the_same_to_people(run: Command, tmp_path: Path) -> None:
    path = training(tmp_path)
    shown = run("inspect", path).out
    for words in (
        "2: 1 float32 (6 numbers), 1 int64 (1 numbers)",
        "model_ema: 2 tensors, averaged (auto takes this one)",
        "state_dict: 2 tensors",
        "stripped prefix 'module.'",
        "args (argparse.Namespace), epoch, optimizer",
        "conv.weight",
        "3×2×1×1",
        "scalar",
    ):
        assert words in shown


def test_many_tensors_are_cut_for_people_and_listed_for_programs(run: Command, tmp_path: Path) -> None:
    save_file({f"layer{n:03}.weight": torch.zeros(1) for n in range(50)}, tmp_path / "many.safetensors")
    assert "… and 30 more" in run("inspect", "many.safetensors").out
    assert len(inspected(run, "many.safetensors")["tensors"]) == 50


def test_foreign_text_is_cleaned_and_cut(run: Command, tmp_path: Path) -> None:
    note = {"\x1b[31mred": "\x1b]0;title\x07<script>" + "x" * 1_000_000, "sharpaudit.architecture": "zoo:\x9bevil"}
    save_file({"\x1b[2Jname\n": torch.zeros(2)}, tmp_path / "bad.safetensors", metadata=note)
    for result in (run("inspect", "bad.safetensors"), run("inspect", "bad.safetensors", "--json")):
        assert result.code == 0
        assert not {"\x1b", "\x07", "\x9b"} & set(result.out)
        assert len(result.out) < 5_000
        assert "x1b" in result.out


def test_code_is_named_and_not_run(run: Command, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (tmp_path / "bad.pt").write_bytes(saved({"state_dict": weights(), "x": touch(canary)}))
    found = inspected(run, "bad.pt", code=4)
    assert found["code"] == ["posix.system"]
    assert found["error"]["code"] == "unsafe"
    assert found["num_tensors"] == 2
    shown = run("inspect", "bad.pt")
    assert shown.code == 4
    assert "posix.system: would be run by pickle; was not" in shown.out
    assert shown.err.startswith("error[unsafe]: the file carries code: posix.system") and shown.err.count("\n") == 1
    assert not canary.exists()


def test_a_file_without_weights_is_described_with_its_refusal(run: Command, tmp_path: Path) -> None:
    torch.save({"optimizer": {"state": {}, "param_groups": []}}, tmp_path / "optimizer.pt")
    found = inspected(run, "optimizer.pt", code=3)
    assert (found["format"], found["num_tensors"]) == ("torch-zip", 0)
    assert "only optimizer state" in found["error"]["message"]


@pytest.mark.parametrize("as_json", [True, False])
def test_what_cannot_be_read_is_one_error(run: Command, tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "empty.pt").touch()
    result = run("inspect", "empty.pt", *(["--json"] if as_json else []))
    assert result.code == 3
    assert "0 bytes" in result.err
    assert (json.loads(result.out)["error"]["code"] if as_json else result.out) == ("checkpoint" if as_json else "")


def test_budgets_are_options(run: Command) -> None:
    refused = run("inspect", GOOD, "--max-tensors", "2")
    assert refused.code == 4
    assert "--max-tensors raises it" in refused.err


def test_every_budget_of_a_reader_is_an_option() -> None:
    names = {field.name for field in fields(Limits)}
    for command in ("inspect", "convert"):
        assert {f"--{name.replace('_', '-')}" for name in names} <= set(option_names(command))


def test_links_and_statements_are_told(run: Command, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(GOOD)
    found = inspected(run, "link")
    assert (found["file"], found["link_to"]) == ("link", GOOD.name)
    assert found["stated"]["architecture"] == "zoo:digits_cnn"
    assert found["stated"]["classes"] == list("0123456789")
    assert "a link to baseline-seed0.safetensors" in run("inspect", "link").out


def test_a_large_file_needs_no_torch(tmp_path: Path) -> None:
    torch.save({f"layer{n}.weight": torch.zeros(1_000_000) for n in range(25)}, tmp_path / "large.pth")
    code = "import sys; sys.modules['torch'] = None; from sharpaudit.cli import main; main(['inspect', 'large.pth', '--json'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(done.stdout)["num_elements"] == 25_000_000
