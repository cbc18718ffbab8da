"""The verdicts of the probe, against what is known of each measure and against dense matrices."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import nn

from sharpaudit import probes
from sharpaudit.card import Outcome, Scalar
from sharpaudit.card.invariance import TABLE
from sharpaudit.data import to_input
from sharpaudit.errors import UsageError
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.probes.reparametrisation import FEW
from tests import oracles
from tests.benches import bench

KNOWN = {
    "flatness.fisher_rao": "invariant",
    "flatness.fisher_rao_paper": "invariant",
    "flatness.relative_trace_normalised": "invariant",
    "flatness.relative_trace": "invariant for whole layers",
    "flatness.relative_lambda": "invariant for whole layers",
    "sharpness.lambda_max": "not invariant",
    "sharpness.trace": "not invariant",
    "sharpness.trace_ggn": "not invariant",
    "sharpness.random": "not invariant",
    "sharpness.sam": "not invariant",
}
"""What theory says of a ReLU network whose last layer is a rescalable one (Dinh et al. 2017, Petzka et al. 2021)."""


def relu_network(activation: type[nn.Module] = nn.ReLU, *, head: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    last = nn.Linear(16, 10) if head else nn.Conv1d(16, 10, 1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), activation(), nn.Flatten(), nn.Linear(36, 16), activation(),
        *([] if head else [nn.Unflatten(1, (16, 1))]), last, *([] if head else [nn.Flatten()]),
    ).eval()  # fmt: skip


def outcome(module: nn.Module, *, settings: dict[str, Any] | None = None, **options: float) -> Outcome:
    (step,) = plan("reparametrisation", {"reparametrisation": options})
    return run(step, bench(module, **settings or {}))


def rows(found: Outcome) -> dict[Scalar, dict[str, Scalar]]:
    return {row["measure"]: row for row in found.tables[TABLE].records()}


@pytest.fixture(scope="module")
def found() -> Outcome:
    """Of an audit in float32: the test itself is in float64 all the same."""
    return outcome(relu_network(), settings={"precision": "float32"})


def test_what_moves_and_what_does_not(found: Outcome) -> None:
    table = rows(found)
    assert {name: table[name]["verdict"] for name in KNOWN} == KNOWN
    for row in table.values():
        if row["verdict"] in ("invariant", "invariant for whole layers"):
            assert row["ratio"] is None or row["ratio"] == pytest.approx(1, abs=1e-9)
    values = {m.name: getattr(m, "value", None) for m in found.measurements}
    assert values["reparametrisation.pairs"] == 1
    assert values["reparametrisation.logit_change"] == pytest.approx(0, abs=1e-13)
    assert values["reparametrisation.moved"] == sum(row["verdict"] == "not invariant" for row in table.values())


def test_the_readings_are_those_of_dense_matrices() -> None:
    """λ_max and the trace before and after, on the same images: H' = D⁻¹HD⁻¹ with D = 10 and 1/10 on the last two layers."""
    module, on = relu_network(), bench()
    (step,) = plan("reparametrisation", {"reparametrisation": {"examples": 5}})
    table = rows(run(step, bench(module)))
    indices = on.probe_rows[[0, 7, 14, 22, 29]]
    images = on._probe_images.take(indices)
    inputs = to_input(torch.tensor(images.images[:]), on.subject.preprocessing).double()
    hessian = oracles.dense_hessian(module.double(), inputs, torch.tensor(images.labels))
    scale = torch.ones(len(hessian)).double()
    sizes = [p.numel() for p in module.parameters()]
    scale[sizes[0] + sizes[1] : -sizes[4] - sizes[5]], scale[-sizes[4] - sizes[5] : -sizes[5]] = 10, 0.1
    moved = hessian / scale[:, None] / scale
    for column, truth in (("before", hessian), ("after", moved)):
        assert table["sharpness.lambda_max"][column] == pytest.approx(torch.linalg.eigvalsh(truth)[-1].item(), rel=2e-3)
        assert table["sharpness.trace"][column] == pytest.approx(truth.trace().item(), rel=1e-9)


def test_larger_factors_move_raw_curvature_further() -> None:
    ratios = [rows(outcome(relu_network(), alpha=alpha, passes=60))["sharpness.sam"]["ratio"] for alpha in (2, 10)]
    assert 1 < ratios[0] < ratios[1]  # type: ignore[operator]  # numbers


def test_nothing_to_rescale_is_not_tested() -> None:
    found = outcome(relu_network(nn.GELU))
    assert (found.status, found.reason) == ("skipped", "nothing in the network can be rescaled without changing its function")
    assert found.tables == {}


def test_a_measure_the_network_does_not_have_is_not_tested_with_the_reason() -> None:
    row = rows(outcome(relu_network(head=False)))["flatness.relative_trace"]
    assert (row["verdict"], row["reason"]) == ("not tested", "the network does not end in a linear layer")


def test_dear_probes_are_not_tested_and_say_so() -> None:
    table = rows(outcome(relu_network(), passes=60))
    assert table["flatness.fisher_rao"]["verdict"] == "invariant"
    row = table["sharpness.lambda_max"]
    assert (row["verdict"], row["before"], row["reason"]) == ("not tested", None, "costs more than 60 forward passes an image")


def test_every_sharpness_and_flatness_measure_there_is_has_a_line(found: Outcome) -> None:
    declared = {name for probe in map(probes.find, probes.names()) for name in probe.measures}
    wanted = {name for name in declared if name.startswith(("sharpness.", "flatness.")) and "*" not in name}
    assert wanted <= set(rows(found))


@pytest.mark.parametrize("name", FEW)
def test_the_cheap_settings_are_options_of_their_probes(name: str) -> None:
    assert set(FEW[name]) <= {field.name for field in fields(probes.find(name).options)}


def test_passes_are_counted() -> None:
    on = bench(relu_network())
    (step,) = plan("reparametrisation", {"reparametrisation": {"passes": 50}})
    on.objective  # noqa: B018  # the shared graph is charged to nobody here
    spent = run(step, on).passes
    assert spent["forward"] > 3 * 8 and spent["jvp"] == 3 * 8


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": 1}, "alpha: expected a factor above 1 and up to a million, got 1.0"),
        ({"alpha": 1e9}, "up to a million"),
        ({"alpha": "nan"}, "got nan"),
        ({"examples": 1}, "examples: expected at least 2, got 1"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan("reparametrisation", {"reparametrisation": options})
