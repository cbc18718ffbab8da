"""The promise about foreign files, held by the interpreter's own audit events while checkpoints are measured as a user would.

Measuring a checkpoint never runs code from it, never opens a socket, never writes outside the output folder, and opens nothing
but the paths that were named and the Python environment. What torch keeps in the system's folder for temporary files is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sharpaudit
from tests.cli.conftest import DEMO

WATCH = """
import json, os, sys
program, report = sys.argv.pop(1), sys.argv.pop(1)
seen = []
def plain(value):
    return value if isinstance(value, (int, str, type(None))) else os.fsdecode(value) if isinstance(value, bytes) else repr(value)
def hook(event, arguments):
    if event in ("os.remove", "os.rmdir") and arguments[1] >= 0:  # relative to an open folder
        arguments = (os.path.join(os.readlink(f"/proc/self/fd/{arguments[1]}"), arguments[0]),)
    if seen is not None and not event.startswith(("object.", "marshal.", "sys.", "code.", "builtins.id")):
        seen.append([event, [plain(value)[:500] if isinstance(plain(value), str) else plain(value) for value in arguments[:3]]])
sys.addaudithook(hook)
try:
    exec(program)
except SystemExit as leave:
    code = leave.code
else:
    code = 0
events, seen = seen, None
with open(report, "w") as file:
    json.dump({"code": code, "events": events}, file)
