"""Settings from files: what they may say, which of them wins, and where the card says each value came from."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from sharpaudit import strict_yaml
from sharpaudit.cli.configuration import configurable
from tests.cli.conftest import DEMO, Command

BASELINE = DEMO / "baseline-seed0.safetensors"
SAMPLE = Path(__file__).parents[2] / "sample_configs" / "audit.yaml"


def in_force(run: Command, *arguments: str) -> dict[str, tuple[object, str]]:
    result = run("config", "show", "--json", *arguments)
    assert result.code == 0, result.err
    return {name: (entry["value"], entry["origin"]) for name, entry in json.loads(result.out).items()}


def test_the_sample_is_in_force_and_on_the_card(run: Command) -> None:
    shown = in_force(run, "--config", str(SAMPLE))
    assert shown["data"] == ("digits", "config")
    assert shown["set.spectrum.tolerance"] == (0.001, "config")
    result = run("measure", BASELINE, "--config", SAMPLE, "--set", "perturbation.paper_draws=4", "--json")
    assert result.code == 0, result.err
    card = json.loads(result.out)
    assert list(card["probes"]) == sorted(["accuracy", "calibration", "fisher_rao", "relative_flatness", "perturbation"])
    assert (card["probes"]["perturbation"]["options"]["draws"], card["probes"]["perturbation"]["options"]["paper_draws"]) == (
        10,
        4,
    )
    assert card["config"]["seed"] == {"value": 0, "origin": "config"}
    assert card["config"]["set.perturbation.draws"] == {"value": 10, "origin": "config"}
    assert card["config"]["set.perturbation.paper_draws"] == {"value": "4", "origin": "flag"}
    assert "set.spectrum.tolerance" not in card["config"], "spectrum was not run"


def test_flag_before_environment_before_config_before_project_before_default(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seed() -> tuple[object, str]:
        card = json.loads(
            run("measure", BASELINE, "--data", "digits", "--probes", "accuracy", *arguments, "--json", "--force").out
        )
        assert card["seed"] == card["config"]["seed"]["value"]
        return card["seed"], card["config"]["seed"]["origin"]

    arguments: list[str] = []
    assert seed() == (0, "default")
    (tmp_path / "pyproject.toml").write_text("[tool.sharpaudit]\nseed = 1\nbatch_size = 100\n")
    assert seed() == (1, "pyproject")
    (tmp_path / "audit.yaml").write_text("seed: 2\n")
    arguments = ["--config", "audit.yaml"]
    assert seed() == (2, "config")
    shown = run("config", "show", *arguments).out
    assert [line.split() for line in shown.splitlines() if line.startswith("seed")] == [
        ["seed", "config", "2", "(pyproject:", "1)"]
    ]
    assert "batch_size             pyproject    100" in shown.splitlines()
    monkeypatch.setenv("SHARPAUDIT_SEED", "3")
    assert seed() == (3, "environment")
    arguments = [*arguments, "--seed", "4"]
    assert seed() == (4, "flag")


def test_the_nearest_project_counts_and_a_file_named_in_the_environment_too(
    run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[tool.sharpaudit]\nseed = 1\n")
    (tmp_path / "audit.yaml").write_text("limit: 7\n")
    monkeypatch.chdir(below)
    assert in_force(run)["seed"] == (1, "pyproject")
    monkeypatch.setenv("SHARPAUDIT_CONFIG", str(tmp_path / "audit.yaml"))
    assert in_force(run)["limit"] == (7, "config")
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert in_force(run)["seed"] == (0, "default")


def test_lists_and_numbers_are_what_a_person_means(run: Command, tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text("mean: [0.5, 1e-1, 0]\nlimit: 1e2\nprobes: [accuracy, calibration]\n")
    shown = in_force(run, "--config", "audit.yaml")
    assert shown["mean"][0] == "0.5,0.1,0"
    assert shown["limit"][0] == 100
    assert shown["probes"][0] == "accuracy,calibration"


def test_options_of_probes_are_merged_file_by_file(run: Command, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.sharpaudit.set.perturbation]\ndraws = 4\npaper_draws = 2\n")
    (tmp_path / "audit.yaml").write_text("set:\n  perturbation: {paper_draws: 3}\n")
    arguments = ["--data", "digits", "--probes", "perturbation", "--config", "audit.yaml", "--set", "perturbation.radius=0.01"]
    card = json.loads(run("measure", BASELINE, *arguments, "--json").out)
    options = card["probes"]["perturbation"]["options"]
    assert (options["draws"], options["paper_draws"], options["radius"]) == (4, 3, 0.01)
    assert [card["config"][f"set.perturbation.{name}"]["origin"] for name in ("draws", "paper_draws", "radius")] == [
        "pyproject",
        "config",
        "flag",
    ]


REFUSED: dict[str, tuple[bytes, int, str]] = {
    "syntax": (b"seed: [1\n", 2, "(line 2, column 1)"),
    "snippet": (b"data: digits\nseed: {1, \n", 2, "(line 3, column 1)"),
    "unknown key": (b"sed: 1\n", 2, "unknown key 'sed'; did you mean 'seed'?"),
    "dashes": (b"train-data: digits\n", 2, "unknown key 'train-data'; did you mean 'train_data'?"),
    "nothing like it": (b"zzzz: 1\n", 2, "unknown key 'zzzz'; known: schema, data, train_data"),
    "text for a number": (b"seed: x\n", 2, "seed: Input should be a valid integer, got 'x' (str)"),
    "quoted number": (b"seed: '1'\n", 2, "seed: Input should be a valid integer, got '1' (str)"),
    "part of a number": (b"limit: 1.5\n", 2, "limit: Input should be a valid integer, got 1.5 (float)"),
    "truth for a number": (b"seed: true\n", 2, "seed: Input should be a valid integer, got True (bool)"),
    "nothing": (b"seed:\n", 2, "seed: Input should be a valid integer, got None (NoneType)"),
    "out of range": (b"batch_size: 0\n", 2, "batch_size: Input should be greater than or equal to 1, got 0 (int)"),
    "number for text": (b"data: 5\n", 2, "data: Input should be a valid string, got 5 (int)"),
    "mapping for text": (b"data: {a: 1}\n", 2, "data: Input should be a valid string"),
    "not a choice": (b"precision: double\n", 2, "precision: Input should be 'auto', 'float32' or 'float64', got 'double' (str)"),
    "another schema": (b"schema: sharpaudit.config/2\n", 2, "schema: Input should be 'sharpaudit.config/1'"),
    "options without probe": (b"set: {draws: 4}\n", 2, "set.draws: Input should be a valid dictionary, got 4 (int)"),
    "options too deep": (
        b"set: {perturbation: {draws: {a: 1}}}\n",
        2,
        "set.perturbation.draws: expected a value or a list of values",
    ),
    "unknown probe": (
        b"set: {perturbations: {draws: 4}}\n",
        2,
        "unknown probe or preset 'perturbations'; did you mean 'perturbation'?",
    ),
    "unknown option": (
        b"set: {perturbation: {draw: 4}}\n",
        2,
        "unknown option of probe 'perturbation' 'draw'; did you mean 'draws'?",
    ),
    "option of another type": (b"set: {perturbation: {draws: many}}\n", 2, "perturbation.draws: Input should be a valid integer"),
    "a list": (b"- seed\n", 2, "expected a configuration of keys and values"),
    "twice": (b"seed: 1\nseed: 2\n", 2, "the key 'seed' occurs twice (line 2, column 1): seed: 2"),
    "deep": (b"set: " + b"[" * 10_000, 2, "nested more than 20 levels deep"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), 2, "not UTF-8 text: byte 0"),
    "NUL": (b"seed: 1\n\0", 2, "not YAML: character 0x0 at position 8"),
    "tabs": (b"set:\n\tperturbation: {}\n", 2, "(line 2, column 1)"),
    "a huge file": (b"seed: 1\n# " + b"x" * 2**20, 2, "bytes are more than the 262,144 it may have"),
    "tag": (b"seed: !!python/object/apply:os.system ['touch ran']\n", 4, "tags are not allowed (line 1, column 7)"),
    "bomb": (b"a: &a [1]\nb: [" + b"*a, " * 9 + b"]\n", 4, "anchors are not allowed (line 1, column 4)"),
    "permission": (b"allow_code: true\n", 4, "'allow_code' may not stand in a file - audit.yaml - pass --allow-code yourself"),
    "permission with a dash": (b"allow-inert: true\n", 4, "'allow-inert' may not stand in a file"),
    "links": (b"follow_links: true\n", 4, "'follow_links' may not stand in a file"),
    "plug-ins": (b"plugins: true\n", 4, "'plugins' may not stand in a file"),
    "code": (b"arch: net.py:make\n", 4, "--allow-code"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name: str, run: Command, tmp_path: Path) -> None:
    content, code, words = REFUSED[name]
    (tmp_path / "audit.yaml").write_bytes(content)
    (tmp_path / "net.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    for arguments in ([], ["--json"]):
        result = run("measure", BASELINE, "--data", "digits", "--probes", "accuracy", "--config", "audit.yaml", *arguments)
        assert result.code == code, result.err
        assert words in result.err and result.err.count("\n") == 1
        assert not arguments or json.loads(result.out)["error"]["message"] in result.err
    assert {path.name for path in tmp_path.iterdir()} == {"audit.yaml", "net.py"}, "nothing ran, nothing was written"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfseed: 6\n", b"data: digits\r\nseed: 6\r\n", b"", b"# nothing\n"])
def test_files_that_are_odd_and_fine(content: bytes, run: Command, tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_bytes(content)
    assert in_force(run, "--config", "audit.yaml")["seed"] == (
        (6, "config") if content[1:] and b"6" in content else (0, "default")
    )


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("[tool.sharpaudit]\nsed = 1\n", 2, "unknown key 'sed'"),
        ("[tool.sharpaudit]\nallow_code = true\n", 4, "'allow_code' may not stand in a file"),
        ("[tool.sharpaudit]\nseed = 2001-01-01\n", 2, "seed: Input should be a valid integer"),
        ("[tool]\nsharpaudit = 3\n", 2, "expected a configuration of keys and values"),
        ("[tool.sharpaudit\n", 2, "not readable as TOML: Expected ']' at the end of a table declaration (at line 1, column 17)"),
        ("[tool.sharpaudit]\nx = " + "[" * 100_000, 2, "not readable as TOML: nested too deep"),
        ("tool = 3\n", 0, ""),
        ("a" + ".a" * 100_000 + " = 1  # sharpaudit", 2, "not readable as TOML: a line of more than 200 dots"),
        ("x = " + "[" * 100_000, 0, ""),  # nothing of ours
    ],
)
def test_projects_that_are_refused(content: str, code: int, words: str, run: Command, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(content)
    result = run("config", "show")
    assert (result.code, words in result.err) == (code, True), result.err


def test_a_file_that_is_not_there(run: Command) -> None:
    result = run("measure", BASELINE, "--config", "nowhere.yaml")
    assert result.code == 2
    assert "cannot read the configuration: No such file or directory - nowhere.yaml" in result.err


def test_options_of_a_probe_that_is_not_run_are_an_error_only_as_flags(run: Command, tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text("set: {spectrum: {max_iterations: 9}}\n")
    quick = ["measure", BASELINE, "--data", "digits", "--probes", "accuracy", "--config", "audit.yaml"]
    assert run(*quick, "--dry-run").code == 0
    refused = run(*quick, "--set", "spectrum.max_iterations=9", "--dry-run")
    assert refused.code == 2
    assert "options were given for 'spectrum', which is not run" in refused.err


@pytest.mark.parametrize("command", ["compare", "gate"])
def test_checkpoints_are_audited_with_every_setting(command: str, run: Command, tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text("data: digits\nprobes: accuracy\nmean: [0.25]\nset: {accuracy: {smallest_class: 2}}\n")
    (tmp_path / "policy.yaml").write_text("schema: sharpaudit.policy/1\nrules: [{metric: clean.accuracy, min: 0.2}]\n")
    pair = [BASELINE, DEMO / "sam-seed0.safetensors", *(["--policy", "policy.yaml"] if command == "gate" else [])]
    found = run(command, *pair, "--config", "audit.yaml", "--limit", "100", "--no-setup-check", "--json")
    assert found.code == 0, found.err
    card = json.loads((tmp_path / "sharpaudit-runs" / "sam-seed0" / "report.json").read_text())
    assert (card["data"]["n"], card["subject"]["preprocessing"]["mean"], card["setup"]) == (100, [0.25], None)
    assert card["probes"]["accuracy"]["options"]["smallest_class"] == 2
    origins = {key: card["config"][key]["origin"] for key in ("data", "mean", "limit", "seed")}
    assert origins == {"data": "config", "mean": "config", "limit": "flag", "seed": "default"}


def test_the_schema_describes_what_is_read(run: Command) -> None:
    schema = json.loads(run("schema", "config").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert {parameter.key for parameter in configurable()} | {"schema", "set"} == set(schema["properties"])
    sample = strict_yaml.load(SAMPLE.read_bytes(), source="audit.yaml")
    jsonschema.validate(sample, schema)
    for bad in ({"sed": 1}, {"seed": "x"}, {"set": {"a": 1}}, {"mean": [True]}, {"precision": "double"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(bad, schema)


def test_a_variable_that_nobody_reads_is_pointed_out(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARPAUDIT_SED", "3")
    assert "unknown variable SHARPAUDIT_SED; did you mean SHARPAUDIT_SEED?" in run("config", "show").err
