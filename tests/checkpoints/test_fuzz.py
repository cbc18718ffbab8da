"""However the structure of a file is spoiled, it is loaded or refused: no other exception, nothing slow, nothing large.

5,000 cases in a usual run; ``SHARPAUDIT_FUZZ=100000`` (``nox -s fuzz``) makes as many as it says.
"""

from __future__ import annotations

import os
import resource
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sharpaudit.checkpoints import load
from sharpaudit.checkpoints.conversion import convert
from sharpaudit.checkpoints.inspection import inspect
from sharpaudit.data import open_images
from sharpaudit.errors import ExitCode, SharpauditError
from tests.checkpoints.fuzz import KINDS, case

CASES = int(os.environ.get("SHARPAUDIT_FUZZ", "5000")) // len(KINDS)
SECONDS = 5
"""Of processor time, for one file."""
MEMORY = 4 * 2**30
"""Above what the process has taken, so that a claim which is believed ends in a MemoryError."""


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 2**22
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def converted(path: Path) -> None:
    """What is converted is a file that the safetensors library reads."""
    target = path.parent / "converted.safetensors"
    target.unlink(missing_ok=True)
    (path.parent / "converted.manifest.json").unlink(missing_ok=True)
    count = convert(path, target, allow_inert=True)["num_tensors"]
    assert len(load_file(target)) == count


def outcome(kind: str, path: Path, seed: int) -> str:
    """``accepted``, or the class of the refusal."""
    try:
        if kind == "npz":
            open_images(f"npz:{path}")
        elif seed % 8 == 0:
            inspect(path)
        elif seed % 8 in (2, 4, 5):
            converted(path)
        load(path, architecture="zoo:digits_cnn" if seed % 4 else None, allow_inert=bool(seed % 2))
    except SharpauditError as error:
        assert error.exit_code in (ExitCode.INPUT, ExitCode.UNSAFE, ExitCode.USAGE), error
        assert str(error).isprintable()
        return type(error).__name__
    return "accepted"


@pytest.mark.parametrize("kind", KINDS)
def test_every_spoiled_file_is_loaded_or_refused(kind: str, tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    broken = []
    for seed in range(CASES):
        path = case(kind, seed, tmp_path)
        start = time.process_time()
        try:
            found[outcome(kind, path, seed)] += 1
        except Exception:
            broken.append(f"{kind} {seed}: {traceback.format_exc()}")
        if time.process_time() - start > SECONDS:
            broken.append(f"{kind} {seed}: {time.process_time() - start:.1f} s")
    assert not broken, f"{len(broken)} of {CASES}\n" + "\n".join(broken[:20])
    assert found.total() == CASES
    assert len(found) > 1, found


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_makes_the_same_bytes(kind: str, tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        path = case(kind, 1, tmp_path)
        return {file.name: file.read_bytes() for file in ([path] if path.is_file() else sorted(path.iterdir()))}

    assert content() == content()
