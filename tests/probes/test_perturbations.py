"""The probes that move the weights: names, settings, and passes that are exactly the declared ones."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import nn

from sharpaudit.card import Measured, Measurement
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.worst_case import worst_case
from sharpaudit.data import open_images, to_input
from sharpaudit.errors import UsageError
from sharpaudit.execute import run
from sharpaudit.plan import plan, total
from sharpaudit.probes import Workload
from sharpaudit.workbench import Workbench
from tests.benches import bench, model, network

PROBES = ("average_case", "first_order", "keskar", "pac_bayes", "slices", "worst_case")


def taught() -> nn.Sequential:
    """The small network with a last layer fitted to the digits by least squares: right on most of them."""
    module, digits = network(), open_images("digits:train")
    images = to_input(torch.tensor(digits.images[:]), model().subject.preprocessing)
    body, head = module[:-1], cast(nn.Linear, module[-1])
    with torch.no_grad():
        features = body(images).double()
        ones = torch.ones(len(features), 1).double()
        targets = nn.functional.one_hot(torch.tensor(digits.labels), 10).double()
        fitted = torch.linalg.lstsq(torch.cat([features, ones], 1), targets).solution * 20
        head.weight.copy_(fitted[:-1].T)
        head.bias.copy_(fitted[-1])
    return module


def measurements(name: str, options: Mapping[str, Any], on: Workbench) -> dict[str, Measurement]:
    (step,) = plan(name, {name: options})
    return {m.name: m for m in run(step, on).measurements}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("average_case", {"l2": [0.1], "draws": 4}),
        ("first_order", {"iterations": 2}),
        ("keskar", {"iterations": 2}),
        ("pac_bayes", {"draws": 4, "steps": 5, "target": 0.2}),
        ("slices", {"points": 3, "plane": 3}),
        ("worst_case", {"iterations": 2, "normalised": True, "group": 10}),
    ],
)
def test_passes_are_the_declared_ones(name: str, options: Mapping[str, Any]) -> None:
    on = bench(taught())
    on.objective.gradient()  # and whatever it measures once
    (step,) = plan(name, {name: options})
    found = run(step, on)
    assert found.status == "measured", found.reason
    declared = dataclasses.asdict(step.cost(Workload(test=97, train=203, probe_set=37, classes=10, parameters=250)))
    spent = Counter(found.passes)
    spent["backward"] += spent.pop("jvp", 0)  # Jv costs about as much
    assert +spent == {kind: count for kind, count in declared.items() if count}


def test_names_say_norm_form_and_radius() -> None:
    on = bench()
    average = measurements("average_case", {"l2": [0.05], "linf": ["0.1"], "linf_adaptive": [], "draws": 4}, on)
    kinds = [("l2", "0.05"), ("l2/adaptive", "0.1"), ("linf", "0.1")]
    assert set(average) == {f"sharpness.average/{kind}{form}/{rho}" for kind, rho in kinds for form in ("", "/normalised")}
    worst = measurements("worst_case", {"linf": "1e-5", "l2_adaptive": "", "iterations": 1}, on)
    assert set(worst) == {"sharpness.worst/linf/1e-05", "sharpness.worst/linf/adaptive/0.002"}, "as text, '' is no radius"


def test_a_search_says_how_it_ended_and_over_what_its_interval_is() -> None:
    on = bench(taught())
    for group, groups in ((128, 1), (10, 4)):
        found = measurements("worst_case", {"linf_adaptive": [], "iterations": 3, "group": group}, on)[
            "sharpness.worst/l2/adaptive/0.5"
        ]
        assert isinstance(found, Measured) and found.ci and found.iterations == 9 and found.residual is not None
        assert found.converged == (found.residual <= 0.05)
        assert (found.n, found.options["groups"]) == (37 if groups == 1 else 4, groups)
        assert ("over images, for the perturbation found" in found.method) == (groups == 1)


def test_keskar_is_the_rise_in_his_box_in_percent_of_one_plus_the_loss() -> None:
    on = bench(taught())
    found = measurements("keskar", {"iterations": 3}, on)["sharpness.keskar"]
    o = on.objective
    seed = on.narrowed("keskar", frozenset()).seed_for("start")
    box = Ball("linf", 1e-3, o.parameters.abs() + 1)
    truth = worst_case(o, box, group=37, iterations=3, seed=seed).rise
    assert isinstance(found, Measured) and found.ci
    assert found.value == pytest.approx(100 * truth.value / (1 + o.loss()))
    assert found.ci.high - found.ci.low == pytest.approx(100 / (1 + o.loss()) * (truth.interval().high - truth.interval().low))


def test_pac_bayes_measures_what_has_been_learned_and_says_when_nothing_has() -> None:
    found = measurements("pac_bayes", {"draws": 8}, bench(taught()))["sharpness.pac_bayes_sigma"]
    assert isinstance(found, Measured) and found.ci and 0 < found.ci.low < found.value < found.ci.high
    idle = measurements("pac_bayes", {"draws": 8, "steps": 4}, bench())["sharpness.pac_bayes_sigma"]
    assert idle.status == "skipped" and "accuracy falls by less than 0.1 up to σ" in idle.reason
    sized = measurements("pac_bayes", {"draws": 8, "magnitude": True}, bench(taught()))["sharpness.pac_bayes_sigma"]
    assert isinstance(sized, Measured) and sized.value != found.value and "σ²w²" in sized.method


def test_slices_are_tables_with_the_weights_in_the_middle() -> None:
    on = bench()
    (step,) = plan("slices", {"slices": {"points": 5, "plane": 3, "extent": 0.5}})
    found = run(step, on)
    line, plane = found.tables["loss_slice"].records(), found.tables["loss_plane"].records()
    assert [row["alpha"] for row in line] == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert line[2]["loss"] == on.objective.losses().numpy().mean()
    assert all(row["low"] <= row["loss"] <= row["high"] for row in line)  # type: ignore[operator]  # numbers all
    assert [(row["alpha"], row["beta"]) for row in plane] == [(a, b) for a in (-0.5, 0.0, 0.5) for b in (-0.5, 0.0, 0.5)]
    assert plane[4]["loss"] == pytest.approx(line[2]["loss"])


def test_standard_stays_below_four_hundred_forward_passes_of_the_probe_set() -> None:
    steps = [step for step in plan("standard") if step.probe.name in PROBES]
    assert [step.probe.name for step in steps] == ["average_case", "worst_case"]
    workload = Workload(test=0, train=0, probe_set=1, classes=10, parameters=1)
    assert 200 < total(steps, workload).forward_equivalents <= 400


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("average_case", {"draws": 5}, "average_case.draws: expected an even number of at least 4, got 5"),
        ("average_case", {"l2": [0.1, -0.1]}, "average_case: expected positive radii, got -0.1"),
        ("average_case", {"l2": [float("inf")]}, "average_case: expected positive radii, got inf"),
        ("average_case", {"l2_adaptive": [], "linf_adaptive": []}, "average_case: expected a radius in l2, l2_adaptive"),
        (
            "worst_case",
            {"l2": [0.1, 0.1]},
            "worst_case: expected a radius in l2, l2_adaptive, linf or linf_adaptive, and none",
        ),
        ("worst_case", {"group": 0}, "worst_case: expected a group of at least 1 image and at least 1 iteration"),
        ("worst_case", {"iterations": 0}, "worst_case: expected a group of at least 1 image and at least 1 iteration"),
        ("keskar", {"epsilon": 0}, "keskar: expected a positive epsilon and at least 1 iteration"),
        ("keskar", {"iterations": 0}, "keskar: expected a positive epsilon and at least 1 iteration"),
        ("first_order", {"radius": 0}, "first_order: expected a positive radius and at least 1 iteration"),
        ("first_order", {"iterations": 0}, "first_order: expected a positive radius and at least 1 iteration"),
        ("pac_bayes", {"target": 1}, "pac_bayes.target: expected a drop of accuracy between 0 and 1, got 1"),
        ("pac_bayes", {"draws": 3}, "pac_bayes: expected an even number of at least 4 draws, and at least 2 steps"),
        ("pac_bayes", {"steps": 1}, "pac_bayes: expected an even number of at least 4 draws, and at least 2 steps"),
        ("slices", {"points": 4}, "slices.points: expected an odd number of at least 3, got 4"),
        ("slices", {"plane": 2}, "slices.plane: expected 0 or an odd number of at least 3, got 2"),
        ("slices", {"extent": 0}, "slices.extent: expected a positive number, got 0"),
    ],
)
def test_settings_that_no_run_could_honour_are_refused(name: str, options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        plan(name, {name: options})
    assert words in str(refusal.value)
