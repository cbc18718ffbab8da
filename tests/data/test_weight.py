"""No data take more than they weigh: whatever they declare, they cost seconds and megabytes, run nothing and end in a refusal.

The cases are new in every run; the message of a failure says how to make one again.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import DEMO
from tests.data import heavy
from tests.seed import SEED
from tests.weighing import weigh

COMMANDS = ("data", "verify", "measure")


def arguments(command: str, spec: str, folder: Path) -> list[str]:
    if command == "measure":
        checkpoint, out = DEMO / "baseline-seed0.safetensors", folder / "out"
        given = ["--limit", "1", "--probes", "accuracy", "--on-bad-sample", "skip", "--no-setup-check", "-o", str(out)]
        return ["measure", str(checkpoint), "--data", spec, *given]
    return ["data", spec, *{"data": ["--json"], "verify": ["--verify"]}[command]]


def size_of(folder: Path) -> int:
    """Of all files, each once however many links lead to it."""
    files = {(status.st_dev, status.st_ino): status.st_size for path in folder.rglob("*") for status in [os.lstat(path)]}
    return sum(files.values())


def problems(kind: str, seed: int, folder: Path, commands: tuple[str, ...]) -> list[str]:
    """What is wrong with the commands on one case."""
    inside = folder / "case"
    inside.mkdir()
    spec = heavy.case(kind, seed, inside)
    found = []
    for command in commands:
        weight = weigh(*arguments(command, spec, folder))
        if problem := weight.problem(size_of(inside)):
            found.append(f"python -m tests.data.heavy {kind} {seed} FOLDER, {command} of {size_of(inside):,} bytes: {problem}")
    if (inside / "ran").exists():
        found.append(f"{kind} {seed}: something was run")
    shutil.rmtree(folder)
    folder.mkdir()
    return found


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import in this process what the children would import, each anew."""
    from sharpaudit.cli import main

    for command in COMMANDS:
        with pytest.raises(SystemExit) as left:
            main(arguments(command, "digits", tmp_path_factory.mktemp("warm")))
        assert not left.value.code


@pytest.mark.parametrize("kind", heavy.KINDS)
def test_no_data_take_more_than_they_weigh(kind: str, tmp_path: Path) -> None:
    command = random.Random(f"{kind} {SEED}").choice(COMMANDS)
    assert not problems(kind, SEED, tmp_path, (command,))


@pytest.mark.slow
def test_no_data_of_hundreds_take_more_than_they_weigh(tmp_path: Path) -> None:
    kinds = list(heavy.KINDS)
    found = [
        problem for number in range(330) for problem in problems(kinds[number % len(kinds)], SEED + number, tmp_path, COMMANDS)
    ]
    assert not found, f"{len(found)} of {3 * 330} commands\n" + "\n".join(found[:30])
