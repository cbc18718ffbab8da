"""The catalogue against what probes yield, comparisons add, the gate takes and the documentation shows."""

from __future__ import annotations

import ast
import dataclasses
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import sharpaudit
from sharpaudit import probes
from sharpaudit.card import Direction, Measured
from sharpaudit.card.invariance import is_invariant
from sharpaudit.card.measurement import Page
from sharpaudit.card.measures import GEOMETRY, MEASURES, Measure, find, role
from sharpaudit.corruptions import SEVERITIES
from sharpaudit.data import open_images
from sharpaudit.errors import UnknownName, UsageError
from sharpaudit.gate.policy import parse
from sharpaudit.metrics.corruption import FAMILY, Reference
from sharpaudit.metrics.disagreement import disagreement
from sharpaudit.metrics.predictions import Predictions
from tests.benches import bench

PACKAGE = Path(sharpaudit.__file__).parent
ROOMS = ("card", "compare", "gate", "metrics", "probes", "report")


def test_entries_are_whole() -> None:
    names = [entry.name for entry in MEASURES]
    assert len(names) == len(set(names))
    for entry in MEASURES:
        assert entry.title and entry.scale.unit and entry.scale.low < entry.scale.high, entry
        assert entry.direction in get_args(Direction) and set(entry.on) <= set(get_args(Page)), entry
        assert entry.read_with in ("", *names) and entry.read_with != entry.name, entry
        geometric = entry.name.startswith(GEOMETRY)
        assert geometric or not (entry.invariant or entry.scale_dependent or entry.flatter_when_larger), entry
        assert not geometric or entry.direction == "none", "sharpness has no better direction"
        assert geometric or entry.role != "flatness", entry
        assert entry.role != "safety" or entry.direction != "none", entry
        assert not (entry.invariant and entry.scale_dependent), entry


def test_no_room_names_what_is_not_in_the_catalogue() -> None:
    families = {entry.name.partition(".")[0] for entry in MEASURES} | {"adversarial", "features"}
    like_a_name = re.compile(rf"({'|'.join(families)})\.[a-z_0-9]+(/[a-z_0-9*/]*)?")
    for path in (path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))):
        texts = [
            n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant) and isinstance(n.value, str)
        ]
        for name in filter(like_a_name.fullmatch, texts):
            assert find(name) or any(entry.name.startswith(name) for entry in MEASURES), f"{path}: {name}"


def test_every_entry_has_a_probe_and_every_probe_an_entry() -> None:
    assert {entry.probe for entry in MEASURES} == {*probes.names(), "disagreement"}
    for name in probes.names():
        assert set(probes.find(name).measures) == {entry.name for entry in MEASURES if entry.probe == name}


@pytest.mark.parametrize("entry", MEASURES, ids=lambda entry: entry.name)
def test_the_gate_takes_it(entry: Measure) -> None:
    def policy(limit: float) -> None:
        rule = f"{{metric: '{entry.name}', max: {limit!r}, acknowledge: scale-dependent}}"
        parse(f"schema: sharpaudit.policy/1\nrules: [{rule}]\n".encode(), source="p.yaml")

    policy(max(entry.scale.low, min(0.5, entry.scale.high)))
    for outside in (entry.scale.low - 0.1, entry.scale.high + 0.1):
        if math.isfinite(outside):
            with pytest.raises(UsageError, match="lies outside"):
                policy(outside)


@pytest.mark.parametrize(
    "name",
    ["adversarial.accuracy", "adversarial.accuracy/pgd/linf/0.03", "features.nc1", "path.barrier", "sharpness.x"]
    + [entry.name + "x" for entry in MEASURES if "*" not in entry.name],
)
def test_a_policy_cannot_name_what_nothing_measures(name: str) -> None:
    with pytest.raises(UnknownName, match="unknown metric"):
        parse(f"schema: sharpaudit.policy/1\nrules: [{{metric: '{name}', min: 0.1}}]\n".encode(), source="p.yaml")
    assert find(name) is None and role(name) == "neither"


class Neighbours(nn.Module):
    """Answers with the label of the nearest of the images it knows; `sure` is how steeply."""

    known: Tensor
    labels: Tensor

    def __init__(self, images: Tensor, labels: Tensor, *, sure: float, brittle: bool) -> None:
        super().__init__()
        self.register_buffer("known", images.flatten(1))
        self.register_buffer("labels", labels)
        self.sure, self.brittle = sure, brittle

    def forward(self, images: Tensor) -> Tensor:
        distance, nearest = torch.cdist(images.flatten(1), self.known).min(1)
        found = (self.labels[nearest] + (self.brittle & (distance > 1e-2))) % 10
        return self.sure * nn.functional.one_hot(found, 10).float()


