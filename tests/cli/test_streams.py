"""What a terminal is shown, and what a pipe."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sharpaudit import store
from tests.cli.conftest import read_terminal
from tests.report import cards

COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(folder: Path, **environment: str) -> str:
    """`show run` on a pseudo-terminal."""
    store.save_run(folder / "run", store.Run(cards.full(), {}))
    ours, theirs = pty.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": "", **environment}
    command = [sys.executable, "-m", "sharpaudit", "show", "run"]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=folder, env=settings)
    os.close(theirs)
    seen = read_terminal(ours)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0
    return seen.replace("\r\n", "\n")


def widest(text: str) -> int:
    return max(map(len, COLOUR.sub("", text).splitlines()))


@pytest.mark.parametrize(("columns", "most"), [("20", 20), ("3", 20), ("64", 64), ("500", 100)])
def test_a_card_fits_the_terminal(columns: str, most: int, tmp_path: Path) -> None:
    text = shown(tmp_path, COLUMNS=columns)
    assert most * 0.8 < widest(text) <= most
    assert "Right on" in COLOUR.sub("", text)


def test_a_terminal_has_colours_where_they_are_wanted(tmp_path: Path) -> None:
    assert COLOUR.search(shown(tmp_path))
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": ""}):
        assert "\x1b" not in shown(tmp_path, **environment)


def test_a_pipe_has_eighty_plain_columns(tmp_path: Path) -> None:
    store.save_run(tmp_path / "run", store.Run(cards.full(), {}))
    settings = {**os.environ, "COLUMNS": "20", "TERM": "xterm-256color", "FORCE_COLOR": "1"}
    command = [sys.executable, "-m", "sharpaudit", "show", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=settings, check=True)
    assert "\x1b" not in done.stdout
    assert 70 < widest(done.stdout) <= 80
