"""Does everything run on a device as well, and give the numbers of the CPU? On a pretend one, so on every machine.

The same kernels run here and there, so equal means equal to the bit. What is found by looking (probes, corruptions) is covered
without being named here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from sharpaudit import audit, corruptions, probes
from sharpaudit.card import Card
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.store import Run
from sharpaudit.workbench import BenchSettings, Need
from tests.accelerator import DEVICE, MixedDevices, accelerator
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
    """All of a card that must not depend on the device."""
    return card.model_dump(exclude={"timing": True, "environment": {"device", "determinism"}})


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


PRECISIONS = [
    pytest.param(name, precision, id=f"{name}-{precision}")
    for name in probes.names()
    for precision in (("float64", "float32") if Need.OBJECTIVE in probes.find(name).needs else ("float64",))
]


@pytest.mark.parametrize(("name", "precision"), PRECISIONS)
def test_every_probe(name: str, precision: str) -> None:
    """On two ragged batches, and two of the probe set."""
    settings: dict[str, Any] = {"n": 20, "batch_size": 12, "probe_examples": 14, "precision": precision}
    (step,) = plan(name, {name: SHORT.get(name, {})})
    with accelerator():
        found = run(step, bench(narrow(), device=DEVICE, **settings))
    expected = run(step, bench(narrow(), **settings))
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
        assert all((found.columns[view][column] == values).all() for column, values in columns.items()), view


def test_a_forecast_of_the_costs() -> None:
    ready = prepared()
    with accelerator():
        found = audit.plan_costs(there(ready))
    assert [cost.passes for cost in found] == [cost.passes for cost in audit.plan_costs(prepared())]
    assert found[0].seconds > 0
