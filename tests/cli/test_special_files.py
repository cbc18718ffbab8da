"""A FIFO, a device or a loop of links in the place of a file: every command ends at once, in a refusal, and touches nothing.

The options that take a path are asked of the application, so that a new one is tried here too; the files that are read by their
names inside folders are listed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image

import sharpaudit.cli  # noqa: F401 - registers the commands
from sharpaudit import store
from sharpaudit.cli.app import app
from sharpaudit.data import CORRUPTED, NAMES
from tests.checkpoints.hostile import safetensors
from tests.cli.conftest import DEMO, Command
from tests.report.cards import full
from tests.seed import AGAIN, SEED

CHECKPOINT = DEMO / "baseline-seed0.safetensors"
POLICY = "schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.5}]\n"

BLOCKED, BUSY = 30, 4.0
"""Seconds of the wall after which something waits for ever, and of the processor that it may take, on a busy machine too."""


def device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # what /dev/zero is
    except PermissionError:
        path.symlink_to("/dev/zero")


SPECIAL: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "device": device,
    "loop": lambda path: path.symlink_to(path.name),
}

TEXTS_WITH_PATHS = {
    "D": (*(re.sub("[A-Z]+", "{}", form if ":" in form else f"{form}:PATH") for form in (*NAMES, *CORRUPTED)), "{}.py:make"),
    "ARCH": ("{}.py:make", "local-dir:{}"),
    "FILE": ("{}",),
    "PATH": ("{}",),
    "KIND=FILE": ("junit={}",),
    "REGEX|FILE": ("{}.csv", "{}.yaml:x"),
}
"""What a text on the command line may hold beside words, by its metavar."""
WORDS = {"PROBES", "DEVICE", "WHICH", "PROBE.OPTION=VALUE", "X[,X,X]", "C,H,W", "LOW,HIGH", "TIME", "PATTERN", "1,2,…", "NAME"}
"""Texts that name no file; the NAME of a data set is what ``--data`` takes."""

VALID = {
    "checkpoint": [str(CHECKPOINT)], "checkpoints": [str(CHECKPOINT)], "subjects": ["run", "run"], "card": ["run"],
    "policy": ["policy.yaml"], "data": ["digits"], "out": ["out.safetensors"], "name": [],
    "run": ["run"], "key": ["key.pem"],
}  # fmt: skip
"""What is given for the parameters that a command requires."""


def drawn(place: str, kinds: int) -> list[tuple[str, Callable[[Path], None]]]:
    """What is tried at a place: one kind in a usual run, all in the slow one; and what a failure says of it."""
    found = random.Random(f"{place} {SEED}").sample(sorted(SPECIAL.items()), kinds)
    return [(f"{kind}, {AGAIN}", make) for kind, make in found]


def commands(group: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


def places() -> Iterator[tuple[tuple[str, ...], Any, str]]:
    """Every parameter that takes a path, with its command and how the path is written."""
    for name, command in commands(typer.main.get_command(app)):
        for parameter in command.params:
            annotation = str(parameter.type_descriptor.annotation)
            if "Path" in annotation:
                yield name, parameter, "{}"
            elif "str" in annotation:
                for template in TEXTS_WITH_PATHS.get(parameter.metavar, ()):
                    yield name, parameter, template


PLACES = {
    f"{' '.join(name)} {parameter.opts[0]} {template}": (name, parameter, template) for name, parameter, template in places()
}


def test_every_text_is_known_to_hold_a_path_or_none() -> None:
    texts = {
        parameter.metavar
        for _, command in commands(typer.main.get_command(app))
        for parameter in command.params
        if "str" in str(parameter.type_descriptor.annotation)
    }
    assert texts == TEXTS_WITH_PATHS.keys() | WORDS


@contextmanager
def at_once(kind: str) -> Iterator[None]:
    """Fails when the block waits for something, or works long; `kind` is what it was tried on."""

    def blocked(*_: object) -> None:
        raise AssertionError(f"{kind}: still waiting after {BLOCKED} s")

    before = signal.signal(signal.SIGALRM, blocked)
    signal.alarm(BLOCKED)
    started = time.process_time()
    try:
        yield
        assert time.process_time() - started < BUSY, kind
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def identity(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return found.st_ino, found.st_mode, found.st_rdev, found.st_mtime_ns


def arguments(command: tuple[str, ...], place: Any, value: str) -> list[str]:
    """A command line in which all is well but the `value` of one parameter."""
    given = {p.name: VALID[p.name] for p in dict(commands(typer.main.get_command(app)))[command].params if p.required}
    given[place.name] = [value, *given.get(place.name, [])[1:]]
    line = list(command)
    for parameter in dict(commands(typer.main.get_command(app)))[command].params:
        for text in given.get(parameter.name, []):
            line += [text] if parameter.param_type_name == "argument" else [parameter.opts[0], text]
    line += {"measure": ["--probes", "accuracy", "--allow-code"], "compare": [], "gate": []}.get(command[0], [])
    if command[0] in ("compare", "gate") and place.name in ("data", "train_data", "arch", "class_map"):
        line += [str(CHECKPOINT)] + (["--data", "digits"] if place.name != "data" else [])
    return line


@pytest.fixture
def stored(run: Command, tmp_path: Path) -> Path:
    store.save_run(tmp_path / "run", store.Run(full(), {}))
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


@pytest.mark.parametrize("kinds", [1, pytest.param(len(SPECIAL), marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", PLACES)
def test_where_a_path_is_given(place: str, kinds: int, run: Command, stored: Path) -> None:
    command, parameter, template = PLACES[place]
    written = "pipe.safetensors" if parameter.metavar == "X.safetensors" else "pipe"
    for kind, make in drawn(place, kinds):
        path = stored / re.sub(r"^.*\{\}([.][a-z]+)?.*$", rf"{written}\1", template)
        make(path)
        before = identity(path)
        with at_once(kind):
            found = run(*arguments(command, parameter, template.format(written, written)))
        assert found.code in (2, 3, 4, 5), f"{kind}: {found}"
        assert found.err.splitlines()[-1].startswith("error["), f"{kind}: {found}"
        assert identity(path) == before, f"{kind}: {found}"
        path.unlink()


# Files that are read by their names inside a folder that was given


def images(folder: Path) -> None:
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / label / "x.png")


def hub(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(CHECKPOINT, folder / "model.safetensors")


def shards(folder: Path) -> None:
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-1.safetensors"}}')
    (folder / "model-1.safetensors").write_bytes(safetensors({}))


def arrays(folder: Path) -> None:
    folder.mkdir()
    for name in ("labels", "fog"):
        np.save(folder / f"{name}.npy", np.zeros((5, 32, 32, 3)[: 1 if name == "labels" else 4], np.uint8))


def measured(folder: Path) -> None:
    store.save_run(folder, store.Run(full(), {"clean": {"correct": np.ones(3, bool)}}))


MEASURE = ("measure", str(CHECKPOINT), "--probes", "accuracy", "--limit", "1", "--data")
INSIDE: dict[str, tuple[Callable[[Path], None], str, tuple[str, ...]]] = {
    "weights": (hub, "model.safetensors", ("inspect", "in")),
    "config": (hub, "config.json", ("inspect", "in")),
    "preprocessor": (hub, "preprocessor_config.json", ("inspect", "in")),
    "index": (shards, "model.safetensors.index.json", ("inspect", "in")),
    "shard": (shards, "model-1.safetensors", ("inspect", "in")),
    "image": (images, "a/x.png", (*MEASURE, "imagefolder:in")),
    "class list": (images, "classes.txt", (*MEASURE, "imagefolder:in")),
    "class": (images, "a", (*MEASURE, "imagefolder:in")),
    "labels": (arrays, "labels.npy", ("data", "cifar10-c:in", "--verify")),
    "corrupted": (arrays, "fog.npy", ("data", "cifar10-c:in", "--verify")),
    "manifest": (arrays, "manifest.json", ("data", "synthetic-c:in")),
    "batch": (arrays, "test_batch.bin", (*MEASURE, "cifar10:in")),
    "archive": (arrays, "cifar10_test.npz", (*MEASURE, "cifar10:in")),
    "mnist": (arrays, "t10k-images-idx3-ubyte", (*MEASURE, "mnist:in")),
    "card": (measured, "report.json", ("show", "in")),
    "predictions": (measured, "predictions.safetensors", ("show", "in")),
    "state": (measured, "state.json", ("show", "in")),
    "timing": (measured, "timing.json", ("show", "in")),
    "lock": (measured, ".lock", (*MEASURE, "digits", "-o", "in")),
    "written card": (measured, "report.json", (*MEASURE, "digits", "-o", "in")),
    "written page": (measured, "report.html", (*MEASURE, "digits", "-o", "in")),
    "project": (hub, "../pyproject.toml", (*MEASURE, "digits")),
}


@pytest.mark.parametrize("kinds", [1, pytest.param(len(SPECIAL), marks=pytest.mark.slow)])
@pytest.mark.parametrize("place", INSIDE)
def test_where_a_file_is_found_inside_a_folder(place: str, kinds: int, run: Command, tmp_path: Path) -> None:
    make_folder, name, line = INSIDE[place]
    for kind, make in drawn(place, kinds):
        make_folder(tmp_path / "in")
        path = Path(os.path.normpath(tmp_path / "in" / name))
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        make(path)
        before = identity(path)
        with at_once(kind):
            found = run(*line)
        assert found.code in (0, 3, 4, 5), f"{kind}: {found}"
        assert identity(path) == before, f"{kind}: {found}"
        path.unlink()
        shutil.rmtree(tmp_path / "in")
