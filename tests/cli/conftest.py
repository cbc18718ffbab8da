"""The command line as a user runs it: arguments in; exit code, stdout and stderr out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import sharpaudit
from sharpaudit.cli import main

DEMO = Path(sharpaudit.__file__).parent / "demo"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Command = Callable[..., Result]


def read_terminal(ours: int) -> str:
    """Everything that was written to the other end of a pseudo-terminal, which is then closed."""
    seen = b""
    try:
        while block := os.read(ours, 65536):
            seen += block
    except OSError:  # what Linux says when the other end is closed
        pass
    os.close(ours)
    return seen.decode()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str | Path) -> Result:
        with pytest.raises(SystemExit) as leave:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(leave.value.code, int)
        return Result(leave.value.code, captured.out, captured.err)

    return command
