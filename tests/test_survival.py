"""A run that is killed, terminated, out of disk or torn loses at most one probe, and ends in the same bytes."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sharpaudit import audit, store
from sharpaudit.card import codec
from tests.cli.conftest import DEMO

PROBES = "accuracy,calibration,corruption,fisher_rao,perturbation,relative_flatness,spectrum"
OPTIONS: dict[str, dict[str, Any]] = {
    "perturbation": {"draws": 10, "paper_draws": 4},
    "corruption": {"severities": (3,), "samples": 300},
    "spectrum": {"max_iterations": 40, "trace_probes": 4},
}
COMMAND = [
    *(sys.executable, "-m", "sharpaudit", "measure", str(DEMO / "sam-seed0.safetensors"), "--data", "digits"),
    *("--train-data", "digits:train", "--probes", PROBES),
    *(f"--set={p}.{o}={v[0] if isinstance(v, tuple) else v}" for p, named in OPTIONS.items() for o, v in named.items()),
]


def begin(folder: Path, **settings: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, "-o", str(folder)], **{**pipes, **settings})


def finish(folder: Path) -> str:
    """Run to the end, and the canonical card."""
    with begin(folder) as process:
        _, complaint = process.communicate()
    assert process.returncode == 0, complaint
    return codec.canonical(store.load_run(folder).card)


def finished_probes(folder: Path) -> set[str]:
    return {path.name.rpartition("-")[0] for path in (folder / "parts").glob("*.json")}


def reused(folder: Path) -> set[str]:
    timing = store.load_run(folder).card.timing
    assert timing is not None
    return set(timing.reused)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, float]]:
    started = time.monotonic()
    yield finish(tmp_path_factory.mktemp("whole") / "run"), time.monotonic() - started


@pytest.mark.slow
def test_killed_at_thirty_moments(tmp_path: Path, uninterrupted: tuple[str, float]) -> None:
    whole, seconds = uninterrupted
    moments = random.Random(0)  # half of them anywhere, half around the end of a probe: most of the time is the last one's
    caught = []
    for number in range(30):
        folder = tmp_path / str(number)
        with begin(folder) as process:
            if number % 2:
                time.sleep(seconds * moments.random())
            else:
                while len(finished_probes(folder)) < number // 2 % len(PROBES.split(",")):
                    time.sleep(0.001)
                time.sleep(0.02 * moments.random())
            process.kill()
        kept = finished_probes(folder)
        caught.append(len(kept))
        assert finish(folder) == whole
        assert reused(folder) >= kept, "what was finished is not run again"
    print(f"probes finished when killed: {sorted(caught)}")
    assert len(set(caught)) > 3, "the moments are spread over the run"


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_a_partial_card_and_the_command_that_continues(
    tmp_path: Path, uninterrupted: tuple[str, float], stop: signal.Signals, code: int
) -> None:
    folder = tmp_path / "run"
    with begin(folder, preexec_fn=partial(signal.signal, stop, signal.SIG_DFL)) as process:  # a background job ignores SIGINT
        while len(finished_probes(folder)) < 2:
            time.sleep(0.02)
        process.send_signal(stop)
        _, complaint = process.communicate()
    assert process.returncode == code
    assert f"to continue: sharpaudit measure {DEMO / 'sam-seed0.safetensors'}" in complaint
    assert "Traceback" not in complaint
    interrupted = store.load_run(folder).card
    assert 0 < len(interrupted.incomplete) < len(PROBES.split(","))
    assert all(interrupted.probes[name].reason == "the audit was interrupted" for name in interrupted.incomplete)
    assert interrupted.measured("clean.accuracy")
    assert finish(folder) == uninterrupted[0]


@pytest.mark.slow
def test_a_full_disk_ends_in_five_and_keeps_what_was_finished(tmp_path: Path, uninterrupted: tuple[str, float]) -> None:
    folder = tmp_path / "run"

    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    with begin(folder, preexec_fn=no_large_files) as process:
        _, complaint = process.communicate()
    assert process.returncode == 5
    assert "cannot write: File too large" in complaint
    assert finished_probes(folder)
    assert not list(folder.glob(".report*")) + list((folder / "parts").glob(".*")), "no temporary files are left"
    assert finish(folder) == uninterrupted[0]


def small(folder: Path | None = None, on_progress: Callable[[str, float], None] = lambda doing, fraction: None) -> store.Run:
    request = audit.Request(
        checkpoint=DEMO / "sam-seed0.safetensors",
        data="digits",
        train_data="digits:train",
        probes="accuracy,calibration,relative_flatness,perturbation",
        options={"perturbation": OPTIONS["perturbation"]},
    )
    return audit.run(audit.prepare(request), on_progress, folder)


def interrupt_in(probe: str) -> Callable[[str, float], None]:
    def interrupt(doing: str, _: float) -> None:
        if doing == probe:
            raise KeyboardInterrupt

    return interrupt


@pytest.mark.parametrize("probe", ["accuracy", "calibration", "relative_flatness", "perturbation"])
def test_continuing_ends_in_the_same_bytes(tmp_path: Path, probe: str) -> None:
    whole = small()
    with pytest.raises(audit.Stopped) as stop:
        small(tmp_path, interrupt_in(probe))
    assert probe in stop.value.run.card.incomplete
    continued = small(tmp_path)
    assert codec.canonical(continued.card) == codec.canonical(whole.card)
    assert {view: sorted(named) for view, named in continued.columns.items()} == {
        view: sorted(named) for view, named in whole.columns.items()
    }
    for view, named in whole.columns.items():
        assert all((named[name] == continued.columns[view][name]).all() for name in named)


def test_a_finished_run_runs_nothing_again_and_other_options_run_their_probe(tmp_path: Path) -> None:
    small(tmp_path)
    again = small(tmp_path).card.timing
    assert again is not None
    assert len(again.reused) == 4


def test_a_torn_last_write_is_measured_again(tmp_path: Path) -> None:
    whole = codec.canonical(small(tmp_path).card)
    newest = max((tmp_path / "parts").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    continued = small(tmp_path).card
    assert codec.canonical(continued) == whole
    assert continued.timing is not None and len(continued.timing.reused) == 3


@pytest.mark.slow
def test_of_two_simultaneous_runs_exactly_one_works(tmp_path: Path, uninterrupted: tuple[str, float]) -> None:
    for number in range(20):
        folder = tmp_path / str(number)
        with begin(folder) as first, begin(folder) as second:
            complaints = {process: process.communicate()[1] for process in (first, second)}
        assert sorted(process.returncode for process in complaints) == [0, 5]
        (refused,) = (process for process in complaints if process.returncode == 5)
        (worked,) = (process for process in complaints if process.returncode == 0)
        assert f"process {worked.pid}, at work for" in complaints[refused]
        assert codec.canonical(store.load_run(folder).card) == uninterrupted[0]


def test_a_partial_card_reads_back(tmp_path: Path) -> None:
    with pytest.raises(audit.Stopped) as stop:
        small(tmp_path, interrupt_in("perturbation"))
    document = json.loads(codec.encode(stop.value.run.card))
    assert document["incomplete"] == ["perturbation"]
    assert codec.decode(json.dumps(document), source="card").incomplete == ["perturbation"]
