"""A program that only answers is audited for what its answers show; curvature is skipped, with the reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sharpaudit import audit, probes
from sharpaudit.card import Card, Skipped
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.probes import Need
from sharpaudit.workbench import Workbench
from tests.benches import bench, model
from tests.cli.conftest import DEMO
from tests.test_every_probe import SHORT as SHORT_PROBES

DIFFERENTIATED = {Need.OBJECTIVE, Need.FEATURES}


class Program:
    """Answers as a network does, and shows nothing of it."""

    def __init__(self, network: nn.Module) -> None:
        self._answer = torch.no_grad()(network.forward)

    def __call__(self, inputs: Tensor, /) -> Tensor:
        logits: Tensor = self._answer(inputs)
        return logits


def audited(program: bool, chosen: str = "accuracy,calibration,corruption,fisher_rao,perturbation,spectrum") -> Card:
    request = audit.Request(
        checkpoint=DEMO / "baseline-seed0.safetensors",
        data="digits",
        train_data="digits:train",
        probes=chosen,
        options={"corruption": {"severities": (5,)}} if "corruption" in chosen else {},
        limit=40,
    )
    ready = audit.prepare(request)
    if program:
        ready = replace(ready, model=replace(ready.model, predictor=Program(ready.model.module)))
    return audit.run(ready).card


def test_answers_are_measured_and_curvature_is_skipped() -> None:
    card, of_network = audited(program=True), audited(program=False, chosen="accuracy,calibration,corruption")
    for probe in ("accuracy", "calibration", "corruption"):
        ours, theirs = ([m for m in c.measurements if m.probe == probe] for c in (card, of_network))
        assert ours == theirs and ours
    skipped = [m for m in card.measurements if m.probe in ("fisher_rao", "perturbation", "spectrum")]
    assert skipped and all(isinstance(m, Skipped) for m in skipped)
    assert {m.reason for m in skipped if isinstance(m, Skipped)} == {
        "the checkpoint is a program that only answers: it has no parameters to move or differentiate"
    }
    assert not card.lacking, "nothing failed, and nothing was left out"
    assert card.setup is not None
    assert {check.name for check in card.setup.checks if check.status == "not applicable"} >= {"weights", "batch_norm"}


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_measures_or_says_why_not(name: str) -> None:
    whole = bench()
    program = Workbench(replace(model(), predictor=Program(model().module)), whole._test, whole._train, whole.settings)
    (step,) = plan(name, {name: SHORT_PROBES.get(name, {})})
    outcome = run(step, program)
    assert outcome.status == ("skipped" if step.probe.needs & DIFFERENTIATED else "measured"), outcome.reason


def test_a_network_without_parameters_has_no_curvature() -> None:
    fixed = Workbench(model(nn.Sequential(nn.Flatten(), nn.AvgPool1d(6, 6))), bench()._test)
    (step,) = plan("spectrum")
    outcome = run(step, fixed)
    assert (outcome.status, outcome.reason) == ("skipped", "the network has no parameters")
