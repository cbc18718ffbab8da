"""Does everything run on a device as well, and give the numbers of the CPU? On a pretend one, so on every machine.

The same kernels run here and there, so equal means equal to the bit. What is found by looking (probes, corruptions) is covered
without being named here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharpaudit import audit, corruptions, probes
from sharpaudit.card import Card, Outcome
from sharpaudit.cli import main
from sharpaudit.curvature.objective import Objective
from sharpaudit.execute import run
from sharpaudit.plan import Step, plan
from sharpaudit.request import BenchSettings
from sharpaudit.store import Run
from sharpaudit.workbench import Need, Workbench
from tests.accelerator import DEVICE, MixedDevices, Place, accelerator
from tests.benches import bench, network
from tests.cli.conftest import DEMO
from tests.test_every_probe import SHORT as SHORT_PROBES

ROUNDING = 1e-12


def prepared(name: str = "baseline-seed0", **changes: Any) -> audit.Prepared:
    """A small audit of a demo network, on the CPU."""
    request = audit.Request(
        checkpoint=DEMO / f"{name}.safetensors",
        data="digits",
        train_data="digits:train",
        probes="quick,corruption",
        options={"perturbation": {"draws": 4, "paper_draws": 2}, "corruption": {"severities": (5,)}},
        limit=60,
        bench=BenchSettings(**changes),
    )
    return audit.prepare(request)


def there(ready: audit.Prepared) -> audit.Prepared:
    """The same audit on the pretend device; to be made and run inside `accelerator`."""
    return replace(ready, settings=replace(ready.settings, device=DEVICE))


def findings(card: Card) -> dict[str, Any]:
    """All of a card that must not depend on the device; `predictions` is a hash, and a column may differ in its last digit."""
    return card.model_dump(exclude={"timing": True, "predictions": True, "environment": {"device", "determinism"}})


def test_operands_on_two_devices_are_refused() -> None:
    with accelerator():
        here, moved = torch.ones(2), torch.ones(2).to(DEVICE)
        assert (moved + 1).cpu().tolist() == [2.0, 2.0]
        assert (moved * torch.tensor(3.0)).cpu().tolist() == [3.0, 3.0], "a number may come from anywhere"
        with pytest.raises(MixedDevices, match=r"aten.add.Tensor: \[\(2,\)\] on the CPU"):
            moved + here
        with pytest.raises(MixedDevices):
            nn.Linear(2, 2).to(DEVICE)(here)


def test_a_pass_there_and_back_gives_the_gradients_of_the_cpu() -> None:
    images, ours, theirs = torch.rand(5, 1, 8, 8), network(), network()
    ours(images).square().sum().backward()
    with accelerator():
        theirs.to(DEVICE)(images.to(DEVICE)).square().sum().backward()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert a.grad is not None and b.grad is not None
            assert b.grad.device.type == DEVICE
            assert a.grad.equal(b.grad.cpu())


SHORT = {**SHORT_PROBES, "corruption": {"severities": (3,)}}
"""What keeps dear probes short; every severity of every corruption has a test of its own."""


def assert_equal(found: Any, expected: Any) -> None:
    """Equal, but for the last digits of a number in float64."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == (pytest.approx(expected, rel=ROUNDING, nan_ok=True) if isinstance(expected, float) else expected)


def narrow() -> nn.Module:
    """As `tests.benches.network`, with a third of the parameters: what a probe does in Python costs more on this device."""
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 10)
    return nn.Sequential(*layers).eval()


SMALL: dict[str, Any] = {"n": 20, "batch_size": 12, "probe_examples": 14}
"""Two ragged batches, and two of the probe set."""


@dataclass(frozen=True)
class Work:
    """What a probe did."""

    views: int
    """Data sets, and corruptions of them, that were sent through."""
    objectives: int
    """Networks whose curvature was looked at: one, and each rescaled one."""
    products: int
    """With the Hessian or the Gauss–Newton matrix."""


class OnDevice(NamedTuple):
    """What came of a probe on the pretend device."""

    outcome: Outcome
    waits: Counter[Place]
    work: Work


def step_of(name: str) -> Step:
    (step,) = plan(name, {name: SHORT.get(name, {})})
    return step


