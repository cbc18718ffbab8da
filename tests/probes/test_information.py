"""What the probe says of a network that fits, of one that does not, and where something is missing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sharpaudit.card import Measured, Measurement, Skipped
from sharpaudit.checkpoints import load
from sharpaudit.data import open_images
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.request import BenchSettings
from sharpaudit.workbench import Workbench
from tests import oracles
from tests.benches import bench
from tests.cli.conftest import DEMO


def measured(on: Workbench, **options: Any) -> dict[str, Measurement]:
    (step,) = plan("information", {"information": options})
    found = run(step, on)
    assert found.status == "measured", found.reason
    return {m.name.removeprefix("estimate."): m for m in found.measurements}


def reason(found: Measurement) -> str:
    assert isinstance(found, Skipped), found
    return found.reason


def number(found: Measurement) -> Measured:
    assert isinstance(found, Measured), found
    return found


def fitted() -> Workbench:
    """A bundled network that fits its training data."""
    settings = BenchSettings(probe_examples=30)
    return Workbench(
        load(DEMO / "baseline-seed0.safetensors"), open_images("digits", limit=50), open_images("digits:train"), settings
    )


def test_the_gaps_are_those_of_the_dense_matrix_over_the_training_images() -> None:
    on = bench()
    o, d = on.objective, 5e-4
    ggn = oracles.dense_ggn(o.module, o.inputs) + d * torch.eye(o.num_parameters).double()
    g = oracles.dense_gradients(o.module, o.inputs, o.labels)
    tic = (g @ torch.linalg.inv(ggn) * g).sum(1).mean().item() / 203
    rank = o.num_parameters - d * torch.linalg.inv(ggn).trace().item()
    found = measured(on, method="exact", soft_rank_starts=10)
    assert number(found["tic"]).value == pytest.approx(tic)
    assert number(found["soft_rank_gap"]).value == pytest.approx(rank / 203)
    assert number(found["tic"]).options == {"damping": d, "train_examples": 203}


def test_every_method_is_stated_and_they_are_of_one_size() -> None:
    methods = ("exact", "quadrature", "diagonal", "last_layer")
    tics = {method: number(measured(bench(), method=method)["tic"]) for method in methods}
    for method, words in zip(
        methods, ("dense linear algebra", "Lanczos quadrature", "diagonal of G", "last layer alone"), strict=True
    ):
        assert words in tics[method].method
    exact, sampled = tics["exact"], tics["quadrature"]
    assert sampled.ci is not None and sampled.ci.low < exact.value < sampled.ci.high
    assert tics["last_layer"].value < exact.value < tics["diagonal"].value


def test_the_number_of_training_images_is_not_guessed() -> None:
    found = measured(bench(train=False))
    for name in ("tic", "soft_rank_gap"):
        assert "the number of training images is unknown" in reason(found[name])
    told = measured(bench(train=False), train_examples=50_000)
    assert number(told["tic"]).options["train_examples"] == 50_000
    assert number(told["tic"]).value == pytest.approx(
        number(measured(bench(train=False), train_examples=25_000)["tic"]).value / 2
    )


def test_the_last_layer_must_exist() -> None:
    convolutional = nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()).eval()
    assert "does not end in a linear layer" in reason(measured(bench(convolutional), method="last_layer")["tic"])


def test_the_evidence_is_refused_to_what_does_not_fit() -> None:
    name = "iic_gaussian_linearised"
    assert "there are none: give training data" in reason(measured(bench(train=False))[name])
    assert "does not fit its training data: 6.40% right, 99.9% are needed" in reason(measured(bench())[name])


def test_the_evidence_of_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    found = number(measured(fitted(), iic_examples=20)["iic_gaussian_linearised"])
    assert found.n == 15 and "M = 135 outputs" in found.method
    assert found.converged and found.reason
    monkeypatch.setattr("sharpaudit.curvature.gauss_newton.interpolation.GRAPH_BYTES", 1000)
    assert "takes too much memory" in reason(measured(fitted())["iic_gaussian_linearised"])


def test_the_soft_rank_is_shared_with_the_spectrum() -> None:
    on = bench()
    (spectrum,), (information,) = plan("spectrum"), plan("information")
    of_spectrum = {m.name: m for m in run(spectrum, on).measurements}
    again = {m.name: m for m in run(information, on).measurements}
    rank = number(of_spectrum["sharpness.soft_rank"]).value
    assert number(again["estimate.soft_rank_gap"]).value == rank / 203
    alone, after = run(information, bench()).passes, run(information, on).passes
    assert after["backward"] < alone["backward"]
