"""A probe of another package: installed as a user would, listed, run where it is asked for by name, and named on the card."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import sharpaudit
from sharpaudit import audit, probes
from sharpaudit.card.measures import role
from sharpaudit.errors import EnvironmentFailure
from sharpaudit.plan import plan
from sharpaudit.report import comparison
from sharpaudit.report.html import html
from sharpaudit.report.markdown import markdown
from sharpaudit.report.terminal import terminal
from tests.cli.conftest import DEMO, Command, run

__all__ = ["run"]

PACKAGE = Path(__file__).parent / "package"
BASELINE = DEMO / "baseline-seed0.safetensors"


def offer(site: Path, module: str, *, name: str = "margin", package: str = "audit-margin", version: str = "1.2") -> None:
    """What installing leaves behind: the module in `site` and the metadata that announces its probe."""
    stem = package.replace("-", "_")
    (site / f"{stem}.py").write_text(module)
    metadata = site / f"{stem}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[sharpaudit.probes]\n{name} = {stem}:{name}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip into a folder of its own."""
    folder = tmp_path_factory.mktemp("site")
    if not find_spec("setuptools") or not find_spec("pip"):
        offer(folder, (PACKAGE / "audit_margin.py").read_text())
        return folder
    source = shutil.copytree(PACKAGE, tmp_path_factory.mktemp("source") / "package")  # building writes beside the source
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--disable-pip-version-check", "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", folder, source], check=True)
    return folder


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(site)


def test_it_works_as_installed(site: Path, tmp_path: Path) -> None:
    def command(*arguments: str) -> str:
        path = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-m", "sharpaudit", *arguments], capture_output=True, text=True, cwd=tmp_path, env=path, check=True
        ).stdout

    assert "margin              (a plug-in: audit-margin 1.2)\n" in command("probes")
    quick = [
        "measure",
        str(BASELINE),
        "--data",
        "digits",
        "--probes",
        "accuracy,margin",
        "--set",
        "margin.quantile=0.25",
        "--json",
    ]
    card = json.loads(command(*quick))
    assert card["probes"]["margin"]["distribution"] == "audit-margin 1.2"
    assert card["probes"]["accuracy"]["distribution"] is None
    (found,) = [m for m in card["measurements"] if m["name"] == "margin.quantile"]
    run = audit.measure(audit.Request(checkpoint=BASELINE, data="digits", probes="accuracy"))
    assert found["value"] == pytest.approx(np.quantile(run.columns["clean"]["margin"], 0.25))
    assert found["ci"]["low"] < found["value"] < found["ci"]["high"] and found["n"] == 797
    shown = command("show", "sharpaudit-runs/baseline-seed0")
    assert "The probe margin is not part of sharpaudit: it came from audit-margin 1.2." in " ".join(shown.split())


@pytest.mark.usefixtures("installed")
def test_it_is_explained(run: Command) -> None:
    explained = run("probes", "margin")
    assert explained.code == 0
    assert "By how much does the right logit lead?" in explained.out and "quantile" in explained.out
    listed = {each["name"]: each for each in json.loads(run("probes", "--json").out)}
    assert listed["margin"] == {"name": "margin", "distribution": "audit-margin 1.2"}


