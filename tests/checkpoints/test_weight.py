"""No file takes more than it weighs: whatever it asks for, it costs seconds and megabytes, runs nothing and ends in a refusal.

The cases are new in every run; the message of a failure says how to make one again.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import heavy
from tests.checkpoints.hostile import entry, safetensors
from tests.cli.conftest import DEMO
from tests.seed import SEED
from tests.weighing import Weight, weigh

COMMANDS = ("inspect", "convert", "measure")


def arguments(command: str, path: Path) -> list[str]:
    out = path.parent / "out"
    more = {"inspect": ["--json"], "convert": ["--allow-inert", "-o", f"{out}.safetensors"]}
    measured = ["--allow-inert", "--data", "digits", "--limit", "2", "--probes", "accuracy", "-o", str(out)]
    return [command, str(path), *more.get(command, measured)]


def size_of(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def problems(kind: str, seed: int, folder: Path, commands: tuple[str, ...]) -> list[str]:
    """What is wrong with the commands on one case."""
    inside = folder / "case"
    inside.mkdir()
    path = heavy.case(kind, seed, inside)
    found = []
    for command in commands:
        weight: Weight = weigh(*arguments(command, path))
        if problem := weight.problem(size_of(path)):
            found.append(f"python -m tests.checkpoints.heavy {kind} {seed} FOLDER, {command}: {problem}")
    shutil.rmtree(folder)
    folder.mkdir()
    return found


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Import in this process what the children would import, each anew."""
    import timm  # noqa: F401
    import torchvision.models  # noqa: F401

    folder = tmp_path_factory.mktemp("warm")
    path = folder / "weights.safetensors"
    shutil.copy(DEMO / "baseline-seed0.safetensors", path)
    for command in COMMANDS:
        with pytest.raises(SystemExit) as left:
            from sharpaudit.cli import main

            main(arguments(command, path))
        assert not left.value.code


@pytest.mark.parametrize("kind", heavy.KINDS)
def test_no_file_takes_more_than_it_weighs(kind: str, tmp_path: Path) -> None:
    command = random.Random(f"{kind} {SEED}").choice(COMMANDS)
    assert not problems(kind, SEED, tmp_path, (command,))


@pytest.mark.parametrize("where", ["checkpoint", "safetensors", "data"])
def test_memory_that_runs_out_while_reading_is_the_machines_fault(where: str, tmp_path: Path) -> None:
    path = tmp_path / {"checkpoint": "weights.pt", "safetensors": "model.safetensors", "data": "images.npz"}[where]
    if where == "data":
        np.savez(path, images=np.zeros((200, 1000, 1000), np.uint8), labels=np.zeros(200, np.int64))
    else:
        path.write_bytes(b"PK\x03\x04" if where == "checkpoint" else safetensors({"w": entry(0, 2**30)}))
        os.truncate(path, 2**30)  # a hole, which takes no room on the disk
    command = ["data", f"npz:{path}"] if where == "data" else ["inspect", str(path)]
    weight = weigh(*command, memory=2**26)
    assert weight.code == 5, weight
    assert "the memory that this process may take ran out" in weight.says


@pytest.mark.slow
@pytest.mark.parametrize(("kinds", "count"), [(heavy.IN_PICKLES, 510), (heavy.IN_HEADERS, 240)], ids=["pickles", "headers"])
def test_no_file_of_hundreds_takes_more_than_it_weighs(kinds: list[str], count: int, tmp_path: Path) -> None:
    found = [
        problem for number in range(count) for problem in problems(kinds[number % len(kinds)], SEED + number, tmp_path, COMMANDS)
    ]
    assert not found, f"{len(found)} of {3 * count} commands\n" + "\n".join(found[:30])
