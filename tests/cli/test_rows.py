"""The command line and its configuration, row by row of the catalogue of bad inputs: exit code, words, the same under ``--json``.

K11 to K15 and K20 are about files and stand in `test_config`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Timer

import pytest
import torch

from sharpaudit import store
from sharpaudit.cli.streams import Sink
from sharpaudit.device import available_device
from sharpaudit.errors import EnvironmentFailure
from tests.cli.conftest import DEMO, Command
from tests.report import cards

GOOD = str(DEMO / "baseline-seed0.safetensors")
MEASURE = ["measure", GOOD, "--data", "digits", "--probes", "accuracy"]


def foreign_folder(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / "thesis.tex").write_text("precious")


def foreign_file(folder: Path) -> None:
    (folder / "out").write_text("precious")


def link_to_foreign(folder: Path) -> None:
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.tex").write_text("precious")
    (folder / "out").symlink_to("thesis")


def dangling_link(folder: Path) -> None:
    (folder / "out").symlink_to("nowhere")


def nothing(folder: Path) -> None:
    """The case needs no file."""


Row = tuple[str, list[str], int, list[str]]

ROWS: list[Row] = [
    ("K01 option", ["measure", GOOD, "--dat", "digits"], 2, ["no such option '--dat'; did you mean '--data'?"]),
    (
        "K01 option of a subcommand",
        ["policy", "init", "--form", "x"],
        2,
        ["did you mean '--from'?", "sharpaudit policy init"],
    ),
    ("K01 option before a command", ["--versoin"], 2, ["did you mean '--version'?"]),
    ("K01 option unlike any", ["measure", GOOD, "--zzzzzz"], 2, ["no such option '--zzzzzz'", "see sharpaudit measure --help"]),
    ("K01 command", ["mesure", GOOD], 2, ["no such command 'mesure'; did you mean 'measure'?"]),
    ("K01 subcommand", ["policy", "chek", "x"], 2, ["no such command 'chek'; did you mean 'check'?"]),
    ("K01 command unlike any", ["zzzzzz"], 2, ["no such command 'zzzzzz'", "known: compare, config,"]),
    ("K01 escape", ["\x1b[31mmeasure"], 2, ["\\x1b[31mmeasure", "did you mean 'measure'?"]),
    ("K02 argument", ["measure", "--data", "digits"], 2, ["CKPT", "usage: sharpaudit measure [OPTIONS]"]),
    ("K02 option", ["measure", GOOD], 2, ["--data", "usage: sharpaudit measure [OPTIONS]"]),
    ("K02 value", ["measure", GOOD, "--data", "digits", "--seed"], 2, ["--seed"]),
    ("K02 too many", ["probes", "accuracy", "calibration"], 2, ["unexpected extra argument", "calibration"]),
    ("K04 no such device", [*MEASURE, "--device", "cuda:99"], 5, ["CUDA device"]),
    ("K05 precision", [*MEASURE, "--precision", "bfloat16"], 2, ["--precision: 'bfloat16' is not one of 'auto', 'float32'"]),
    ("K05 dtype", [*MEASURE, "--dtype", "bfloat16"], 2, ["no such option '--dtype'"]),
    ("K06 none", [*MEASURE, "--batch-size", "0"], 2, ["--batch-size: ", "(1 to 1048576)"]),
    ("K06 negative", [*MEASURE, "--batch-size", "-1"], 2, ["--batch-size: ", "(1 to 1048576)"]),
    ("K06 text", [*MEASURE, "--batch-size", "abc"], 2, ["--batch-size: ", "valid integer", "(1 to 1048576)"]),
    ("K06 huge", [*MEASURE, "--batch-size", "1000000000"], 2, ["--batch-size: ", "(1 to 1048576)"]),
    ("K06 limit", [*MEASURE, "--limit", "0"], 2, ["--limit: ", "(at least 1)"]),
    ("K07 negative", [*MEASURE, "--seed", "-1"], 2, ["--seed: ", "(0 to 9223372036854775807)"]),
    ("K07 huge", [*MEASURE, "--seed", str(2**63)], 2, ["--seed: ", "(0 to 9223372036854775807)"]),
    ("K07 text", [*MEASURE, "--seed", "x"], 2, ["--seed: ", "valid integer"]),
    ("K08 unknown", ["measure", GOOD, "--data", "digits", "--probes", "acuracy"], 2, ["did you mean 'accuracy'?", "known: "]),
    ("K08 empty", ["measure", GOOD, "--data", "digits", "--probes", ""], 2, ["no probe was named", "presets: quick"]),
    ("K08 gap", ["measure", GOOD, "--data", "digits", "--probes", "accuracy,"], 2, ["no probe was named"]),
    ("K08 twice", ["measure", GOOD, "--data", "digits", "--probes", "accuracy,accuracy"], 2, ["'accuracy' is named twice"]),
    ("K09 dash", [*MEASURE, "-o", "-"], 2, ["-o names a file or a folder", "--json prints the result"]),
    ("K09 quiet", [*MEASURE, "--quiet"], 2, ["no such option '--quiet'"]),
    ("K10 newline", [*MEASURE, "-o", "a\nb"], 4, ["the name of the output holds control characters - a\\nb"]),
    ("K19 timm", [*MEASURE, "--arch", "timm:resnet81"], 3, ["timm has no architecture 'resnet81'", "nearest: resnet18"]),
    ("K19 torchvision", [*MEASURE, "--arch", "torchvision:resnet81"], 3, ["nearest: resnet18"]),
    ("K19 zoo", [*MEASURE, "--arch", "zoo:resnet21"], 3, ["resnet20"]),
    ("K19 download", [*MEASURE, "--arch", "timm:hf-hub:timm/resnet18.a1_in1k"], 3, ["timm has no architecture 'hf-hub:"]),
    ("K19 weights", [*MEASURE, "--arch", "timm:resnet18?pretrained=true"], 2, ["pretrained"]),
    ("K19 form", [*MEASURE, "--arch", "resnet18"], 2, ["does not name an architecture", "zoo:NAME"]),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_rows(row: Row, run: Command, tmp_path: Path) -> None:
    _, arguments, code, words = row
    result = run(*arguments)
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.startswith("error[") and result.err.count("\n") == 1 and result.err[:-1].isprintable()
    assert [word for word in words if word not in result.err] == [], result.err
    again = run(*arguments, "--json")
    assert again.code == code
    error = json.loads(again.out)["error"]
    assert set(error) == {"code", "message", "hint", "path"}
    assert error["message"] in again.err
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


OUTPUTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "K10 folder": (foreign_folder, "the output exists and is not a run folder of ours - out"),
    "K10 file": (foreign_file, "expected a folder, got something else - out"),
    "K10 link": (link_to_foreign, "the output exists and is not a run folder of ours - out"),
    "K10 dangling link": (dangling_link, "expected a folder, got something else - out"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_are_not_ours(name: str, run: Command, tmp_path: Path) -> None:
    prepare, words = OUTPUTS[name]
    prepare(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    result = run(*MEASURE, "-o", "out")
    assert result.code == 5
    assert words in result.err and "pass another -o" in result.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_k10_no_permission(run: Command, tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    result = run(*MEASURE, "-o", "shut/run")
    assert result.code == 5
    assert "not writable - shut/run" in result.err


def test_k10_under_a_file(run: Command, tmp_path: Path) -> None:
    foreign_file(tmp_path)
    result = run(*MEASURE, "-o", "out/run")
    assert result.code == 5
    assert " - out/run - " in result.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_k03_no_cuda(run: Command) -> None:
    result = run(*MEASURE, "--device", "cuda")
    assert result.code == 5
    assert "no CUDA device: " in result.err and "use --device auto" in result.err


def test_k04_names_the_number_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [available_device(name) for name in ("auto", "cuda", "cuda:1")] == ["cuda:0", "cuda:0", "cuda:1"]
    with pytest.raises(EnvironmentFailure, match="'cuda:7' was asked for and there are 2 CUDA devices") as refused:
        available_device("cuda:7")
    assert refused.value.hint == "use --device auto"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SHARPAUDIT_SEED", "x", "SHARPAUDIT_SEED: Input should be a valid integer"),
        ("SHARPAUDIT_BATCH_SIZE", "0", "SHARPAUDIT_BATCH_SIZE: Input should be greater than or equal to 1 (1 to 1048576)"),
        ("SHARPAUDIT_PRECISION", "half", "SHARPAUDIT_PRECISION: 'half' is not one of"),
        ("SHARPAUDIT_CONFIG", "nowhere.yaml", "cannot read the configuration: No such file or directory - nowhere.yaml"),
    ],
)
def test_k16_names_the_variable(variable: str, value: str, words: str, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    result = run(*MEASURE)
    assert result.code == 2
    assert words in result.err


def process(
    *arguments: str | bytes, redirect: str = "", cwd: Path | None = None, **environment: str | None
) -> subprocess.CompletedProcess[bytes]:
    """The command in a process of its own; `redirect` is what a shell is told after it."""
    settings: Mapping[str, str] = {
        key: value for key, value in {**os.environ, "OMP_NUM_THREADS": "1", **environment}.items() if value is not None
    }
    program = [sys.executable, "-m", "sharpaudit", *arguments]
    line = [b"/bin/sh", b"-c", b'exec "$@" ' + redirect.encode(), b"sh", *(os.fsencode(part) for part in program)]
    return subprocess.run(line, capture_output=True, cwd=cwd, env=settings, check=False, timeout=120)


def test_k17_names_that_are_not_utf8(run: Command, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9\n::error::.safetensors"
    shutil.copy(os.fsencode(GOOD), path)
    done = process("measure", path, *MEASURE[2:], "-o", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not any(line.startswith((b"::", b"##[")) for line in (done.stdout + b"\n" + done.stderr).splitlines())
    assert json.loads((tmp_path / "run" / "report.json").read_text())["subject"]["file"].isprintable()
    missing = run("measure", os.fsdecode(path + b"x"), *MEASURE[2:], "--json")
    assert missing.code == 3
    assert "caf\\udce9\\n::error::" in missing.err
    assert json.loads(missing.out)["error"]["code"] == "checkpoint"


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_k17_locale_c(locale: dict[str, str], tmp_path: Path) -> None:
    store.save_run(tmp_path / "run", store.Run(cards.full(), {}))
    done = process("show", "run", cwd=tmp_path, **locale)
    assert done.returncode == 0, done.stderr
    assert "Accuracy ↑" in done.stdout.decode()


def test_k17_no_home(tmp_path: Path) -> None:
    done = process(*MEASURE, "--json", cwd=tmp_path, HOME=None, XDG_CACHE_HOME=None)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("redirect", "code", "words"),
    [
        (">&-", 0, b""),
        (">&- 2>&-", 0, b""),
        ("<&-", 0, b""),
        (
            "> /dev/full",
            5,
            b"error[environment]: cannot write to stdout: No space left on device - free space there, or send it elsewhere",
        ),
        ("2> /dev/full", 0, b""),
    ],
)
@pytest.mark.parametrize("arguments", [["schema", "card"], ["--version"]], ids=["long", "short"])
def test_k17_stdout_closed_or_full(arguments: list[str], redirect: str, code: int, words: bytes, tmp_path: Path) -> None:
    done = process(*arguments, redirect=redirect, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (code, words)


@pytest.mark.parametrize("arguments", [["show", "nowhere"], ["mesure"]])
def test_k17_an_error_that_nobody_can_read_still_has_its_code(arguments: list[str], tmp_path: Path) -> None:
    for redirect in ("2> /dev/full", "2>&-", ">&- 2>&-"):
        assert process(*arguments, redirect=redirect, cwd=tmp_path).returncode in (2, 3)


def test_k17_a_reader_that_has_seen_enough() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "sharpaudit", "schema", "card"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_k17_a_full_pipe_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    filling = os.write(writer, b"-" * 2**20)
    drain = Timer(0.1, os.read, (reader, filling))
    drain.start()
    with Sink(writer, "w") as sink:
        assert sink.write(b"result") == 6
        assert sink.failure is None
    drain.join()
    with os.fdopen(reader, "rb") as pipe:
        assert pipe.read().lstrip(b"-") == b"result"


POOR = [{"COLUMNS": "20"}, {"TERM": "dumb"}, {"TERM": ""}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}]


@pytest.mark.parametrize("environment", POOR)
def test_k18_poor_terminals(environment: dict[str, str], tmp_path: Path) -> None:
    for arguments in (["measure", "--help"], ["config", "show"]):
        done = process(*arguments, cwd=tmp_path, **environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\x1b" not in done.stdout
        assert b"probes" in done.stdout