def test_rules_may_be_about_what_it_measures(run: Command, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.yaml").write_text("schema: sharpaudit.policy/1\nrules: [{metric: margin.quantile, min: -100}]\n")
    commands = ["policy", "check", "policy.yaml"], ["gate", "run", "--policy", "policy.yaml"]
    assert [run(*command).code for command in commands] == [2, 2], "no such plug-in is installed"
    assert "unknown metric 'margin.quantile'" in run(*commands[1]).err
    monkeypatch.syspath_prepend(site)
    assert run("measure", BASELINE, "--data", "digits", "--probes", "margin", "--limit", "20", "-o", "run").code == 0
    assert [run(*command).code for command in commands] == [0, 0]
    assert "a plug-in measures this" in run(*commands[0]).out


def test_its_title_and_role_travel_with_the_card(site: Path, tmp_path: Path) -> None:
    """Measured where the plug-in is; rendered, compared, ranked and judged where it is not."""
    path = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    names = ("baseline", "sam", "weight_decay")
    files = [DEMO / f"{name}-seed0.safetensors" for name in names]
    command = [sys.executable, "-m", "sharpaudit", "measure", *map(str, files), "--data", "digits", "--probes", "accuracy,margin"]
    subprocess.run([*command, "--limit", "200"], cwd=tmp_path, env=path, check=True, capture_output=True)
    runs = [sharpaudit.load(tmp_path / "sharpaudit-runs" / file.stem) for file in files]
    assert probes.plugins() == {}
    pair, many = sharpaudit.compare(*runs[:2]), sharpaudit.compare(*runs)
    assert pair.pair is not None
    row = next(row for row in pair.pair.differences if row.name == "margin.quantile")
    assert role(row) == "safety" and row.verdict is not None
    for text in (markdown(runs[0].card), terminal(runs[0].card), html([runs[0].card]), html([each.card for each in runs])):
        assert "Quantile of the margins" in text
    for compared in (pair, many):
        for text in (comparison.markdown(compared), comparison.terminal(compared), comparison.html(compared)):
            assert "Quantile of the margins" in " ".join(text.split())
    assert "Quantile of the margins" in comparison.markdown(pair).partition("Safety")[2].partition("Other numbers")[0]
    again = type(pair).model_validate_json(pair.model_dump_json())
    assert comparison.markdown(again) == comparison.markdown(pair)


@pytest.mark.usefixtures("installed")
def test_deep_means_our_own_probes() -> None:
    assert {step.probe.name for step in plan("deep")} == set(probes.names())
    assert {step.probe.name for step in plan("quick,margin")} > {"margin", "accuracy"}
    assert "margin" not in probes.names() and probes.plugins() == {"margin": "audit-margin 1.2"}


@pytest.mark.usefixtures("installed")
def test_deep_with_plugins_means_all(run: Command) -> None:
    command = ["measure", "nowhere.pt", "--data", "digits", "--probes", "deep", "--set", "margin.depth=1"]
    assert "options were given for 'margin', which is not run" in run(*command).err
    assert "unknown option of probe 'margin' 'depth'" in run(*command, "--plugins").err


@pytest.mark.usefixtures("installed")
def test_only_a_person_asks_for_code(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "audit.yaml").write_text("data: digits\nprobes: [accuracy, margin]\n")
    (tmp_path / "spaced.yaml").write_text("probes: accuracy , margin\n")
    command = ["measure", BASELINE, "--config", "audit.yaml", "--json"]
    refused = run(*command)
    assert refused.code == 4
    assert run("measure", BASELINE, "--data", "digits", "--config", "spaced.yaml").code == 4
    assert "the probe 'margin' is code of audit-margin 1.2 and was not requested explicitly" in refused.err
    assert json.loads(run(*command, "--plugins").out)["probes"].keys() == {"accuracy", "margin"}
    assert json.loads(run(*command, "--probes", "margin").out)["probes"].keys() == {"margin"}
    pair = ["compare", BASELINE, BASELINE, "--config", "audit.yaml"]
    assert run(*pair).code == 4
    assert run(*pair, "--probes", "margin,accuracy").code == 0
    monkeypatch.setenv("SHARPAUDIT_PROBES", "margin")
    assert run("measure", BASELINE, "--data", "digits").code == 4


HEAD = """
from dataclasses import dataclass
from sharpaudit.card import Measured
from sharpaudit.probes import Need, probe
from pathlib import Path

@dataclass(frozen=True)
class Options:
    pass

def number(name):
    return Measured(name=name, value=1.0, unit="1", direction="none", n=1, reason="none", method="none")
"""
DECLARED = (
    "\n@probe(needs={Need.PREDICTIONS}, version=1, measures=[%r])\ndef margin(bench, options: Options):\n    yield number(%r)\n"
)

BROKEN = {
    "raises": ("raise RuntimeError('no \x1b[31m licence')", "cannot be loaded: RuntimeError: no \\x1b[31m licence"),
    "exits": ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError"),
    "no probe": ("margin = 3", "is no probe of that name"),
    "another name": (
        HEAD + DECLARED.replace("def margin", "def margins") % ("a.b", "a.b") + "margin = margins\n",
        "is no probe of",
    ),
    "our number": (
        HEAD + DECLARED % ("clean.accuracy", "clean.accuracy"),
        "takes the name clean.accuracy, which 'accuracy' measures",
    ),
    "our pattern": (HEAD + DECLARED % ("clean.accuracy/class/x", "x"), "takes the name clean.accuracy/class/x, which 'accuracy'"),
    "another family": (HEAD + DECLARED % ("margins.mean", "x"), "margins.mean, whose name does not begin with 'margin.'"),
    "all names": (HEAD + DECLARED % ("*", "clean.accuracy"), "takes the name *, which 'accuracy' measures"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_packages_that_do_not_deliver(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module, words = BROKEN[name]
    offer(tmp_path, module, package=f"audit-{name.replace(' ', '-')}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentFailure) as refused:
        probes.find("margin")
    assert words in refused.value.message


def test_two_packages_with_one_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("one", "two"):
        offer(tmp_path, "", package=f"audit-{package}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentFailure, match=r"probe 'margin' is in audit-one 1\.2 and in audit-two 1\.2"):
        probes.find("margin")


def test_the_name_of_a_bundled_probe_stays_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "raise AssertionError('it ran')", name="accuracy", package="audit-shadow")
    monkeypatch.syspath_prepend(tmp_path)
    assert "accuracy" not in probes.plugins()
    assert probes.find("accuracy").distribution is None


def test_a_number_that_was_not_declared_fails_its_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, HEAD + DECLARED % ("margin.mean", "clean.accuracy"), package="audit-liar")
    monkeypatch.syspath_prepend(tmp_path)
    card = audit.measure(audit.Request(checkpoint=BASELINE, data="digits", probes="margin")).card
    assert card.probes["margin"].status == "failed"
    assert "it yields clean.accuracy, which it does not declare" in str(card.probes["margin"].reason)
    assert [(m.name, m.status) for m in card.measurements] == [("margin.mean", "failed")]


def test_only_its_name_runs_a_plugin(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(tmp_path, "from pathlib import Path\nPath('ran').touch()", package="audit-eager")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "audit.yaml").write_text("set: {margin: {quantile: 0.1}}\n")
    audit = ["measure", BASELINE, "--data", "digits", "--probes", "accuracy", "--config", "audit.yaml"]
    for command in (["probes"], ["probes", "--json"], audit):
        assert run(*command).code == 0
    assert not (tmp_path / "ran").exists()
