"""Where a document may be written: to a new file or over a regular one in a folder that is there. Nothing else is touched."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import sharpaudit
from sharpaudit import store
from tests.cli.conftest import DEMO, Command

POLICY = "schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.5}]\n"
CHECKPOINT = DEMO / "sam-seed0.safetensors"


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))  # what /dev/full is
    except PermissionError:
        pytest.skip("only root makes devices")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))  # the whole path may be longer than a socket's name can be


OBSTACLES: dict[str, Callable[[Path], None]] = {
    "a device": device,
    "a FIFO": os.mkfifo,
    "a socket": listening,
    "a folder": Path.mkdir,
    "a link": lambda path: path.symlink_to("policy.yaml"),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a folder": lambda path: path.symlink_to("."),
}

WRITERS: dict[str, tuple[str | Path, ...]] = {
    "junit": ("gate", "run", "--policy", "policy.yaml", "--format", "junit=OUT"),
    "sarif": ("gate", "run", "--policy", "policy.yaml", "--format", "sarif=OUT"),
    "gitlab": ("gate", "run", "--policy", "policy.yaml", "--format", "gitlab=OUT"),
    "github": ("gate", "run", "--policy", "policy.yaml", "--format", "github=OUT"),
    "policy": ("policy", "init", "--from", "run", "-o", "OUT"),
    "contact sheet": ("data", "contact-sheet", "--data", "digits", "-o", "OUT"),
    "weights": ("convert", CHECKPOINT, "--force", "-o", "OUT"),
}


@pytest.fixture(scope="module")
def measured() -> store.Run:
    return sharpaudit.measure(CHECKPOINT, "digits", probes="accuracy")


@pytest.fixture
def stored(run: Command, tmp_path: Path, measured: store.Run) -> Path:
    store.save_run(tmp_path / "run", measured)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def identity(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_rdev, found.st_mtime_ns


def into(writer: str, out: str) -> list[str]:
    return [str(part).replace("OUT", out) for part in WRITERS[writer]]


@pytest.mark.parametrize("obstacle", OBSTACLES)
@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_but_a_regular_file_is_replaced(run: Command, stored: Path, writer: str, obstacle: str) -> None:
    out = stored / "x.safetensors"
    OBSTACLES[obstacle](out)
    before = identity(out)
    found = run(*into(writer, out.name))
    assert found.code == 5, found
    assert obstacle.partition(" to ")[0] in found.err and "x.safetensors" in found.err
    assert identity(out) == before
    assert (stored / "policy.yaml").read_text() == POLICY
    assert sorted(path.name for path in stored.iterdir()) == ["policy.yaml", "run", "x.safetensors"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_new_or_a_regular_file_is_written_but_no_folder_made(run: Command, stored: Path, writer: str) -> None:
    assert run(*into(writer, "no/x.safetensors")).code == 5
    assert not (stored / "no").exists()
    (stored / "old.safetensors").write_text("old")
    for name in ("new.safetensors", "old.safetensors"):
        assert run(*into(writer, name)).code in (0, 6)
    new, old = ((stored / name).read_bytes() for name in ("new.safetensors", "old.safetensors"))
    assert new == old != b"old"


def test_a_dash_is_stdout_which_then_holds_the_document_alone(run: Command, stored: Path) -> None:
    found = run("gate", "run", "--policy", "policy.yaml", "--format", "junit=-", "--format", "sarif=here.json")
    assert ElementTree.fromstring(found.out).tag == "testsuites"
    assert "clean.accuracy" in found.err
    assert json.loads((stored / "here.json").read_text())["version"] == "2.1.0"
    assert not (stored / "-").exists()


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        (["junit=-", "sarif=-"], "'-' is named twice"),
        (["junit=x", "sarif=./x"], "'./x' is named twice"),
        (["junit=-", "--json"], "stdout takes one document"),
        (["junit="], "expected KIND=FILE"),
        (["pdf=x"], "expected KIND=FILE with KIND one of junit"),
    ],
)
def test_documents_that_cannot_all_be_written_are_refused_before_any_is(
    run: Command, stored: Path, formats: list[str], said: str
) -> None:
    options = [part for text in formats for part in ([text] if text == "--json" else ["--format", text])]
    found = run("gate", "run", "--policy", "policy.yaml", *options)
    assert (found.code, found.out) == (2, "") or "--json" in formats
    assert said in found.err + found.out
    assert sorted(path.name for path in stored.iterdir()) == ["policy.yaml", "run"]


@pytest.mark.parametrize("obstacle", ["a device", "a FIFO", "a socket", "a link to nothing", "a link to itself"])
@pytest.mark.parametrize("out", ["x", "x/below"])
def test_a_comparison_goes_into_a_folder_alone(run: Command, stored: Path, obstacle: str, out: str) -> None:
    OBSTACLES[obstacle](stored / "x")
    before = identity(stored / "x")
    found = run("compare", "run", "run", "-o", out)
    assert (found.code, found.out) == (5, "")
    assert "expected a folder" in found.err or "cannot use the output folder" in found.err
    assert identity(stored / "x") == before
