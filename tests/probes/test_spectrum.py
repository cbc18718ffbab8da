"""The numbers of the card against dense matrices, and what each option leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sharpaudit.card import Measured, Measurement, Outcome, Skipped
from sharpaudit.execute import run
from sharpaudit.plan import plan
from tests import oracles
from tests.benches import bench, network

WHOLE: dict[str, Any] = {"density_starts": 10, "density_steps": 40, "soft_rank_starts": 10}
"""Enough for every eigenvalue of the small network."""


def outcome(module: nn.Module | None = None, **options: Any) -> Outcome:
    (step,) = plan("spectrum", {"spectrum": options})
    found = run(step, bench(module))
    assert found.status == "measured", found.reason
    return found


def by_name(found: Outcome) -> dict[str, Measurement]:
    return {m.name.removeprefix("sharpness."): m for m in found.measurements}


def number(found: Measurement) -> Measured:
    assert isinstance(found, Measured), found
    return found


@pytest.fixture(scope="module")
def hessian() -> NDArray[np.float64]:
    """Ascending eigenvalues."""
    o = bench().objective
    values: NDArray[np.float64] = torch.linalg.eigvalsh(oracles.dense_hessian(o.module, o.inputs, o.labels)).numpy()
    return values


@pytest.fixture(scope="module")
def ggn() -> NDArray[np.float64]:
    o = bench().objective
    values: NDArray[np.float64] = torch.linalg.eigvalsh(oracles.dense_ggn(o.module, o.inputs)).clamp_min(0).numpy()
    return values


def test_with_all_eigenvalues_every_number_is_exact(hessian: NDArray[np.float64], ggn: NDArray[np.float64]) -> None:
    found = by_name(outcome(**WHOLE))
    truth = {
        "lambda_max": hessian[-1],
        "lambda_min": hessian[0],
        "lambda_ratio_1_5": hessian[-1] / hessian[-5],
        "trace": hessian.sum(),
        "trace_ggn": ggn.sum(),
        "frobenius": np.sqrt((hessian**2).sum()),
        "negative_mass": (hessian.clip(max=0) ** 2).sum() / (hessian**2).sum(),
        "soft_rank": (ggn / (ggn + 5e-4)).sum(),
        "logdet_damped": np.log(ggn + 5e-4).sum(),
    }
    assert {name: number(m).value for name, m in found.items()} == pytest.approx(truth, rel=1e-6)
    for name in ("frobenius", "negative_mass", "soft_rank", "logdet_damped"):
        assert number(found[name]).converged and number(found[name]).ci is None
        assert "all eigenvalues on this probe set are known" in str(number(found[name]).reason)


def wide() -> nn.Module:
    """More parameters than are resolved whatever the budget."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 10)).eval()


def test_by_default_what_is_sampled_lies_in_its_interval() -> None:
    found = by_name(outcome(wide()))
    o = bench(wide()).objective
    hessian = oracles.dense_hessian(o.module, o.inputs, o.labels)
    ggn = torch.linalg.eigvalsh(oracles.dense_ggn(o.module, o.inputs)).clamp_min(0).numpy()
    truth = {"frobenius": hessian.norm().item(), "soft_rank": (ggn / (ggn + 5e-4)).sum()}
    for name, value in truth.items():
        m = number(found[name])
        assert m.ci is not None and m.ci.low <= value <= m.ci.high
        assert m.ci.low < m.value < m.ci.high
    assert number(found["soft_rank"]).options == {"damping": 5e-4, "parameters": 385}


def test_a_small_network_says_that_all_eigenvalues_are_known(hessian: NDArray[np.float64]) -> None:
    found = number(by_name(outcome())["frobenius"])
    assert found.value == pytest.approx(np.sqrt((hessian**2).sum()))
    assert (found.method, found.ci) == ("‖H‖_F; all eigenvalues", None)
    assert found.reason == "all eigenvalues on this probe set are known; no interval over images"


def test_tables(hessian: NDArray[np.float64]) -> None:
    tables = outcome(**WHOLE).tables
    assert tables["eigenvalues"].columns == ["end", "rank", "value", "residual", "converged"]
    listed = {(end, rank): value for end, rank, value, *_ in tables["eigenvalues"].rows}
    assert [listed["largest", rank] for rank in range(1, 6)] == pytest.approx(hessian[:-6:-1])
    assert listed["smallest", 1] == pytest.approx(hessian[0])
    density = np.array([[node, weight] for node, weight, *_ in tables["spectrum"].rows], np.float64)
    assert density[:, 1].sum() == pytest.approx(1)
    assert density[:, 0] @ density[:, 1] * len(hessian) == pytest.approx(hessian.sum())
    o = bench().objective
    diagonal = oracles.dense_ggn(o.module, o.inputs).diagonal()
    blocks = [part.sum().item() for part in torch.split(diagonal, [40, 8, 170])]
    assert [[*row[:2], row[2]] for row in tables["layers"].rows] == [
        [name, size, pytest.approx(block)] for name, size, block in zip(("0", "1", "5"), (40, 8, 170), blocks, strict=True)
    ]
    assert sum(float(row[3] or 0) for row in tables["layers"].rows) == pytest.approx(1)


