"""Ctrl-C at any moment gives 130: while the program is imported, while it works, and while it leaves."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import DEMO
from tests.seed import AGAIN, SEED

CHECKPOINT = str(DEMO / "baseline-seed0.safetensors")
COMMANDS = {
    "version": ["--version"],
    "inspect": ["inspect", CHECKPOINT],
    "measure": ["measure", CHECKPOINT, "--data", "digits", "--probes", "accuracy", "-o", "run"],
}


def ended(command: list[str], folder: Path, after: float) -> tuple[int, float, bool, str]:
    """The command interrupted `after` so many seconds: its exit code, how long it ran, whether it still did, and what it said."""
    code = "import sys; from sharpaudit.__main__ import run; print(file=sys.stderr, flush=True); run()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background job ignores it
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # Python itself has started: what comes before is not ours
        started, running = time.monotonic(), False
        try:
            process.wait(after)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            running = True
        _, errors = process.communicate(timeout=60)
        return process.returncode, time.monotonic() - started, running, errors


@pytest.mark.parametrize(
    ("command", "tries"),
    [("version", 2), ("inspect", 1), *(pytest.param(command, 40, marks=pytest.mark.slow) for command in COMMANDS)],
)
def test_ctrl_c_at_any_moment(command: str, tries: int, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    code, whole, _, errors = ended(COMMANDS[command], tmp_path / "whole", 120)
    assert code == 0, errors
    codes = []
    moments = random.Random(f"{command} {SEED}")
    for number in range(tries):
        folder = tmp_path / str(number)
        folder.mkdir()
        after = moments.uniform(0, whole)
        code, seconds, running, errors = ended(COMMANDS[command], folder, after)
        codes.append(code)
        # by the end of Python's own leaving the signal is as deadly as the system makes it, which a shell calls 130 too
        done = code == 0 and (seconds > 0.5 * whole or not running) and "interrupted" not in errors
        assert code in (130, -signal.SIGINT) or done, f"{code} after {after:.3f} of {whole:.3f} s, {AGAIN}: {errors}"
        assert "Traceback" not in errors, f"after {after:.3f} of {whole:.3f} s, {AGAIN}: {errors}"
    assert tries < 10 or codes.count(0) < tries / 2, AGAIN
