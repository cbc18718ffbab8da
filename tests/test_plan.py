"""Bad options die before a checkpoint is opened, and say why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from sharpaudit import probes
from sharpaudit.errors import SharpauditError, UnknownName, UsageError
from sharpaudit.plan import PRESETS, plan, total
from sharpaudit.probes import Workload
from sharpaudit.workbench import Need

WORKLOAD = Workload(test=1000, train=5000, probe_set=512, classes=10, parameters=6000)


def names(selection: str) -> list[str]:
    return [step.probe.name for step in plan(selection)]


def test_deep_runs_every_probe() -> None:
    assert sorted(names("deep")) == probes.names()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_valid(preset: str) -> None:
    assert set(names(preset)) >= set(PRESETS[preset])
    assert preset == "deep" or len(names(preset)) == len(PRESETS[preset])


def test_presets_grow() -> None:
    costs = [total(plan(preset), WORKLOAD).forward_equivalents for preset in ("quick", "standard", "deep")]
    assert costs == sorted(costs)


def test_probes_of_the_clean_view_come_first() -> None:
    needs = [Need.OBJECTIVE in step.probe.needs or Need.CORRUPTED in step.probe.needs for step in plan("deep")]
    assert needs == sorted(needs)


def test_options_reach_the_probe_as_their_types() -> None:
    (step,) = plan("corruption", {"corruption": {"severities": ["1", "3"], "samples": "50"}})
    assert (step.options.severities, step.options.samples) == ((1, 3), 50)
    assert step.settings()["severities"] == [1, 3]


def test_user_options_win_over_the_preset() -> None:
    quick = {step.probe.name: step.options for step in plan("quick", {"perturbation": {"draws": 8}})}
    assert quick["perturbation"].draws == 8


@pytest.mark.parametrize(
    ("selection", "options", "error", "words"),
    [
        ("calibraton", {}, UnknownName, "unknown probe or preset 'calibraton'; did you mean 'calibration'?"),
        ("", {}, UsageError, "no probe was named"),
        ("accuracy,", {}, UsageError, "no probe was named"),
        ("accuracy,accuracy", {}, UsageError, "probe 'accuracy' is named twice"),
        ("calibration", {"calibration": {"bin": 3}}, UnknownName, "did you mean 'bins'?"),
        ("calibration", {"calibration": {"bins": "many"}}, UsageError, "calibration.bins"),
        ("calibration", {"calibration": {"bins": 0}}, UsageError, "at least 1 bin"),
        ("accuracy", {"calibration": {"bins": 3}}, UsageError, "'calibration', which is not run"),
        ("accuracy", {"nonsense": {"bins": 3}}, UnknownName, "unknown probe 'nonsense'"),
        ("corruption", {"corruption": {"severities": ["6"]}}, UsageError, "expected some of 1 to 5, got [6]"),
        ("corruption", {"corruption": {"samples": 0}}, UsageError, "corruption.samples"),
        ("perturbation", {"perturbation": {"draws": 5}}, UsageError, "even number of at least 4, got 5"),
        ("perturbation", {"perturbation": {"paper_draws": 1}}, UsageError, "paper_draws"),
        ("perturbation", {"perturbation": {"radius": 0}}, UsageError, "positive radii"),
        ("spectrum", {"spectrum": {"tolerance": 2}}, UsageError, "spectrum.tolerance"),
        ("spectrum", {"spectrum": {"trace_probes": 1}}, UsageError, "2 trace probes"),
        ("spectrum", {"spectrum": {"density_starts": 1}}, UsageError, "0 or at least 2 density_starts"),
        ("spectrum", {"spectrum": {"soft_rank_starts": -2}}, UsageError, "0 or at least 2 density_starts and soft_rank_starts"),
        ("spectrum", {"spectrum": {"soft_rank_steps": 1}}, UsageError, "2 density_steps and soft_rank_steps"),
        ("spectrum", {"spectrum": {"sums_tolerance": 1}}, UsageError, "spectrum.sums_tolerance"),
        ("spectrum", {"spectrum": {"damping": 0}}, UsageError, "spectrum.damping: expected a positive number, got 0"),
        ("information", {"information": {"damping": -1}}, UsageError, "information.damping: expected a positive number"),
        ("information", {"information": {"iic_examples": 0}}, UsageError, "iic_examples of at least 1"),
        ("information", {"information": {"soft_rank_starts": 1}}, UsageError, "2 soft_rank_starts and soft_rank_steps"),
        ("information", {"information": {"sums_tolerance": 0}}, UsageError, "information.sums_tolerance"),
        ("information", {"information": {"method": "guess"}}, UsageError, "information.method"),
    ],
)
def test_what_cannot_be_is_refused(
    selection: str, options: Mapping[str, Mapping[str, Any]], error: type[SharpauditError], words: str
) -> None:
    with pytest.raises(error) as refusal:
        plan(selection, options)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
