"""What a run will cost, and how it keeps within the time it is given."""

from __future__ import annotations

import json

import pytest

from sharpaudit.cli.values import time_in_words
from sharpaudit.cost import UnitCosts
from tests.cli.conftest import DEMO, Command


@pytest.fixture
def arguments() -> list[str]:
    return ["measure", str(DEMO / "sam-seed0.safetensors"), "--data", "digits", "--probes", "accuracy", "--limit", "50"]


def test_dry_run_lists_passes_seconds_and_memory(run: Command, arguments: list[str]) -> None:
    found = run(*arguments, "--dry-run")
    assert found.code == 0
    assert "shared clean views            50           0           0" in found.out
    assert "MiB of memory" in found.out


@pytest.mark.parametrize(
    ("seconds", "probes", "ends"),
    [
        (10.0, "accuracy", "About 10 s, timed"),
        (500.0, "corruption", "About 500 s (8 min), timed"),
        (12_000.0, "corruption", "Shorter: --probes quick.\n"),
        (12_000.0, "accuracy", "MiB of memory.\n"),
    ],
)
def test_a_long_plan_is_told_in_hours_and_of_something_shorter(
    run: Command, monkeypatch: pytest.MonkeyPatch, seconds: float, probes: str, ends: str
) -> None:
    monkeypatch.setattr(UnitCosts, "seconds", lambda self, step, workload: seconds)
    checkpoint = DEMO / "sam-seed0.safetensors"
    found = run("measure", checkpoint, "--data", "digits", "--limit", "50", "--probes", probes, "--dry-run").out
    assert ends in found if "timed" in ends else found.endswith(ends)
    assert ("(3 h 20 min)" in found) == (seconds == 12_000)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.5, "2 min"),
        (2759, "46 min"),
        (5969, "99 min"),
        (5970, "1 h 40 min"),
        (1e6, "277 h 47 min"),
    ],
)
def test_times_are_written_as_a_person_says_them(seconds: float, words: str) -> None:
    assert time_in_words(seconds) == words


def test_dry_run_lists_the_set_up_check_with_the_passes_it_takes_when_all_answers_are_right(
    run: Command, arguments: list[str]
) -> None:
    """The first 50 digits are all right, so no alternative is tried and the least is what an audit counts."""
    planned = json.loads(run(*arguments, "--dry-run", "--json").out)["plan"][0]
    checked = json.loads(run(*arguments, "--json").out)["setup"]
    assert planned["probe"] == "set-up check, least"
    assert planned["passes"]["forward"] == checked["forward"]
    assert "set-up check" not in run(*arguments, "--dry-run", "--no-setup-check").out


def test_a_plan_cut_short_ends_in_six(run: Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnitCosts, "seconds", lambda self, step, workload: 100.0)
    found = run(*arguments, "--max-time", "10s", "-o", "out")
    assert found.code == 6
    assert "not measured: accuracy: left out to keep within the time allowed: it would take about 100 s" in found.err


@pytest.mark.parametrize("text", ["", "0s", "5", "-1m", "1m1h", "1.5h", "forever"])
def test_times_of_another_form_are_refused(run: Command, arguments: list[str], text: str) -> None:
    found = run(*arguments, "--max-time", text)
    assert found.code == 2
    assert "--max-time: expected a time such as 90s, 10m or 1h30m" in found.err
