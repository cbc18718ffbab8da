"""What every probe promises, checked for each file in the package; a new probe is covered without a change here."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch import nn

from sharpaudit import probes
from sharpaudit.card import Measured, Outcome, measures
from sharpaudit.execute import run
from sharpaudit.plan import Step, plan
from sharpaudit.probes import Workload
from sharpaudit.workbench import Need, UndeclaredNeed, Workbench
from tests.benches import bench, network

HEADINGS = ("Why it matters", "How it is computed", "When not to trust it", "Sources")
WORKLOAD = Workload(test=97, train=203, probe_set=37, classes=10, parameters=250)

SHORT: dict[str, dict[str, Any]] = {
    "average_case": {"draws": 4},
    "first_order": {"iterations": 2},
    "keskar": {"iterations": 2},
    "pac_bayes": {"draws": 4, "steps": 4},
    "slices": {"points": 5},
    "worst_case": {"iterations": 2},
}
"""Settings that keep dear probes short; the others run with their defaults."""

UNTAUGHT = {"pac_bayes"}
"""Probes that have nothing to measure on a network that has learned nothing, as the small one here; they say so."""


def step_of(name: str) -> Step:
    (step,) = plan(name, {name: SHORT.get(name, {})})
    return step


def outcome(name: str, on: Workbench) -> Outcome:
    return run(step_of(name), on)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    return {name: outcome(name, bench()) for name in probes.names()}


each_probe = pytest.mark.parametrize("name", probes.names())


@each_probe
def test_documentation_has_the_four_headings(name: str) -> None:
    text = probes.find(name).documentation
    assert text.splitlines()[0].endswith("?"), "the first line is the question the probe answers"
    positions = [text.index(heading) for heading in HEADINGS]
    assert positions == sorted(positions)


@each_probe
def test_options_are_frozen_and_described(name: str) -> None:
    options = probes.find(name).options
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError)):
        setattr(options(), next((f.name for f in dataclasses.fields(options)), "anything"), 1)


@each_probe
def test_it_measures(name: str, outcomes: dict[str, Outcome]) -> None:
    found = outcomes[name]
    assert found.status == "measured", found.reason
    assert any(isinstance(m, Measured) for m in found.measurements) != (name in UNTAUGHT)


@each_probe
def test_yields_what_it_declares(name: str, outcomes: dict[str, Outcome]) -> None:
    probe = probes.find(name)
    names = [m.name for m in outcomes[name].measurements]
    assert len(names) == len(set(names)), "a name occurs twice"
    assert [n for n in names if not probe.declares(n)] == []
    assert [n for n in probe.measures if "*" not in n and n not in names] == []


@each_probe
def test_every_number_is_stamped_and_has_an_interval_or_a_reason(name: str, outcomes: dict[str, Outcome]) -> None:
    for found in outcomes[name].measurements:
        assert (found.probe, found.version) == (name, probes.find(name).version)
        if isinstance(found, Measured):
            assert (found.ci is None) != (found.reason is None), f"{found.name}: an interval or a reason, not both"
            assert found.n > 0
        if isinstance(found, Measured) and found.ci is not None:
            assert found.ci.low <= found.ci.high


@each_probe
def test_sharpness_has_no_good_direction(name: str, outcomes: dict[str, Outcome]) -> None:
    for found in outcomes[name].measurements:
        if isinstance(found, Measured) and found.name.startswith(("sharpness.", "flatness.")):
            assert found.direction == "none"


@each_probe
def test_numbers_are_what_the_catalogue_says(name: str, outcomes: dict[str, Outcome]) -> None:
    for found in outcomes[name].measurements:
        entry = measures.find(found.name)
        assert entry is not None and entry.probe == name, found.name
        if isinstance(found, Measured):
            assert (found.unit, found.direction) == (entry.scale.unit, entry.direction), found.name
            assert entry.scale.low - 1e-9 <= found.value <= entry.scale.high + 1e-9, found.name


@each_probe
def test_touches_exactly_what_it_declares(name: str) -> None:
    probe = probes.find(name)
    narrowed = bench().narrowed(name, probe.needs)
    list(probe(narrowed, step_of(name).options))
    assert narrowed.touched == probe.needs


@each_probe
def test_an_undeclared_need_is_a_defect(name: str) -> None:
    probe = dataclasses.replace(probes.find(name), needs=frozenset())
    with pytest.raises(UndeclaredNeed, match=name):
        run(Step(probe, step_of(name).options), bench())


@each_probe
def test_order_does_not_matter(name: str, outcomes: dict[str, Outcome]) -> None:
    """Another probe has run on the bench before; every byte is the same."""
    used = bench()
    for other in sorted(set(probes.names()) - {name}):
        outcome(other, used)
    assert outcome(name, used).measurements == outcomes[name].measurements


@each_probe
def test_cost_is_an_upper_bound_on_what_was_spent(name: str, outcomes: dict[str, Outcome]) -> None:
    cost = step_of(name).cost(WORKLOAD)
    spent = outcomes[name].passes
    assert spent.get("forward", 0) <= cost.forward + WORKLOAD.test + WORKLOAD.train
    assert spent.get("backward", 0) <= cost.backward + WORKLOAD.probe_set


@each_probe
@pytest.mark.parametrize("batch_size", [1, 7, 97])
def test_batch_size_changes_nothing(name: str, batch_size: int, outcomes: dict[str, Outcome]) -> None:
    other = outcome(name, bench(batch_size=batch_size))
    for ours, theirs in zip(outcomes[name].measurements, other.measurements, strict=True):
        assert ours.name == theirs.name
        if isinstance(ours, Measured) and isinstance(theirs, Measured):
            assert theirs.value == pytest.approx(ours.value, rel=1e-6, abs=1e-9), ours.name


@each_probe
def test_a_network_without_linear_head_is_measured_or_skipped(name: str) -> None:
    convolutional = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()).eval()
    found = outcome(name, bench(convolutional))
    assert found.status in ("measured", "skipped"), found.reason


@each_probe
def test_a_broken_network_is_a_failure_with_a_reason(name: str) -> None:
    broken = network()
    next(broken.parameters()).data.fill_(float("nan"))
    found = outcome(name, bench(broken))
    assert found.status == "failed" or all(not isinstance(m, Measured) for m in found.measurements)
    assert found.reason


@each_probe
def test_the_model_is_left_alone(name: str) -> None:
    module = network()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    outcome(name, bench(module))
    assert all(value.equal(before[key]) for key, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_tables_are_rectangular(outcomes: dict[str, Outcome]) -> None:
    for found in outcomes.values():
        for table in found.tables.values():
            assert all(len(row) == len(table.columns) for row in table.rows)


def test_needs_are_documented() -> None:
    assert set(Need) >= {need for name in probes.names() for need in probes.find(name).needs}
