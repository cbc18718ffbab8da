"""What somebody sees who looks at a run in progress, and one that was interrupted."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sharpaudit import audit, store
from tests.cli.conftest import DEMO, Command
from tests.test_survival import interrupt_in, small


def wait_for(doing: str, folder: Path) -> None:
    """Until the heartbeat has written what the run is doing."""
    deadline = time.monotonic() + 60
    while (state := store.state_of(folder)) is None or state.doing != doing:
        assert time.monotonic() < deadline, state
        time.sleep(0.02)


def test_a_run_in_progress_is_shown_and_cannot_be_rendered(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharpaudit.store.claim.HEARTBEAT", 0.1)
    with store.claimed(tmp_path / "run") as claim:
        claim.progress("spectrum\x1b[31m", 0.25)
        wait_for("spectrum\x1b[31m", tmp_path / "run")
        shown = run("show", "run")
        assert shown.code == 0
        assert shown.out.startswith("running: spectrum\\x1b[31m, 25% after ")
        assert "s to go (process" in shown.out
        rendered = run("show", "run", "--format", "html")
        assert rendered.code == 3
        assert "the run is not finished: running: spectrum" in rendered.err
    stopped = run("show", "run")
    assert stopped.code == 3
    assert "the run is not finished: stopped at 25%, in spectrum" in stopped.err
    assert "continues it" in stopped.err
    judged = run("compare", "run", "run")
    assert judged.code == 3 and "the run is not finished" in judged.err


def test_a_partial_card_says_so_first(run: Command, tmp_path: Path) -> None:
    with pytest.raises(audit.Stopped) as stop:
        small(tmp_path / "run", interrupt_in("perturbation"))
    store.save_run(tmp_path / "run", stop.value.run)
    shown = run("show", "run")
    assert shown.code == 0
    assert "This card is incomplete: perturbation was not measured." in " ".join(shown.out.split())


def test_two_runs_in_one_folder(run: Command, tmp_path: Path) -> None:
    with store.claimed(tmp_path / "run"):
        second = run("measure", DEMO / "sam-seed0.safetensors", "--data", "digits", "--probes", "accuracy", "-o", "run")
    assert second.code == 5
    assert "is writing to this run folder" in second.err
