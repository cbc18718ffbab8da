"""The sample workflow from checkpoint to decision: what was made worse on purpose is stopped by the rule that should stop it."""

from __future__ import annotations

import os
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
from safetensors import safe_open
from safetensors.numpy import save_file

from sharpaudit.data import open_images
from sharpaudit.errors import ExitCode
from tests.cli.conftest import DEMO

SAMPLES = Path(__file__).parents[2] / "sample_configs"
RELEASED = DEMO / "augmentation-seed0.safetensors"

Weights = dict[str, NDArray[np.float32]]


def damaged(weights: Weights) -> Weights:
    noise = np.random.default_rng(0)
    return {name: w + noise.normal(scale=w.std(), size=w.shape).astype(w.dtype) for name, w in weights.items()}


def overconfident(weights: Weights) -> Weights:
    """Logits times three."""
    return {name: w * np.float32(3) if name.startswith("classifier.") else w for name, w in weights.items()}


def confused(weights: Weights) -> Weights:
    """Nothing is called a 3 any more; what was is called a 4, and the other way round."""
    order = [0, 1, 2, 4, 3, 5, 6, 7, 8, 9]
    return {name: w[order] if name.startswith("classifier.") else w for name, w in weights.items()}


def unchanged(weights: Weights) -> Weights:
    return weights


CANDIDATES: dict[Callable[[Weights], Weights], tuple[ExitCode, str]] = {
    unchanged: (ExitCode.DONE, ""),
    damaged: (ExitCode.GATE_FAILED, "clean.accuracy"),
    overconfident: (ExitCode.GATE_FAILED, "clean.nll"),
    confused: (ExitCode.INCONCLUSIVE, "disagreement.negative_flips"),
}
"""What the gate ends in, and a rule that fails; swapped classes are a suspect set-up too, which outranks the failures."""


def commands(sample: str) -> list[list[str]]:
    """The commands of ours in the sample, in order."""
    document: dict[str, Any] = yaml.safe_load((SAMPLES / sample).read_text())
    job = document.get("jobs", document)["gate"]
    lines = job.get("script") or [step.get("run", "") for step in job["steps"]]
    return [shlex.split(line)[1:] for line in lines if line.startswith("sharpaudit ")]


@pytest.mark.slow
@pytest.mark.parametrize("sample", ["github-gate.yml", "gitlab-gate.yml"])
@pytest.mark.parametrize("change", CANDIDATES, ids=lambda change: change.__name__)
def test_the_whole_workflow(sample: str, change: Callable[[Weights], Weights], tmp_path: Path) -> None:
    with safe_open(RELEASED, "numpy") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    images = open_images("digits")
    (tmp_path / "data").mkdir()
    (tmp_path / "checkpoints").mkdir()
    np.savez(tmp_path / "data" / "test.npz", images=images.images[:], labels=images.labels)
    shutil.copy(SAMPLES / "release.yaml", tmp_path)
    shutil.copy(RELEASED, tmp_path / "checkpoints" / "released.safetensors")
    save_file(change(weights), tmp_path / "checkpoints" / "candidate.safetensors", metadata)
    settings = {**os.environ, "SHARPAUDIT_PROBES": "accuracy,calibration,corruption"}
    codes = []
    for command in commands(sample):
        done = subprocess.run(
            [sys.executable, "-m", "sharpaudit", *command],
            cwd=tmp_path,
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        codes.append(done.returncode)
        assert not [line for line in done.stdout.splitlines() if line.startswith(("::", "##"))]
    code, rule = CANDIDATES[change]
    assert codes == [0, 0, code], done.stdout + done.stderr
    cases = ElementTree.parse(tmp_path / "gate.xml").iter("testcase")
    failed = " ".join(case.get("name", "") for case in cases if case.find("failure") is not None)
    assert rule in failed
    assert bool(failed) == (change is not unchanged)
    assert (tmp_path / ("gate.sarif" if "github" in sample else "gl-code-quality-report.json")).exists()
