"""The gate commands of the sample CI files, run in a scratch folder: a good checkpoint passes, one made worse names its rule."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from sharpaudit import store
from sharpaudit.card import Measured, ProbeRun, Skipped
from sharpaudit.card.measures import MEASURES, find
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.recomputation import Recomputation
from tests.comparison.cases import CLASSES, audit, measured

SAMPLES = Path(__file__).parents[2] / "sample_configs"
N = 500
LABELS = np.random.default_rng(0).integers(len(CLASSES), size=N)

Logits = NDArray[np.float64]


def calibrated(strength: float, seed: int) -> Logits:
    """Posterior logits of a model that sees the label with `strength` against unit noise."""
    noise = np.random.default_rng(seed).normal(size=(N, len(CLASSES)))
    return strength * (strength * np.eye(len(CLASSES))[LABELS] + noise)


def damaged(logits: Logits) -> Logits:
    return logits + np.random.default_rng(9).normal(scale=6, size=logits.shape)


def confused(logits: Logits) -> Logits:
    """Two thirds of one class are called another."""
    rows = np.flatnonzero((LABELS == 0) & (np.arange(N) % 3 > 0))
    swapped = logits.copy()
    swapped[rows[:, None], [0, 1]] = logits[rows[:, None], [1, 0]]
    return swapped


WORSE: dict[str, tuple[Callable[[Logits], Logits], str]] = {
    "damaged": (damaged, "clean.accuracy"),
    "temperature": (lambda logits: logits / 12, "calibration.ece_debiased"),
    "confused": (confused, "disagreement.negative_flips"),
}


def save(folder: Path, change: Callable[[Logits], Logits] = lambda logits: logits) -> None:
    """A run folder as `measure` leaves it."""
    views = {
        "clean": Predictions.from_logits(change(calibrated(3.2, 1)), LABELS),
        "corruption/fog/5": Predictions.from_logits(change(calibrated(2.5, 2)), LABELS),
    }
    base = audit(len(folder.name)).card
    probes = {name: ProbeRun(status="measured", version=1) for name in ("accuracy", "calibration", "corruption")}
    card = base.model_copy(update={"probes": probes, "data": base.data.model_copy(update={"n": N})})
    found: list[Measured | Skipped] = []
    again = Recomputation(card, views)
    plain = [known.name for known in MEASURES if known.probe in probes and "*" not in known.name]
    means = [f"corruption.accuracy/{of}" for of in ("fog", "fog/5", "*/5", "family/weather")]
    for name in (*plain, *means, *(f"clean.accuracy/class/{label}" for label in CLASSES)):
        estimate, known = again.estimate(name, {}), find(name)
        assert known is not None
        if estimate is None:
            found.append(Skipped(name=name, reason="no training data, or no reference", probe=known.probe, version=1))
        else:
            origin = {"direction": known.direction, "probe": known.probe}
            found.append(measured(name, estimate.value, estimate.ci, n=again.examples(name), **origin))
    store.save_run(
        folder,
        store.Run(card.model_copy(update={"measurements": found}), {name: view.columns() for name, view in views.items()}),
    )


def gate_command(sample: str) -> list[str]:
    """The one command of the sample that begins with ``sharpaudit gate``."""
    document: dict[str, Any] = yaml.safe_load((SAMPLES / sample).read_text())
    job = document.get("jobs", document)["gate"]
    lines = job.get("script") or [step.get("run", "") for step in job["steps"]]
    (line,) = [line for line in lines if line.startswith("sharpaudit gate ")]
    return shlex.split(line)[1:]


@pytest.mark.parametrize(
    ("sample", "candidate"),
    [
        ("gitlab-gate.yml", "good"),
        *(("github-gate.yml", candidate) for candidate in ("good", *WORSE)),
    ],
)
def test_the_sample_gate(sample: str, candidate: str, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "release.yaml", tmp_path)
    save(tmp_path / "runs" / "released")
    save(tmp_path / "runs" / "candidate", *([WORSE[candidate][0]] if candidate in WORSE else []))
    command = [sys.executable, "-c", "from sharpaudit.cli import main; main()", *gate_command(sample)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == (1 if candidate in WORSE else 0), done.stdout
    cases = ElementTree.parse(tmp_path / "gate.xml").iter("testcase")
    failed = [case.get("name", "") for case in cases if case.find("failure") is not None]
    if candidate in WORSE:
        assert any(WORSE[candidate][1] in name for name in failed), failed
    else:
        assert failed == []
    report = json.loads((tmp_path / ("gl-code-quality-report.json" if "gitlab" in sample else "gate.sarif")).read_text())
    if "github" in sample:
        assert bool(report["runs"][0]["results"]) == (candidate in WORSE)
        assert "**" in (tmp_path / "summary.md").read_text()
