"""Every bad input ends in its exit code and one line on stderr; under --json in the same as one document on stdout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import DEMO, Command

GOOD = DEMO / "baseline-seed0.safetensors"
DIGITS = ["--data", "digits", "--probes", "accuracy"]


def nothing(folder: Path) -> None:
    """The case needs no file."""


def empty(folder: Path) -> None:
    (folder / "bad.pt").touch()


def html(folder: Path) -> None:
    (folder / "bad.pt").write_text("<!DOCTYPE html><html><body>404</body></html>")


def truncated(folder: Path) -> None:
    (folder / "bad.safetensors").write_bytes(GOOD.read_bytes()[:-100])


def other_head(folder: Path) -> None:
    tensors = load_file(GOOD)
    names = [name for name, tensor in tensors.items() if tensor.shape[0] == 10]
    save_file({name: t[:7].clone() if name in names else t for name, t in tensors.items()}, folder / "bad.safetensors")


def nan(folder: Path) -> None:
    tensors = load_file(GOOD)
    next(iter(tensors.values())).view(-1)[3] = float("nan")
    save_file(tensors, folder / "bad.safetensors")


def labels(folder: Path) -> None:
    images = np.zeros((4, 8, 8), dtype=np.uint8)
    np.savez(folder / "bad.npz", images=images, labels=np.array([0, 1, 2, 10]))


def pickled_code(folder: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("ran",)

    torch.save({"weight": torch.zeros(2), "payload": Payload()}, folder / "bad.pt")


def card(folder: Path) -> None:
    (folder / "report.json").write_text('{"schema": "sharpaudit.card/2.0"}')


Case = tuple[Callable[[Path], None], list[str], int, list[str]]

CASES: dict[str, Case] = {
    "missing file": (nothing, ["measure", "nowhere.pt", *DIGITS], 3, ["nowhere.pt"]),
    "empty file": (empty, ["measure", "bad.pt", *DIGITS], 3, ["0 bytes"]),
    "HTML saved as .pt": (html, ["measure", "bad.pt", *DIGITS], 3, ["HTML"]),
    "truncated safetensors": (truncated, ["measure", "bad.safetensors", *DIGITS], 3, ["bytes"]),
    "wrong architecture": (nothing, ["measure", str(GOOD), "--arch", "zoo:resnet20", *DIGITS], 3, ["resnet20"]),
    "unknown architecture": (nothing, ["measure", str(GOOD), "--arch", "zoo:resnet21", *DIGITS], 3, ["resnet20"]),
    "head of another size": (
        other_head,
        ["measure", "bad.safetensors", "--arch", "zoo:digits_cnn", *DIGITS],
        3,
        ["10 classes", "7 outputs"],
    ),
    "NaN weights": (nan, ["measure", "bad.safetensors", "--arch", "zoo:digits_cnn", *DIGITS], 3, ["--allow-nonfinite"]),
    "labels out of range": (labels, ["measure", str(GOOD), "--data", "npz:bad.npz", "--probes", "accuracy"], 3, ["0 to 10"]),
    "code in the pickle": (pickled_code, ["measure", "bad.pt", *DIGITS], 4, ["print"]),
    "unknown data": (nothing, ["measure", str(GOOD), "--data", "digit"], 3, ["did you mean 'digits'"]),
    "unknown probe": (nothing, ["measure", str(GOOD), "--data", "digits", "--probes", "sharpnes"], 2, ["known:"]),
    "unknown probe option": (nothing, ["measure", str(GOOD), *DIGITS, "--set", "accuracy.smallest=3"], 2, ["smallest_class"]),
    "malformed probe option": (nothing, ["measure", str(GOOD), *DIGITS, "--set", "accuracy"], 2, ["PROBE.OPTION=VALUE"]),
    "unknown option": (nothing, ["measure", str(GOOD), "--dat", "digits"], 2, ["did you mean '--data'?"]),
    "unknown command": (nothing, ["mesure", str(GOOD)], 2, ["did you mean 'measure'?"]),
    "missing argument": (nothing, ["measure", "--data", "digits"], 2, ["CKPT"]),
    "batch size of nothing": (nothing, ["measure", str(GOOD), *DIGITS, "--batch-size", "0"], 2, ["batch-size"]),
    "negative seed": (nothing, ["measure", str(GOOD), *DIGITS, "--seed", "-1"], 2, ["seed"]),
    "limit of nothing": (nothing, ["measure", str(GOOD), *DIGITS, "--limit", "0"], 2, ["limit"]),
    "mean of two channels": (
        nothing,
        ["measure", str(GOOD), *DIGITS, "--mean", "0.5,0.5"],
        2,
        ["--mean", "expected 1 finite numbers"],
    ),
    "too many bytes of images": (
        nothing,
        ["measure", str(GOOD), *DIGITS, "--max-bytes", "100"],
        4,
        ["the limit is 100", "--max-bytes"],
    ),
    "too many tensors": (nothing, ["measure", str(GOOD), *DIGITS, "--max-tensors", "2"], 4, ["--max-tensors"]),
    "another number of classes": (nothing, ["measure", str(GOOD), *DIGITS, "--num-classes", "7"], 3, ["--num-classes"]),
    **{
        f"{flag} {value}": (nothing, ["measure", str(GOOD), *DIGITS, flag, value], 2, [flag, "expected"])
        for flag, values in {
            "--std": ("0", "-1", "1e-320", "1e300"),
            "--mean": ("1e300", "nan"),
            "--input-size": ("1,0,8", "1,-8,8", "1,8.5,8", "1,1e9,8", "8,8"),
            "--input-range": ("5,5", "5,1", "0,1e-320", "0,inf"),
        }.items()
        for value in values
    },
    "a device of escapes": (
        nothing,
        ["measure", str(GOOD), *DIGITS, "--device", "a\x1b[2Jb"],
        5,
        ["unknown device 'a\\x1b[2Jb'"],
    ),
    "half a range": (nothing, ["measure", str(GOOD), *DIGITS, "--input-range", "1"], 2, ["--input-range", "2 numbers"]),
    "unknown device": (nothing, ["measure", str(GOOD), *DIGITS, "--device", "tpu"], 5, ["cpu, cuda, cuda:N, mps"]),
    "one output for two runs": (nothing, ["measure", str(GOOD), str(GOOD), *DIGITS, "-o", "run"], 2, ["one run folder"]),
    "compare one": (nothing, ["compare", str(GOOD)], 2, ["at least two"]),
    "compare nothing": (nothing, ["compare", "a", "b"], 3, ["no such run or checkpoint"]),
    "compare without data": (nothing, ["compare", str(GOOD), str(GOOD)], 2, ["--data"]),
    "a card of the future": (card, ["show", "report.json"], 3, ["sharpaudit.card/2.0"]),
    "no name for a run": (nothing, ["compare", "x" * 300, "b"], 3, ["no such run or checkpoint"]),
    "no name for a checkpoint": (nothing, ["measure", "x" * 300, *DIGITS], 3, ["File name too long", "check the path"]),
    "no name for a card": (nothing, ["show", "x" * 300], 3, ["cannot read the card"]),
    "no card": (nothing, ["show", "nowhere"], 3, ["cannot read the card"]),
    "gate without policy": (card, ["gate", "report.json", "--policy", "none.yaml"], 2, ["none.yaml"]),
    "unknown gate format": (nothing, ["gate", "x", "--policy", "p", "--format", "xml=out"], 2, ["junit"]),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_its_code(name: str, run: Command, tmp_path: Path) -> None:
    prepare, arguments, code, words = CASES[name]
    prepare(tmp_path)
    result = run(*arguments)
    assert result.code == code, result.err
    assert result.out == ""
    assert result.err.startswith("error[") and result.err.count("\n") == 1, result.err
    assert [word for word in words if word not in result.err] == []


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][1][0] in ("measure", "compare", "gate")])
def test_the_same_under_json(name: str, run: Command, tmp_path: Path) -> None:
    prepare, arguments, code, words = CASES[name]
    prepare(tmp_path)
    result = run(*arguments, "--json")
    assert result.code == code
    error = json.loads(result.out)["error"]
    assert set(error) == {"code", "message", "hint", "path"}
    told = " ".join(str(value) for value in error.values())
    assert [word for word in words if word not in told] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_no_cuda_here(run: Command) -> None:
    result = run("measure", GOOD, *DIGITS, "--device", "cuda")
    assert result.code == 5
    assert "use --device auto" in result.err


def test_a_bad_environment_variable_is_named(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPAUDIT_SEED", "x")
    result = run("measure", GOOD, *DIGITS)
    assert result.code == 2
    assert result.err.startswith("error[usage]: SHARPAUDIT_SEED: Input should be a valid integer")


def test_a_foreign_output_folder_is_refused_and_untouched(run: Command, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    result = run("measure", GOOD, *DIGITS, "-o", "out")
    assert result.code == 5
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_one_bad_checkpoint_does_not_keep_the_others_from_being_measured(run: Command, tmp_path: Path) -> None:
    empty(tmp_path)
    result = run("measure", "bad.pt", GOOD, *DIGITS, "--json")
    assert result.code == 3
    refused, measured = json.loads(result.out)
    assert refused["error"]["code"] == "checkpoint"
    assert measured["schema"] == "sharpaudit.card/1.1"


def test_a_defect_is_one_line_and_a_crash_file(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("sharpaudit.store.load_run", defect)
    result = run("show", "anything")
    assert result.code == 70
    assert result.err.count("\n") == 1
    assert "secret" not in result.err
    crash = Path(result.err.split(" - ")[1])
    assert "ZeroDivisionError: secret" in crash.read_text()
    crash.unlink()


def test_the_search_path_is_not_taken_for_data(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPAUDIT_DATA", "digits")
    result = run("measure", GOOD)
    assert result.code == 2
    assert "--data" in result.err
