"""The commands do what the README says, on the bundled checkpoints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sharpaudit import probes
from sharpaudit.cli.app import command_named, command_names
from tests.cli.conftest import DEMO, Command

BASELINE, AUGMENTED = DEMO / "baseline-seed0.safetensors", DEMO / "augmentation-seed0.safetensors"
QUICK = ["--data", "digits", "--train-data", "digits:train", "--probes", "quick", "--set", "perturbation.draws=4"]


def test_measure_writes_a_run_and_prints_the_card(run: Command, tmp_path: Path) -> None:
    result = run("measure", BASELINE, *QUICK, "-o", "run")
    assert result.code == 0
    assert "Right on 752 of 797 images" in result.out
    names = {"report.json", "report.md", "report.html", "predictions.safetensors", "timing.json", "parts", "state.json", ".lock"}
    assert {path.name for path in (tmp_path / "run").iterdir()} == names
    assert "\x1b" not in result.out, "no colours in a pipe"
    assert str(tmp_path) not in (tmp_path / "run" / "report.json").read_text(), "cards hold no absolute paths"


def test_the_same_command_gives_the_same_bytes(run: Command, tmp_path: Path) -> None:
    found = []
    for folder in ("one", "two", "one"):  # in fresh folders, and again where a run is
        assert run("measure", BASELINE, *QUICK, "-o", folder).code == 0
        names = ("report.json", "report.md", "report.html", "predictions.safetensors")
        found.append({name: (tmp_path / folder / name).read_bytes() for name in names})
    assert found[0] == found[1] == found[2]
    timings = [json.loads((tmp_path / folder / "timing.json").read_text()) for folder in ("one", "two")]
    assert [bool(timing["reused"]) for timing in timings] == [True, False]
    first, second = (run("show", folder, "--format", "json", "--canonical").out for folder in ("one", "two"))
    assert first == second and '"seconds"' not in first
    assert json.loads(run("show", "one", "--format", "json").out)["timing"] == timings[0], "shown, though not in the card's file"


def test_a_run_is_overwritten_by_the_next(run: Command) -> None:
    assert run("measure", BASELINE, *QUICK, "-o", "run").code == 0
    assert run("measure", AUGMENTED, *QUICK, "-o", "run").code == 0
    assert "augmentation-seed0" in run("show", "run").out


def test_compare_reads_runs_or_measures_checkpoints(run: Command, tmp_path: Path) -> None:
    assert run("measure", BASELINE, *QUICK, "-o", "a").code == 0
    assert run("measure", AUGMENTED, *QUICK, "-o", "b").code == 0
    stored = run("compare", "a", "b", "--json", "-o", "both")
    assert stored.code == 0
    assert json.loads(stored.out)["schema"] == "sharpaudit.comparison/1.0"
    assert {path.name for path in (tmp_path / "both").iterdir()} == {f"comparison.{kind}" for kind in ("json", "md", "html")}
    fresh = run("compare", "a", AUGMENTED, "--data", "digits", "--train-data", "digits:train", "--probes", "accuracy")
    assert fresh.code == 0
    assert "B = augmentation-seed0.safetensors" in fresh.out
    assert (tmp_path / "sharpaudit-runs" / "augmentation-seed0" / "report.json").exists()


def test_conditions_come_from_file_names(run: Command) -> None:
    runs = []
    for file in sorted(DEMO.glob("*seed0.safetensors"))[:3]:
        assert run("measure", file, "--data", "digits", "--probes", "accuracy", "-o", file.stem).code == 0
        runs.append(file.stem)
    result = run("compare", *runs, "--conditions", "(.+)-seed", "--json")
    assert [model["condition"] for model in json.loads(result.out)["models"]] == [name.split("-")[0] for name in runs]
    for pattern, words in [("(", "nor a regular expression"), ("seed", "a group"), ("(x+)-seed", "says nothing of")]:
        refused = run("compare", *runs, "--conditions", pattern)
        assert refused.code == 2
        assert words in refused.err


def test_show_renders_every_format(run: Command) -> None:
    assert run("measure", BASELINE, *QUICK, "-o", "run").code == 0
    for kind, start in [
        ("md", "sharpaudit:"),
        ("html", "<!"),
        ("json", "{"),
        ("csv", "file,"),
        ("hf-card", "---"),
        ("mlflow", "{"),
        ("terminal", "baseline-seed0"),
    ]:
        result = run("show", "run", "--format", kind)
        assert result.code == 0
        assert result.out.lstrip().startswith(start)


def test_dry_run_says_the_cost_and_measures_nothing(run: Command, tmp_path: Path) -> None:
    result = run("measure", BASELINE, *QUICK, "--dry-run")
    assert result.code == 0
    assert "perturbation" in result.out
    assert list(tmp_path.iterdir()) == []
    rows = json.loads(run("measure", BASELINE, *QUICK, "--dry-run", "--json").out)["plan"]
    passes = {row["probe"]: row["passes"] for row in rows}
    assert passes["shared clean views"] == {"forward": 1797, "backward": 0, "hvp": 0, "ggn": 0}


def test_json_is_the_only_thing_on_stdout(run: Command) -> None:
    result = run("measure", BASELINE, "--data", "digits", "--probes", "accuracy", "--json")
    assert json.loads(result.out)["subject"]["file"] == BASELINE.name


def test_settings_show_their_origin(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPAUDIT_SEED", "3")
    card = json.loads(run("measure", BASELINE, "--data", "digits", "--probes", "accuracy", "--json").out)
    assert (card["seed"], card["config"]["seed"]) == (3, {"value": 3, "origin": "environment"})
    assert card["config"]["probes"]["origin"] == "flag"
    assert card["config"]["device"]["origin"] == "default"


def test_probes_are_listed_and_explained(run: Command) -> None:
    listing = run("probes")
    assert [line.split()[0] for line in listing.out.splitlines()] == probes.names()
    explained = run("probes", "calibration")
    assert "When not to trust it" in explained.out
    assert ["bins", "int", "default", "15"] in [line.split() for line in explained.out.splitlines()]
    (ece,) = [line for line in explained.out.splitlines() if line.split()[:1] == ["calibration.ece"]]
    assert ece.endswith(" Calibration error (ECE), fraction, lower is better")
    spectrum = run("probes", "spectrum").out
    assert "default 4; deep 10\n" in spectrum and "Presets\n    standard, deep\n" in spectrum
    assert "default 20; standard 13\n" in run("probes", "worst_case").out
    assert run("probes", "calibrations").code == 2
    document = json.loads(run("probes", "spectrum", "--json").out)
    assert (document["name"], document["presets"]) == ("spectrum", ["standard", "deep"])
    assert document["options"]["density_starts"] == {"type": "int", "default": 4, "presets": {"deep": 10}}
    assert [each["name"] for each in json.loads(run("probes", "--json").out)] == probes.names()


def test_gate_passes_fails_and_is_inconclusive(run: Command, tmp_path: Path) -> None:
    assert run("measure", BASELINE, *QUICK, "-o", "run").code == 0
    for limit, test, code in [(0.9, "bound", 0), (0.99, "bound", 1), (0.944, "bound", 6), (0.9, "point", 0)]:
        rule = f"schema: sharpaudit.policy/1\nrules:\n  - metric: clean.accuracy\n    min: {limit}\n    test: {test}\n"
        (tmp_path / "policy.yaml").write_text(rule)
        assert run("gate", "run", "--policy", "policy.yaml").code == code
    result = run("gate", "run", "--policy", "policy.yaml", "--format", "junit=j.xml", "--format", "sarif=s.json", "--json")
    assert json.loads(result.out)["verdicts"][0]["status"] == "passed"
    assert (tmp_path / "j.xml").exists() and (tmp_path / "s.json").exists()


def test_a_first_policy_passes_its_own_card(run: Command) -> None:
    assert run("measure", BASELINE, *QUICK, "-o", "run").code == 0
    assert run("policy", "init", "--from", "run", "-o", "policy.yaml").code == 0
    assert run("policy", "check", "policy.yaml").code == 0
    assert run("gate", "run", "--policy", "policy.yaml").code == 3, "its rules about a baseline are live"
    assert run("gate", "run", "--policy", "policy.yaml", "--baseline", "run").code == 0
    assert run("policy", "init", "--from", "run", "--no-baseline", "-o", "alone.yaml").code == 0
    assert run("gate", "run", "--policy", "alone.yaml").code == 0
    idle = run("gate", "run", "--policy", "alone.yaml", "--baseline", "run")
    words = "a baseline was given and no rule of the policy is about one"
    assert idle.code == 0 and idle.err == f"warning: {words}\n" and f"note: {words}\n" in idle.out


def test_schemas_are_printed(run: Command) -> None:
    for document in ("card", "policy"):
        assert json.loads(run("schema", document).out)["type"] == "object"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["measure", "--help"], ["compare", "--help"], ["gate", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from sharpaudit.cli import main\n"
        f"try: main({arguments!r})\n"
        "finally: print(sorted({'torch', 'timm', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert done.stdout


@pytest.mark.parametrize("arguments", [[], ["policy"]])
def test_a_bare_command_shows_its_help(run: Command, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert "Usage: sharpaudit" in result.err
    assert "error[" not in result.err


def pages() -> list[list[str]]:
    """Every page of help."""
    groups = {name: getattr(command_named(name), "commands", {}) for name in command_names()}
    below = [[name, each] for name, commands in groups.items() for each, command in commands.items() if not command.hidden]
    return [[], *([name] for name in groups), *below]


@pytest.mark.parametrize("page", pages(), ids=" ".join)
def test_help_is_whole_at_eighty_columns(run: Command, page: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every page has its usage, no line is wider, and the sentence that lists a command is not cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    text = run(*page, "--help").out
    assert text.startswith(" ".join(["Usage: sharpaudit", *page]))
    assert max(map(len, text.splitlines())) <= 80
    listed = text.partition("Commands:")[2]
    assert not [line for line in listed.splitlines() if line.endswith("...")]
    assert "[[" not in text and "...}" not in text


def test_the_help_of_data_names_what_it_takes(run: Command) -> None:
    assert "data [OPTIONS] [NAME [--verify]] | COMMAND [ARGS]..." in run("data", "--help").out