@cache
def on_device(name: str, precision: str) -> OnDevice:
    made: list[Objective] = []
    benches: list[Workbench] = []

    def noted(begin: Callable[..., None], found: list[Any]) -> Callable[..., None]:
        def begun(self: Any, *args: Any, **settings: Any) -> None:
            found.append(self)
            begin(self, *args, **settings)

        return begun

    with accelerator() as device, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Objective, "__init__", noted(Objective.__init__, made))
        patch.setattr(Workbench, "__init__", noted(Workbench.__init__, benches))
        on = bench(narrow(), device=DEVICE, **SMALL, precision=precision)
        device.waits.clear()  # the network goes over once
        outcome = run(step_of(name), on)
    products = sum((each.passes["hvp"] + each.passes["ggn"]) // each.num_examples for each in made)
    return OnDevice(outcome, device.waits, Work(sum(len(each.views) for each in benches), len(made), products))


PRECISIONS = [
    pytest.param(name, precision, id=f"{name}-{precision}")
    for name in probes.names()
    for precision in (("float64", "float32") if Need.OBJECTIVE in probes.find(name).needs else ("float64",))
]


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_every_probe(name: str, precision: str) -> None:
    found, expected = on_device(name, precision).outcome, run(step_of(name), bench(narrow(), **SMALL, precision=precision))
    assert found.status == "measured", found.reason
    assert_equal(found.model_dump(exclude={"seconds"}), expected.model_dump(exclude={"seconds"}))


@pytest.mark.parametrize("name", corruptions.NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_corruption(name: str, channels: int) -> None:
    images = torch.randint(0, 256, (3, 19, 17, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    indices = torch.tensor([5, 2**40, 0])
    for severity in (0, 1, 5):
        with accelerator():
            made = corruptions.corrupt(images.to(DEVICE), name, severity, indices=indices.to(DEVICE), seed=7)
            assert made.device.type == DEVICE
            found = made.cpu()
        assert found.equal(corruptions.corrupt(images, name, severity, indices=indices, seed=7)), severity


@pytest.fixture(scope="module")
def on_cpu() -> Run:
    return audit.run(prepared())


def test_an_audit_with_its_set_up_check(on_cpu: Run) -> None:
    with accelerator():
        found = audit.run(there(prepared()))
    assert on_cpu.card.setup is not None and on_cpu.card.setup.forward
    assert found.card.environment.device == DEVICE
    assert_equal(findings(found.card), findings(on_cpu.card))
    assert found.columns.keys() == on_cpu.columns.keys()
    for view, columns in on_cpu.columns.items():
        for column, values in columns.items():
            assert found.columns[view][column] == pytest.approx(values, rel=ROUNDING, abs=ROUNDING), (view, column)
            assert view.startswith("sharpness") or np.array_equal(found.columns[view][column], values), (view, column)


def test_a_forecast_of_the_costs() -> None:
    ready = prepared()
    with accelerator():
        found = audit.plan_costs(there(ready))
    assert [cost.passes for cost in found] == [cost.passes for cost in audit.plan_costs(prepared())]
    assert found[0].seconds > 0


def test_a_comparison_from_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command audits both networks where ``--device`` says; only which devices there are is pretended."""
    first, second = (str(DEMO / f"{name}-seed0.safetensors") for name in ("baseline", "sam"))
    documents = []
    monkeypatch.setattr("sharpaudit.prepare.available_device", lambda name: name)
    for device in ("cpu", DEVICE):
        (tmp_path / device).mkdir()
        monkeypatch.chdir(tmp_path / device)
        arguments = [
            "compare",
            first,
            second,
            "--data",
            "digits",
            "--probes",
            "accuracy,calibration",
            "--device",
            device,
            "--json",
        ]
        with accelerator(), pytest.raises(SystemExit) as leave:
            main(arguments)
        assert leave.value.code == 0
        documents.append(json.loads(capsys.readouterr().out))
    on_host, found = documents
    assert_equal(found, on_host)


def test_out_of_memory_halves_the_batch_and_changes_no_number() -> None:
    """The network has memory for five images of the device."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = narrow()

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 5:
                raise torch.OutOfMemoryError("too many")
            logits: Tensor = self.inner(x)
            return logits

    for name in ("accuracy", "corruption", "fisher_rao"):
        with accelerator():
            on = bench(Small().eval(), device=DEVICE, **SMALL)
            found = run(step_of(name), on)
        assert on.batch_size == 3, name
        expected = run(step_of(name), bench(narrow(), **SMALL))
        assert_equal(found.model_dump(include={"measurements"}), expected.model_dump(include={"measurements"}))
