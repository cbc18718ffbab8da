"""How progress is told: a bar for a person, lines for a machine, nothing into a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sharpaudit.cli.progress import lines, progress_bar
from tests.cli.conftest import read_terminal

HOSTILE = "::error::\x1b[31m[/foo]\n##[section]x"
WORK = """
import time
from sharpaudit.cli.progress import progress_bar
with progress_bar("a.pt") as report:
    report("accuracy", 0.5)
    time.sleep(0.3)
print("result")
"""


def test_lines_come_at_their_times_and_begin_with_our_word(capsys: pytest.CaptureFixture[str]) -> None:
    with lines("a.pt", 0.02) as report:
        report("accuracy", 0.25)
        time.sleep(0.03)
        report("spectrum", 0.5)
        time.sleep(0.05)
    told = capsys.readouterr()
    assert told.out == ""
    assert "progress: a.pt: 25% after 0 s, accuracy" in told.err
    assert told.err.splitlines()[-1] == "progress: a.pt: 50% after 0 s, spectrum"


@pytest.mark.parametrize("value", ["true", "1", "TRUE"])
def test_ci_is_told_in_lines(value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CI", value)
    monkeypatch.setattr("sharpaudit.cli.progress.EVERY", 0.01)
    with progress_bar(HOSTILE) as report:
        report(HOSTILE, 0.5)
        time.sleep(0.1)
    told = capsys.readouterr().err.splitlines()
    assert told and all(line.startswith("progress: ") and line.isprintable() for line in told)


@pytest.mark.parametrize("value", ["", "0", "false", None])
def test_a_pipe_is_told_nothing(value: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("CI", raising=False)
    if value is not None:
        monkeypatch.setenv("CI", value)
    monkeypatch.setattr("sharpaudit.cli.progress.EVERY", 0.01)
    with progress_bar("a.pt") as report:
        report("accuracy", 0.5)
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")


def on_a_terminal(tmp_path: Path, **environment: str) -> tuple[str, str]:
    """What work puts into a pipe, and what it shows on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "CI": "", **environment}
    done = subprocess.run(
        [sys.executable, "-c", WORK], stdout=subprocess.PIPE, stderr=theirs, cwd=tmp_path, env=settings, check=True
    )
    os.close(theirs)
    return done.stdout.decode(), read_terminal(ours)


def test_a_person_sees_a_bar_and_the_pipe_only_the_result(tmp_path: Path) -> None:
    out, err = on_a_terminal(tmp_path)
    assert out == "result\n"
    assert "a.pt: accuracy" in err and "━" in err


@pytest.mark.parametrize(("name", "value"), [("CI", "true"), ("TERM", "dumb")])
def test_no_bar_where_none_can_be_drawn(name: str, value: str, tmp_path: Path) -> None:
    assert "\x1b" not in on_a_terminal(tmp_path, **{name: value})[1]


def test_no_color_means_no_colour(tmp_path: Path) -> None:
    coloured, plain = (re.findall(r"\x1b\[[0-9;]*m", on_a_terminal(tmp_path, **env)[1]) for env in ({}, {"NO_COLOR": "1"}))
    colours = re.compile(r"\x1b\[(3[0-79]|38|4[0-79]|9\d)[;\dm]")
    assert any(map(colours.match, coloured)) and not any(map(colours.match, plain))
