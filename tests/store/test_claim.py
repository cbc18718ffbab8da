"""One process writes to a run folder at a time; the dead hold nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sharpaudit import store
from sharpaudit.errors import CardError, EnvironmentFailure
from sharpaudit.store import claim as module

HOLD = """
import sys, time
from pathlib import Path
from sharpaudit import store
with store.claimed(Path(sys.argv[1])) as claim:
    claim.progress("spectrum", 0.5)
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `folder`, killed at the end."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def pretend(folder: Path, **holder: Any) -> None:
    """A lock file left behind by somebody."""
    folder.mkdir(exist_ok=True)
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time() - 100, **holder}
    (folder / module.LOCK).write_text(json.dumps(holder))


def test_a_second_process_is_refused_with_pid_and_age_until_the_first_is_dead(tmp_path: Path) -> None:
    with holder(tmp_path) as first, pytest.raises(EnvironmentFailure, match=rf"process {first.pid}, at work for \d+ s, is"):
        store.claimed(tmp_path).__enter__()
    with store.claimed(tmp_path):
        pass


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with store.claimed(tmp_path), pytest.raises(EnvironmentFailure, match=f"process {os.getpid()}"):
        store.claimed(tmp_path).__enter__()


def test_a_reused_pid_does_not_hold_a_lock_that_the_kernel_has_released(tmp_path: Path) -> None:
    pretend(tmp_path)
    with store.claimed(tmp_path):
        pass


def test_another_machine_holds_it_while_it_shows_signs_of_life(tmp_path: Path) -> None:
    pretend(tmp_path, host="elsewhere\x1b[31m", pid=7)
    with pytest.raises(EnvironmentFailure, match=r"process 7 on elsewhere\\x1b\[31m, at work for 10\d s,"):
        store.claimed(tmp_path).__enter__()
    long_ago = time.time() - module.STALE - 1
    os.utime(tmp_path / module.LOCK, (long_ago, long_ago))
    with store.claimed(tmp_path):
        pass


@pytest.mark.parametrize("pid", [os.getpid(), 1], ids=["ours", "not ours to signal"])
def test_without_kernel_locks_signs_of_life_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    pretend(tmp_path, pid=pid)
    with pytest.raises(EnvironmentFailure, match=f"process {pid}, at work"):
        store.claimed(tmp_path).__enter__()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    pretend(tmp_path, pid=ended.pid)
    with store.claimed(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x", "host": 1, "since": null}'])
def test_a_lock_file_that_names_nobody_holds_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / module.LOCK).write_text(content)
    with store.claimed(tmp_path):
        pass


def test_the_state_is_there_to_be_looked_at(tmp_path: Path) -> None:
    assert store.state_of(tmp_path) is None
    with holder(tmp_path) as first:
        deadline = time.monotonic() + 10
        while (state := store.state_of(tmp_path)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert state is not None
        assert (state.running, state.pid) == (True, first.pid)
    state = store.state_of(tmp_path)
    assert state is not None
    assert not state.running, "its process is gone"
    with store.claimed(tmp_path) as claim:
        claim.progress("spectrum", 0.5)
    state = store.state_of(tmp_path)
    assert state is not None
    assert (state.doing, state.fraction, state.running) == ("spectrum", 0.5, False)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"doing": "x"}', "[" * 100_000])
def test_a_damaged_state_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / module.STATE).write_text(content)
    with pytest.raises(CardError, match="the state of the run cannot be read"):
        store.state_of(tmp_path)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFailure, match=r"expected a folder, got something else .*/file/run "):
        store.claimed(tmp_path / "file" / "run").__enter__()


def test_a_full_disk_does_not_end_the_run_from_the_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    with store.claimed(tmp_path):
        monkeypatch.setattr("os.fsync", no_space)
