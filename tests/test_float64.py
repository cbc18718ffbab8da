"""A device without float64, as Apple's mps: what needs such numbers is done on the CPU, and the card says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sharpaudit import audit, corruptions, probes
from sharpaudit.card import Measured
from sharpaudit.cli.doctor import device
from sharpaudit.device import available_device, devices, environment, with_float64
from sharpaudit.errors import EnvironmentFailure
from sharpaudit.execute import run
from sharpaudit.plan import plan
from tests.accelerator import DEVICE, accelerator
from tests.benches import bench
from tests.test_accelerator import SHORT, assert_equal, findings, narrow, prepared, there


def test_float64_is_refused_where_there_is_none() -> None:
    """What is proven below rests on this."""
    made: list[Callable[[], Tensor]] = [
        lambda: torch.ones(2).double().to(DEVICE),
        lambda: torch.ones(2).to(DEVICE).double(),
        lambda: torch.zeros(2, dtype=torch.float64, device=DEVICE),
        lambda: torch.ones(2).to(DEVICE).sum(dtype=torch.float64),
    ]
    with accelerator(float64=False):
        assert torch.ones(2).to(DEVICE).dtype == torch.float32
        for make in made:
            with pytest.raises(TypeError, match="this device has no float64"):
                make()
        assert with_float64(torch.device(DEVICE)) == torch.device("cpu")
    with accelerator():
        assert with_float64(torch.device(DEVICE)) == torch.device(DEVICE)


@pytest.mark.parametrize("name", corruptions.NAMES)
def test_corrupted_images_are_those_of_the_cpu(name: str) -> None:
    images = torch.randint(0, 256, (3, 19, 17, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    indices = torch.tensor([5, 2**40, 0])
    with accelerator(float64=False):
        made = corruptions.corrupt(images.to(DEVICE), name, 3, indices=indices.to(DEVICE), seed=7)
        assert made.device.type == DEVICE
        found = made.cpu()
    assert found.equal(corruptions.corrupt(images, name, 3, indices=indices, seed=7))


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_runs(name: str) -> None:
    settings: dict[str, Any] = {"n": 20, "batch_size": 12, "probe_examples": 14}
    (step,) = plan(name, {name: SHORT.get(name, {})})
    with accelerator(float64=False):
        found = run(step, bench(narrow(), device=DEVICE, **settings))
    expected = run(step, bench(narrow(), **settings))
    assert found.status == "measured", found.reason
    assert_equal(found.model_dump(exclude={"seconds"}), expected.model_dump(exclude={"seconds"}))


def test_the_card_says_what_was_done_on_the_cpu() -> None:
    words = f"{DEVICE}, without float64: curvature and corruptions on the CPU"
    with accelerator(float64=False):
        found = audit.run(there(prepared())).card
    expected = audit.run(prepared()).card
    assert (found.environment.device, expected.environment.device) == (words, "cpu")
    assert any(isinstance(m, Measured) and m.name == "corruption.accuracy" for m in found.measurements)
    assert findings(found) == findings(expected)


@pytest.mark.slow
def test_doctor_names_the_probes_that_go_to_the_cpu() -> None:
    with accelerator(float64=False):
        there, run_, product = device(DEVICE)
        assert there.problem is None and "without float64" in there.value
        assert "corruption" in run_.value and "spectrum" in run_.value and "calibration" not in run_.value
        assert run_.value.startswith(f"all {len(probes.names())}; on the CPU: ")
        assert " ms for a Hessian product of resnet20" in product.value
    with accelerator():
        assert next(iter(device(DEVICE))).problem is None


def test_mps_is_used_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    assert available_device("mps") == "mps" and devices()[-1] == "mps"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert available_device("auto") == "cpu"
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for built, why in ((True, "this machine has none"), (False, "this torch was built without it")):
        monkeypatch.setattr("torch.backends.mps.is_built", lambda built=built: built)
        with pytest.raises(EnvironmentFailure, match=f"no mps device: {why}"):
            available_device("mps")


def test_the_environment_names_the_device() -> None:
    with accelerator():
        assert environment(DEVICE).device == DEVICE
