"""What would not end in time is left out, dearest first, and says so; what overruns is stopped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sharpaudit import audit
from sharpaudit.cost import UnitCosts, fitting, too_long
from sharpaudit.plan import plan
from sharpaudit.probes import Passes, Workload
from tests.cli.conftest import DEMO

WORKLOAD = Workload(test=100, train=0, probe_set=50, classes=10, parameters=1000)


def prepared(probes: str = "accuracy,calibration,perturbation") -> audit.Prepared:
    options = {"perturbation": {"draws": 10, "paper_draws": 4}} if "perturbation" in probes else {}
    return audit.prepare(
        audit.Request(checkpoint=DEMO / "sam-seed0.safetensors", data="digits", probes=probes, options=options, limit=200)
    )


@pytest.mark.parametrize(
    ("seconds", "budget", "kept"),
    [
        ([1, 2, 3], 6, [True, True, True]),
        ([1, 2, 3], 5.9, [True, True, False]),
        ([3, 1, 3], 3, [False, True, False]),
        ([3, 1], 4, [True, True]),
        ([0, 1], 0.5, [True, False]),
        ([1], -1, [False]),
        ([], 0, []),
    ],
)
def test_the_dearest_are_left_out_first(seconds: list[float], budget: float, kept: list[bool]) -> None:
    assert fitting(seconds, budget) == kept


@pytest.mark.parametrize(
    ("seconds", "left", "words"),
    [
        (99.6, 10, "about 100 s"),
        (1, 0.5, "about 1 s"),
        (0.9, 0.5, "less than 1 s"),
        (0, -1, "nothing is left"),
        (9, 0, "nothing"),
    ],
)
def test_no_work_is_left_out_because_it_takes_nothing(seconds: float, left: float, words: str) -> None:
    assert words in too_long(seconds, left)


def test_seconds_are_passes_times_their_price() -> None:
    units = UnitCosts(forward=1.0, loss=10.0, backward=100.0, hvp=1000.0, corruption=5.0)
    (accuracy,) = plan("accuracy")
    (corruption,) = plan("corruption", {"corruption": {"severities": (1,), "samples": 10, "names": "standard15"}})
    (perturbation,) = plan("perturbation")
    passes = perturbation.cost(WORKLOAD)
    assert units.seconds(accuracy, WORKLOAD) == 0
    assert units.seconds(corruption, WORKLOAD) == 15 * 10 * (1 + 5)
    assert units.seconds(perturbation, WORKLOAD) == passes.forward * 10 + passes.backward * 100


def test_a_plan_is_timed_and_what_is_stored_costs_nothing(tmp_path: Path) -> None:
    views, accuracy, calibration, perturbation = audit.plan_costs(prepared(), tmp_path)
    assert views.passes == Passes(forward=200)
    assert views.seconds > 0
    assert perturbation.seconds > 0
    assert not any(cost.stored for cost in (views, accuracy, calibration, perturbation))
    audit.run(prepared(), folder=tmp_path)
    assert all(cost.stored and cost.seconds == 0 for cost in audit.plan_costs(prepared(), tmp_path))


def test_too_little_time_leaves_out_and_names_it() -> None:
    card = audit.run(prepared(), max_seconds=1e-9).card
    assert set(card.incomplete) == {"accuracy", "calibration", "perturbation"}
    assert str(card.probes["perturbation"].reason).startswith("left out to keep within the time allowed: nothing is left of it")
    assert card.measured("clean.accuracy") is None


def test_a_probe_that_overruns_is_stopped_and_the_rest_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def clock_strikes(doing: str, fraction: float) -> None:
        if doing == "relative_flatness":
            monkeypatch.setattr(time, "monotonic", lambda: 1e12)

    monkeypatch.setattr(UnitCosts, "seconds", lambda self, step, workload: 0.0)
    card = audit.run(prepared("accuracy,relative_flatness,perturbation"), clock_strikes, max_seconds=1000.0).card
    assert card.incomplete == ["perturbation"]
    assert card.probes["perturbation"].reason == "the time for the audit was up"
    assert card.measured("clean.accuracy")
