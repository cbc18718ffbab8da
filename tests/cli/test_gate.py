"""`gate` on checkpoints and on runs, and what it tells a CI runner."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import DEMO, Command

POLICY = "schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.5}]\n"
BASELINE, SAM = DEMO / "baseline-seed0.safetensors", DEMO / "sam-seed0.safetensors"


@pytest.fixture
def policy(tmp_path: Path) -> str:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "strict.yaml").write_text(POLICY.replace("0.5", "0.999").replace("}", ", why: '::error::x'}"))
    return "policy.yaml"


def test_a_checkpoint_is_audited_first_and_the_second_time_found(run: Command, policy: str, tmp_path: Path) -> None:
    audit = ("--data", "digits", "--probes", "accuracy")
    first = run("gate", SAM, "--policy", policy, "--baseline", BASELINE, *audit)
    assert first.code == 0
    assert first.out.startswith("sam-seed0.safetensors: passed")
    stored = {path: path.stat().st_mtime_ns for path in tmp_path.glob("sharpaudit-runs/*/parts/*.json")}
    assert len(stored) == 2
    assert run("gate", SAM, "--policy", policy, *audit).code == 0
    assert {path: path.stat().st_mtime_ns for path in stored} == stored, "nothing was measured again"


def test_a_checkpoint_needs_data(run: Command, policy: str) -> None:
    found = run("gate", SAM, "--policy", policy)
    assert found.code == 2
    assert "auditing a checkpoint needs --data" in found.err


def test_what_is_not_there_is_named(run: Command, policy: str) -> None:
    found = run("gate", "nowhere", "--policy", policy)
    assert found.code == 3
    assert "there is no such run or checkpoint - nowhere" in found.err


def test_annotations_go_to_stderr_on_github_alone(run: Command, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("gate", SAM, "--policy", "strict.yaml", "--data", "digits", "--probes", "accuracy")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    found = run(*arguments)
    assert found.code == 1
    (line,) = [line for line in found.err.splitlines() if line.startswith("::")]
    assert line.startswith("::error title=sharpaudit gate%3A sam-seed0.safetensors::clean.accuracy: 0.9")
    assert not [line for line in found.out.splitlines() if line.startswith(("::", "##"))]
    monkeypatch.delenv("GITHUB_ACTIONS")
    assert "::error title" not in run(*arguments).err


def test_no_command_reads_a_run_that_was_edited(run: Command, policy: str, tmp_path: Path) -> None:
    assert run("measure", SAM, "--data", "digits", "--probes", "accuracy", "--limit", "40", "-o", "run").code == 0
    assert run("measure", BASELINE, "--data", "digits", "--probes", "accuracy", "--limit", "40", "-o", "other").code == 0
    card, arrays = tmp_path / "run" / "report.json", tmp_path / "run" / "predictions.safetensors"
    commands = (
        ["gate", "run", "--policy", policy],
        ["gate", "other", "--policy", policy, "--baseline", "run"],
        ["compare", "run", "other"],
        ["show", "run"],
    )
    assert [run(*command).code for command in commands] == [0, 0, 0, 0]
    text, data = card.read_text(), arrays.read_bytes()
    card.write_text("\n".join(line for line in text.splitlines() if not line.startswith('  "digest"')))
    assert [run(*command).code for command in commands] == [3, 3, 3, 3], "no digest"
    card.write_text(text)
    flipped = bytearray(data)
    flipped[-100] ^= 1
    for content in (bytes(flipped), (tmp_path / "other" / "predictions.safetensors").read_bytes()):
        arrays.write_bytes(content)
        found = [run(*command) for command in commands]
        assert [each.code for each in found] == [3, 3, 3, 3]
        assert all("the stored predictions were edited or belong to another card" in each.err for each in found)


def test_a_card_of_version_1_0_is_shown_and_passes_no_gate(run: Command, policy: str) -> None:
    old = Path(__file__).parents[1] / "card" / "card-1.0.json"
    assert run("show", old).code == 0
    found = run("gate", old, "--policy", policy)
    assert found.code == 3 and "cards of version 1.0 do not seal their predictions and pass no gate" in found.err


def test_a_card_alone_is_judged_and_said_to_be_unproven(run: Command, policy: str, tmp_path: Path) -> None:
    assert run("measure", SAM, "--data", "digits", "--probes", "accuracy", "--limit", "40", "-o", "run").code == 0
    (tmp_path / "alone.json").write_bytes((tmp_path / "run" / "report.json").read_bytes())
    found = run("gate", "alone.json", "--policy", policy)
    assert found.code == 0 and "note: no predictions lie beside the card: none of its numbers was computed again" in found.out
    assert "note:" not in run("gate", "run", "--policy", policy).out