def pixels(name: str, n: int) -> tuple[Tensor, Tensor]:
    found = open_images(name, limit=n)
    images = torch.as_tensor(np.ascontiguousarray(found.images)).permute(0, 3, 1, 2) / 255
    return (images - 0.5) / 0.5, torch.as_tensor(found.labels, dtype=torch.int64)


GRADED = {entry.probe for entry in MEASURES if entry.direction != "none"} - {"disagreement"}
"""Probes that say what is better."""


def numbers(*, good: bool) -> dict[str, float]:
    """What the probes that grade say of a network that is right and steady, or of one that fails half of the classes."""
    (test, labels), (train, of_train) = pixels("digits", 97), pixels("digits:train", 203)
    shown = labels if good else torch.where(labels < 5, labels, (labels + 1) % 10)
    learned = of_train if good else (of_train + (torch.arange(203) < 9)) % 10
    module = Neighbours(torch.cat([test, train]), torch.cat([shown, learned]), sure=30.0, brittle=not good)
    on = bench(module)
    reference = Reference("r", on.corruption_source.label, {f"{name}/{level}": 0.5 for name in FAMILY for level in SEVERITIES})
    found: dict[str, float] = {}
    for name in sorted(GRADED):
        probe = probes.find(name)
        settings = {"reference": reference, "samples": 30} if name == "corruption" else {}
        findings = probe(on.narrowed(name, probe.needs), probe.options(**settings))
        found |= {m.name: m.value for m in findings if isinstance(m, Measured)}
    return found


def test_better_is_better() -> None:
    """A direction turned round in the catalogue is seen here, where no direction is written down."""
    good, bad = numbers(good=True), numbers(good=False)
    for entry in (entry for entry in MEASURES if entry.direction != "none" and entry.probe in GRADED):
        of = [name for name in good.keys() & bad.keys() if (known := find(name)) and known.name == entry.name]
        assert of, f"{entry.name} was not measured"
        means = [float(np.mean([side[name] for name in of])) for side in (good, bad)]
        assert means[0] != means[1], entry.name
        assert (means[0] > means[1]) == (entry.direction == "higher"), (entry.name, means)
        assert all(entry.scale.low - 1e-9 <= side[name] <= entry.scale.high + 1e-9 for side in (good, bad) for name in of)


class Squeezed(nn.Module):
    """One and the same function, of weights that are `by` times smaller: its surface is as many times narrower."""

    def __init__(self, by: float) -> None:
        super().__init__()
        images, labels = pixels("digits:train", 500)
        hidden = torch.randn(24, 64, generator=torch.Generator().manual_seed(0)) / 8
        features = (images.flatten(1) @ hidden.T).relu().double()
        head = torch.linalg.lstsq(features, 20 * nn.functional.one_hot(labels, 10).double()).solution.T.float()
        self.by, self.hidden, self.head = by, nn.Parameter(hidden / by), nn.Parameter(head / by)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.functional.linear(images.flatten(1), self.by * self.hidden).relu()
        return nn.functional.linear(features, self.by * self.head)


def flatness(by: float) -> dict[str, float]:
    short: dict[str, dict[str, Any]] = {
        "average_case": {"draws": 4, "l2": (0.05,)},
        "worst_case": {"iterations": 3, "l2": (0.1,)},
        "first_order": {"iterations": 3},
        "keskar": {"iterations": 3},
        "pac_bayes": {"draws": 4, "steps": 8},
        "perturbation": {"draws": 8, "paper_draws": 4},
    }
    found: dict[str, float] = {}
    for name in (*short, "spectrum", "fisher_rao", "slices"):
        probe, on = probes.find(name), bench(Squeezed(by))
        findings = probe(on.narrowed(name, probe.needs), probe.options(**short.get(name, {})))
        found |= {m.name: m.value for m in findings if isinstance(m, Measured) and role(m.name) == "flatness"}
    return found


FILTERWISE = "sharpness.slice_curvature"
"""Moves in units of filters: it stays when all weights are rescaled alike, and does not by theory of all rescalings."""


def test_sharper_is_sharper() -> None:
    """By every measure of flatness a narrower surface is sharper, by the square where it is a scale of the Hessian."""
    wide, narrow = flatness(1.0), flatness(3.0)
    assert wide.keys() == narrow.keys()
    entries = {entry.name for entry in map(find, wide) if entry}
    assert entries == {e.name for e in MEASURES if e.role == "flatness" and e.probe != "relative_flatness"}
    for name, value in wide.items():
        entry = find(name)
        assert entry is not None
        if is_invariant(name) or name == FILTERWISE:
            assert narrow[name] == pytest.approx(value, rel=1e-3), name
        elif entry.scale_dependent and entry.scale.unit == "nats per squared weight":
            assert narrow[name] == pytest.approx(9 * value, rel=1e-2), name
        else:
            assert (narrow[name] < value) == entry.flatter_when_larger, (name, value, narrow[name])