def test_what_is_not_asked_for_is_skipped_and_costs_nothing() -> None:
    found = outcome(all_extremes=False, density_starts=0, soft_rank_starts=0)
    skipped = {m.name.removeprefix("sharpness."): m.reason for m in found.measurements if isinstance(m, Skipped)}
    assert skipped == {
        "lambda_min": "not asked for: spectrum.all_extremes is off",
        "lambda_ratio_1_5": "not asked for: spectrum.all_extremes is off",
        "frobenius": "not asked for: spectrum.density_starts is 0",
        "negative_mass": "not asked for: spectrum.density_starts is 0",
        "soft_rank": "not asked for: spectrum.soft_rank_starts is 0",
        "logdet_damped": "not asked for: spectrum.soft_rank_starts is 0",
    }
    assert set(found.tables) == {"layers"}
    assert found.passes["hvp"] <= 37 * 20 and "ggn" not in found.passes


def test_too_small_a_budget_is_said_not_hidden() -> None:
    found = by_name(outcome(wide(), max_iterations=3, soft_rank_steps=2, damping=1e-8, density_steps=2))
    for name in ("lambda_max", "lambda_min", "lambda_ratio_1_5", "soft_rank", "negative_mass"):
        if isinstance(found[name], Measured):
            assert not number(found[name]).converged
    o = bench(wide()).objective
    ggn = torch.linalg.eigvalsh(oracles.dense_ggn(o.module, o.inputs)).clamp_min(0).numpy()
    rank = number(found["soft_rank"])
    assert rank.ci is not None and rank.ci.low <= (ggn / (ggn + 1e-8)).sum() <= rank.ci.high


def test_steps_whose_vectors_would_fill_the_memory_are_not_taken_and_the_card_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharpaudit.curvature.krylov.lanczos.BASIS_BYTES", 5 * 8 * 385)
    found = outcome(wide())
    numbers = {name: number(m) for name, m in by_name(found).items() if isinstance(m, Measured)}
    assert not numbers["lambda_max"].converged and numbers["lambda_max"].iterations == 5
    assert "loss; 5 of 100 steps, whose vectors fill 1.4e-05 GiB" in numbers["lambda_max"].method
    assert numbers["frobenius"].iterations == 4 * 5 and "; 5 of 16 steps, whose" in numbers["frobenius"].method
    assert numbers["soft_rank"].iterations == 4 * 5 and "; 5 of 40 steps, whose" in numbers["soft_rank"].method


def smooth() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.GELU(), nn.Linear(4, 10)).eval()


def test_a_smooth_network_has_its_trace_sampled_outside_what_is_known() -> None:
    found = by_name(outcome(smooth(), trace_probes=30))
    o = bench(smooth()).objective
    truth = oracles.dense_hessian(o.module, o.inputs, o.labels).trace().item()
    trace = number(found["trace"])
    assert "30 random sign vectors outside a known Krylov space" in trace.method
    assert trace.ci is not None and trace.ci.low <= truth <= trace.ci.high


def test_a_smooth_network_with_all_eigenvalues_known_has_their_sum() -> None:
    found = by_name(outcome(smooth(), density_starts=10, density_steps=40))
    o = bench(smooth()).objective
    truth = oracles.dense_hessian(o.module, o.inputs, o.labels).trace().item()
    assert number(found["trace"]).value == pytest.approx(truth)
    assert number(found["trace"]).method == "sum of all eigenvalues"


class Scaled(nn.Module):
    """A layer for whose gradient norms there is no formula."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(10))
        self.inner = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * self.inner(x)  # type: ignore[no-any-return]  # modules are called untyped


def test_without_a_formula_the_traces_are_still_exact() -> None:
    trace = number(by_name(outcome(Scaled().eval()))["trace_ggn"])
    o = bench(Scaled().eval()).objective
    assert trace.value == pytest.approx(oracles.dense_ggn(o.module, o.inputs).trace().item())
    assert "exact" in trace.method


def test_where_that_is_too_dear_classes_are_drawn() -> None:
    found = by_name(outcome(Scaled().eval(), trace_probes=2))
    o = bench(Scaled().eval()).objective
    truth = oracles.dense_ggn(o.module, o.inputs).trace().item()
    trace = number(found["trace_ggn"])
    assert trace.ci is not None and trace.ci.low <= truth <= trace.ci.high
    assert "20 classes drawn for each image" in trace.method


def test_the_largest_eigenvalue_has_an_interval_over_images(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = number(by_name(outcome())["lambda_max"])
    assert largest.ci is not None and largest.residual is not None
    assert largest.ci.low < largest.value < largest.ci.high
    assert largest.ci.high - largest.ci.low > 2 * largest.residual * largest.value, (
        "the sample is less certain than the iteration"
    )

    def unsupported(*_: object, seed: int) -> None:
        raise NotImplementedError("the derivative for aten::odd is not implemented")

    monkeypatch.setattr("sharpaudit.probes.spectrum.curvature_of_halves", unsupported)
    without = number(by_name(outcome())["lambda_max"])
    assert (without.value, without.ci) == (largest.value, None)
    assert without.reason == "a layer without third derivative: the derivative for aten::odd is not implemented"