"""
MEASURE = "from sharpaudit.cli import main; main()"

CANARY = "canary_in_the_file"
"""A word that stands only inside the files, as the name of a module, a function, an address, a path."""

WRITING = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "shutil.",
    "os.truncate",
)
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MACHINE = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/etc/localtime", "/usr/share/zoneinfo/")
"""What Python and torch look up about the machine: its memory, its processors, its clock."""

ENVIRONMENT = {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, Path(sharpaudit.__file__).parents[1])}
"""The Python environment, and sharpaudit where it is installed as sources."""


@dataclass(frozen=True)
class Watched:
    """What a program did, as the interpreter told it."""

    code: int
    events: list[tuple[str, list[Any]]]
    folder: Path
    """Where it ran."""
    temporary: Path

    def named(self, *beginnings: str) -> list[str]:
        """Events of these kinds, with their first arguments."""
        return [f"{event} {arguments}" for event, arguments in self.events if event.startswith(beginnings)]

    def holding(self, word: str) -> list[str]:
        """Events with `word` among their arguments."""
        return [f"{event} {arguments}" for event, arguments in self.events if word in repr(arguments)]

    def opened(self) -> list[tuple[str, bool]]:
        """(path, whether for writing) of every file that was opened by name."""
        return [
            (self._absolute(arguments[0]), bool(arguments[2] & WRITE_FLAGS))
            for event, arguments in self.events
            if event == "open" and isinstance(arguments[0], str)
        ]

    def written(self) -> list[str]:
        """Every path that was opened for writing, made, renamed, removed or changed."""
        changed = [arguments for event, arguments in self.events if event.startswith(WRITING) and isinstance(arguments[0], str)]
        paths = [path for arguments in changed for path in arguments[:2] if isinstance(path, str)]
        return [path for path, writing in self.opened() if writing] + [self._absolute(path) for path in paths]

    def _absolute(self, path: str) -> str:
        return str((self.folder / path).resolve())


def watched(program: str, arguments: Sequence[str | Path], folder: Path) -> Watched:
    """The program, run in `folder` with an audit hook from its first line on, and a home and a temporary folder of its own."""
    home, temporary, report = (folder.parent / name for name in ("home", "temporary", "events.json"))
    home.mkdir()
    temporary.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", WATCH, program, str(report), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert report.exists(), done.stderr
    document = json.loads(report.read_text())
    return Watched(document["code"], [(event, arguments) for event, arguments in document["events"]], folder, temporary)


def checkpoints(folder: Path) -> list[Path]:
    """A safetensors file, a torch file full of other objects, and a folder as timm writes it, all with the canary inside."""
    tensors = load_file(DEMO / "baseline-seed0.safetensors")
    with (DEMO / "baseline-seed0.safetensors").open("rb") as file:
        stated = json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
    save_file(tensors, folder / "a.safetensors", {**stated, "source": f"http://{CANARY}.test/x", "code": f"import {CANARY}"})

    (folder / f"{CANARY}.py").write_text("raise SystemExit('code from a file was run')")
    container = type("Settings", (argparse.Namespace,), {})
    kept = {"args": argparse.Namespace(path=f"/{CANARY}/data"), "where": pathlib.PurePosixPath(f"/{CANARY}"), "seed": np.int64(3)}
    container.__module__, container.__qualname__ = CANARY, "Settings"
    module = type(sys)(CANARY)
    module.Settings = container  # type: ignore[attr-defined]  # a module made by hand
    sys.modules[CANARY] = module
    try:
        torch.save({"state_dict": tensors, "settings": container, **kept}, folder / "b.pt")
    finally:
        del sys.modules[CANARY]

    (folder / "c").mkdir()
    save_file(tensors, folder / "c" / "model.safetensors")
    config = {
        "architecture": "zoo:digits_cnn",
        "num_classes": 10,
        "auto_map": {"AutoModel": f"{CANARY}.Model"},
        "pretrained_cfg": {
            "mean": [0.5],
            "std": [0.5],
            "input_size": [1, 8, 8],
            "url": f"http://{CANARY}.test",
            "file": f"/{CANARY}",
        },
    }
    (folder / "c" / "config.json").write_text(json.dumps(config))
    return [folder / "a.safetensors", folder / "b.pt", folder / "c"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watched, list[Path], Path]:
    """One command over all three, with its reports and their drawings."""
    root = tmp_path_factory.mktemp("safety")
    (root / "files").mkdir()
    (root / "work").mkdir()
    files = checkpoints(root / "files")
    np.savez(
        root / "files" / "images.npz", images=np.arange(40 * 64, dtype=np.uint8).reshape(40, 8, 8), labels=np.arange(40) % 10
    )
    data = root / "files" / "images.npz"
    flags = ("--arch", "zoo:digits_cnn", "--mean", "0.5", "--std", "0.5", "--input-size", "1,8,8")
    probes = ("--probes", "accuracy,calibration,fisher_rao,relative_flatness")
    arguments: list[str | Path] = ["measure", *files, "--data", f"npz:{data}", *flags, *probes]
    return watched(MEASURE, arguments, root / "work"), [*files, data], root / "work"


def test_all_three_are_measured(measured: tuple[Watched, list[Path], Path]) -> None:
    events, _, work = measured
    assert events.code == 0
    assert len(list(work.glob("sharpaudit-runs/*/report.html"))) == 3


def test_nothing_in_a_file_reaches_the_interpreter(measured: tuple[Watched, list[Path], Path]) -> None:
    """No import, no code, no path, no address: the canary is in no argument of any event."""
    events, _, _ = measured
    assert events.holding(CANARY) == []
    assert events.named("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.", "pickle.", "webbrowser.") == []


def test_no_socket_is_opened(measured: tuple[Watched, list[Path], Path]) -> None:
    events, _, _ = measured
    local = "socket.gethostname"
    assert [event for event in events.named("socket.", "urllib.", "http.", "ftplib.", "smtplib.") if local not in event] == []


def test_nothing_is_written_outside_the_output_folder(measured: tuple[Watched, list[Path], Path]) -> None:
    events, _, work = measured
    inside = (str(work / "sharpaudit-runs"), str(events.temporary), "/dev/")
    assert [path for path in events.written() if not path.startswith(inside)] == []
    left = [path.name for path in events.temporary.iterdir() if not path.name.startswith("torchinductor_")]
    assert left == [], "temporary files do not outlive the command"
    assert list((work.parent / "home").iterdir()) == []


def test_nothing_is_read_but_what_was_named(measured: tuple[Watched, list[Path], Path]) -> None:
    events, named, work = measured
    allowed = (*ENVIRONMENT, *map(str, named), str(work / "sharpaudit-runs"), str(events.temporary), *MACHINE)
    assert [path for path, _ in events.opened() if not path.startswith(allowed)] == []
    assert {str(path) for path in named if path.is_file()} <= {path for path, _ in events.opened()}, "the watcher sees opening"


def test_the_watcher_sees_what_it_must(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / f"{CANARY}.py").write_text("")
    program = (
        f"import socket, sys, os; sys.path.append('..'); import {CANARY}\n"
        "socket.socket().close(); open('/etc/passwd').close()\n"
        "open('../out.txt', 'w').close(); os.rename('../out.txt', '../other.txt')"
    )
    events = watched(program, [], tmp_path / "work")
    assert events.holding(CANARY)
    assert events.named("socket.")
    assert {str(tmp_path / "out.txt"), str(tmp_path / "other.txt")} <= set(events.written())
    assert ("/etc/passwd", False) in events.opened()