def views(shown: NDArray[np.int64], labels: NDArray[np.int64]) -> Mapping[str, Predictions]:
    seen = Predictions.from_logits(6.0 * np.eye(10)[shown], labels)
    return {"clean": seen, "corruption/fog/3": Predictions.from_logits(6.0 * np.eye(10)[shown], labels, keep_logits=False)}


def test_disagreement_is_what_the_catalogue_says() -> None:
    labels = np.arange(200) % 10
    right, wrong = views(labels, labels), views((labels + (np.arange(200) % 3 == 0)) % 10, labels)
    same, worse, better = (
        {m.name: m for m in disagreement(a, b, seed=0)} for a, b in ((right, right), (right, wrong), (wrong, right))
    )
    entries = [entry for entry in MEASURES if entry.probe == "disagreement"]
    assert set(worse) == {entry.name for entry in entries}
    for entry in entries:
        found = worse[entry.name]
        assert (found.unit, found.direction) == (entry.scale.unit, entry.direction)
        if entry.direction == "lower":
            assert same[entry.name].value < found.value, entry.name
        if entry.direction == "higher":
            assert same[entry.name].value < better[entry.name].value, entry.name


PROBE = '''"""How far apart are the two largest logits?

Why it matters
    It is made up.

How it is computed
    A mean.

When not to trust it
    Ever.

Sources
    None.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.probes import Finding, Need, Workbench, measured, probe
from sharpaudit.stats import Estimate, t_interval_of


@dataclass(frozen=True, kw_only=True)
class LeadOptions:
    """No settings."""


@probe(needs={Need.PREDICTIONS}, version=1)
def lead(bench: Workbench, options: LeadOptions) -> Iterator[Finding]:
    """Yield the mean lead."""
    leads = abs(bench.predictions.margin)
    yield measured("lead.mean", Estimate(float(leads.mean()), t_interval_of(leads)), len(leads), "a mean")
'''
ENTRY = '    *_of("lead", Measure("lead.mean", "Lead of the first", LOGITS, "higher", "safety", ("safety", "leaderboard"))),\n'
ASKED = """
import importlib.util, json, sys
from pathlib import Path
from sharpaudit import api
from sharpaudit.comparison import compare_runs
from sharpaudit.gate.policy import parse
from sharpaudit.report.comparison import markdown as compared
from sharpaudit.report.markdown import markdown

demo, docs = Path(sys.argv[1]), sys.argv[2]
files = [demo / f"{name}-seed0.safetensors" for name in ("baseline", "sam")]
runs = [api.measure(file, "digits", probes="accuracy,lead", limit=60) for file in files]
spec = importlib.util.spec_from_file_location("reference", docs)
reference = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)
policy = b"schema: sharpaudit.policy/1\\nrules: [{metric: lead.mean, min: 0.1}]\\n"
comparison = compare_runs(*runs)
print(json.dumps({
    "verdict": api.judge(runs[0], parse(policy, source="p")).verdicts[0].status,
    "report": markdown(runs[0].card),
    "comparison": compared(comparison),
    "difference": next(d.verdict for d in comparison.pair.differences if d.name == "lead.mean"),
    "docs": reference.pages()["probes/lead"],
}))
"""


def test_a_new_measure_is_a_probe_and_an_entry(tmp_path: Path) -> None:
    """In a copy of the package one file and one line are added; policy, report, comparison and documentation have it."""
    copy = shutil.copytree(PACKAGE, tmp_path / "sharpaudit", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "probes" / "lead.py").write_text(PROBE)
    catalogue = copy / "card" / "measures.py"
    text = catalogue.read_text()
    catalogue.write_text(text.replace("\nMEASURES = (\n", f"\nMEASURES = (\n{ENTRY}", 1))
    docs = PACKAGE.parent / ".github" / "docs" / "reference.py"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", ASKED, str(PACKAGE / "demo"), str(docs)]
    asked = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert asked.returncode == 0, asked.stderr
    found = json.loads(asked.stdout)
    assert found["verdict"] == "passed"
    assert "Lead of the first ↑" in found["report"]
    assert "Lead of the first" in found["comparison"].partition("Safety")[2] and found["difference"]
    assert "| `lead.mean` | Lead of the first | logits | higher | 0 to ∞ | safety |" in found["docs"]


def test_an_entry_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MEASURES[0].direction = "lower"  # type: ignore[misc]
