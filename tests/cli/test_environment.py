"""Another clock, locale, hash seed or number of threads changes no number; nothing about the user is written anywhere."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sharpaudit import store
from sharpaudit.card import codec
from sharpaudit.cli.app import command_names
from tests.cli.conftest import DEMO, Command

BASELINE = DEMO / "baseline-seed0.safetensors"
QUICK = ["--data", "digits", "--train-data", "digits:train", "--probes", "quick", "--set", "perturbation.draws=4"]

ELSEWHERE: dict[str, tuple[list[str], dict[str, str]]] = {
    "without asserts": (["-O"], {}),
    "another hash seed": ([], {"PYTHONHASHSEED": "12345"}),
    "Turkish": ([], {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    "two threads": ([], {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}),
    "another time zone": ([], {"TZ": "Pacific/Kiritimati"}),
}
TOGETHER = (["-O"], {name: value for _, settings in ELSEWHERE.values() for name, value in settings.items()})


def canonical_card(folder: Path, flags: list[str], settings: dict[str, str]) -> str:
    """The card of an audit in a process of its own."""
    command = [sys.executable, *flags, "-m", "sharpaudit", "measure", str(BASELINE), *QUICK, "-o", str(folder)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", **settings}
    subprocess.run(command, capture_output=True, env=environment, check=True)
    return codec.canonical(store.load_run(folder).card)


def test_e19_everything_else_at_once_gives_the_same_bytes(tmp_path: Path) -> None:
    assert canonical_card(tmp_path / "here", [], {}) == canonical_card(tmp_path / "there", *TOGETHER)


@pytest.mark.slow
@pytest.mark.parametrize("name", ELSEWHERE)
def test_e19_one_thing_at_a_time(name: str, tmp_path: Path) -> None:
    assert canonical_card(tmp_path / "here", [], {}) == canonical_card(tmp_path / "there", *ELSEWHERE[name])


def test_e11_a_clock_that_jumps(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter(range(2**32, 0, -(10**5)))  # far beyond 2038, and a day back with each look
    monkeypatch.setattr(time, "time", lambda: float(next(readings)))
    card = json.loads(run("measure", BASELINE, "--data", "digits", "--probes", "accuracy", "-o", "run", "--json").out)
    timing = card["timing"]
    assert timing["seconds"] >= 0 and all(seconds >= 0 for seconds in timing["probe_seconds"].values())
    assert timing["started"].endswith("+00:00")
    state = json.loads((tmp_path / "run" / "state.json").read_text())
    assert state["seconds"] >= 0


def test_e20_a_defect_leaves_a_file_with_the_traceback_and_no_values(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_: object) -> None:
        canary = "value-of-a-local-7731"
        raise ZeroDivisionError(len(canary))

    monkeypatch.setattr("sharpaudit.store.load_run", defect)
    result = run("show", "anything", "--format", "json")
    assert (result.code, result.out, result.err.count("\n")) == (70, "", 1)
    crash = Path(result.err.split(" - ")[1])
    try:
        text = crash.read_text()
        assert "Traceback" in text and "ZeroDivisionError: 21" in text
        assert "value-of-a-local-7731" not in text
        assert stat.S_IMODE(crash.stat().st_mode) == 0o600
    finally:
        crash.unlink()


def test_e20_without_a_place_for_the_file(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_: object) -> None:
        raise ZeroDivisionError

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sharpaudit.store.load_run", defect)
    monkeypatch.setattr("tempfile.mkstemp", full)
    result = run("show", "anything")
    assert result.code == 70
    assert "no crash file: No space left on device; set TMPDIR" in result.err and result.err.count("\n") == 1


CANARIES = {
    "USER": "canary-user-7731",
    "LOGNAME": "canary-login-7731",
    "HOME": "/canary-home-7731",
    "API_TOKEN": "canary-token-7731",
}
HOST, FOLDER = "canary-host-7731", "canary-folder-7731"


def test_nothing_about_user_host_or_folders_is_written(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CANARIES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setattr("platform.node", lambda: HOST)
    private = tmp_path / FOLDER
    private.mkdir()
    shutil.copy(BASELINE, private / "net.safetensors")
    rng = np.random.default_rng(0)
    np.savez(private / "test.npz", images=rng.integers(0, 256, (20, 8, 8), dtype=np.uint8), labels=np.arange(20) % 10)
    (private / "net.py").write_text("from sharpaudit.checkpoints.zoo import ENTRIES\nmake = ENTRIES['digits_cnn'].build\n")
    (private / "audit.yaml").write_text(f"data: npz:{private}/test.npz\nprobes: accuracy\n")
    (private / "policy.yaml").write_text(
        "schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.01, test: point}]\n"
    )
    command = ["measure", private / "net.safetensors", "--config", private / "audit.yaml", "--arch", f"{private}/net.py:make"]
    out = tmp_path / "out"
    told = [run(*command, "--allow-code", "-o", out / name, "--json") for name in ("a", "b")]
    assert [each.code for each in told] == [0, 0], told[0].err
    told.append(run("compare", out / "a", out / "b", "-o", out / "both", "--json"))
    sinks = [f"--format={kind}={out / kind}" for kind in ("junit", "sarif", "gitlab", "github")]
    told.append(run("gate", out / "a", "--policy", private / "policy.yaml", *sinks, "--json"))
    told += [run("show", out / "a", "--format", kind) for kind in ("terminal", "md", "html", "json", "csv", "hf-card")]
    assert [each.code for each in told] == [0] * len(told), [each.err for each in told]
    written = {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert len(written) > 12
    written |= {f"stdout {number}": each.out.encode() for number, each in enumerate(told)}
    for place, content in written.items():
        for canary in (*CANARIES.values(), HOST, FOLDER, str(tmp_path)):
            assert canary.encode() not in content, f"{canary} in {place}"


def test_help_costs_little_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from sharpaudit.cli import main\n"
        "for arguments in ARGUMENTS:\n"
        "    try: main([*arguments, '--help'])\n"
        "    except SystemExit as leave: assert leave.code == 0, arguments\n"
        "print(sorted({'torch', 'timm', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    )
    commands = [[], *([name] for name in command_names()), ["policy", "init"], ["policy", "check"], ["config", "show"]]
    done = subprocess.run([sys.executable, "-c", f"ARGUMENTS = {commands!r}\n{code}"], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "sharpaudit", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6, "seconds of processor time"
