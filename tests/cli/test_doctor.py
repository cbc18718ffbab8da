"""What `doctor` finds on a sound machine and on broken ones, and shell completion."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from sharpaudit.cli.doctor import folders, installed, requirements
from tests.cli.conftest import Command

Findings = dict[str, dict[str, str | None]]


def findings(run: Command, code: int = 0) -> Findings:
    result = run("doctor", "--json")
    document = json.loads(result.out)
    found = {finding["name"]: finding for finding in document["findings"]}
    assert (result.code, document["broken"]) == (code, [name for name, each in found.items() if each["problem"]])
    return found


def test_a_sound_machine(run: Command, tmp_path: Path) -> None:
    found = findings(run)
    assert found["torch"]["value"] == metadata.version("torch")
    assert {
        "sharpaudit",
        "python",
        "timm",
        "cpu",
        "cpu probes",
        "cpu product",
        "threads",
        "memory",
        "data digits",
        "data not found",
        "extra [dev]",
    } <= set(found)
    assert str(found["current folder"]["value"]).startswith(str(tmp_path))
    shown = run("doctor").out
    assert f"torch                 {metadata.version('torch')}\n" in shown
    assert shown.endswith("\nNothing is broken.\n")


def test_requirements_are_those_of_the_metadata() -> None:
    found = {name: (least, extra) for name, least, extra in requirements()}
    assert found["torch"] == ("2.10", None) and found["nox"][1] == "dev"
    assert all(installed(name) for name, (_, extra) in found.items() if extra is None)
    assert installed("no-such-package-here") is None


def test_folders_and_variables_that_are_wrong(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPAUDIT_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setenv("SHARPAUDIT_SED", "1")
    found = findings(run, 5)
    assert found["data searched in"]["problem"] == "not a folder: correct SHARPAUDIT_DATA"
    assert found["environment"]["problem"] == "unknown variable SHARPAUDIT_SED; did you mean SHARPAUDIT_SEED?"
    shown = run("doctor")
    assert (shown.code, shown.err) == (5, "")
    assert "! not a folder" in shown.out and shown.out.endswith("\n2 broken\n")


def test_packages_that_are_old_absent_or_broken(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.13: \\x1b[31mno such file')\n")
    for name, version in (("timm", "0.9.2"), ("numpy", "2.10.0rc1")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sharpaudit", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stderr) == (5, "")
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["torch"]["problem"] == "cannot be imported: OSError: libcudart.so.13: \\x1b[31mno such file"
    assert found["timm"]["problem"] == "1.0.20 or newer is needed: pip install -U 'timm>=1.0.20'"
    assert found["numpy"]["problem"] is None, "2.10 is newer than 2.0"


def test_a_package_that_is_not_there(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["nowhere-to-be-found>=1.2", "ray>=2; extra == 'ray'"])
    found = findings(run, 5)
    assert found["nowhere-to-be-found"]["problem"] == "not installed: pip install 'nowhere-to-be-found>=1.2'"
    assert found["extra [ray]"]["value"] in ("not installed: ray", "installed")


def test_a_current_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert next(folders()).problem == "cannot be written: No such file or directory"


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=2**20))
    assert [finding.problem for finding in folders()] == ["less than 256 MiB free"] * 2


def test_a_device_that_cannot_compute(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr("torch.nn.functional.conv2d", broken)
    assert str(findings(run, 5)["cpu"]["problem"]).startswith("cannot compute: no kernel image is available")


def test_completion_is_printed_and_installed_without_torch(tmp_path: Path) -> None:
    def sharpaudit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        code = (
            f"import sys; from sharpaudit.cli import main\ntry: main({list(arguments)!r})\n"
            "finally: print(sorted({'torch', 'timm', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)), file=sys.stderr)"
        )
        undetected = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}  # pytest may have been started by no shell
        settings = {**os.environ, **undetected, "HOME": str(tmp_path), **environment}
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=settings, check=True)

    def completed(words: str) -> list[str]:
        asked = sharpaudit(_SHARPAUDIT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
        assert asked.stderr == "[]\n"
        return asked.stdout.split()

    for shell in ("bash", "zsh", "fish"):
        shown = sharpaudit("--show-completion", shell)
        assert "_SHARPAUDIT_COMPLETE" in shown.stdout and shown.stderr == "[]\n"
    assert sharpaudit("--install-completion", "bash").stderr == "[]\n"
    assert "_SHARPAUDIT_COMPLETE" in (tmp_path / ".bash_completions" / "sharpaudit.sh").read_text()
    assert completed("sharpaudit mea") == ["measure"]
    assert completed("sharpaudit measure --prec") == ["--precision"]
    assert completed("sharpaudit policy in") == ["init"]
