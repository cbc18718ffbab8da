"""On a real GPU, what the pretend one cannot show: other kernels, other libraries, memory that ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from sharpaudit import corruptions, probes
from sharpaudit.card import Measured
from sharpaudit.cli.doctor import device
from sharpaudit.curvature.objective import Objective
from sharpaudit.device import compute_settings, sizes
from sharpaudit.execute import run
from sharpaudit.plan import plan
from tests.benches import bench
from tests.cases import case
from tests.corruptions.images import photographs
from tests.test_accelerator import SHORT

GPU = "cuda:0"

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    """As in an audit: without TF32."""
    with compute_settings(1):
        yield


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("name", corruptions.NAMES)
def test_corrupted_images_are_those_of_the_cpu(name: str, size: int) -> None:
    images, indices = photographs(5, size), torch.tensor([5, 2**40, 0, 7, 1])
    for severity in corruptions.SEVERITIES:
        found = corruptions.corrupt(images.to(GPU), name, severity, indices=indices)
        assert found.device == torch.device(GPU)
        assert found.cpu().equal(corruptions.corrupt(images, name, severity, indices=indices)), severity


@pytest.mark.parametrize("name", probes.names())
def test_every_probe_finds_what_it_finds_on_the_cpu(name: str) -> None:
    """In float64; searches go their own way from the first difference in rounding on."""
    (step,) = plan(name, {name: SHORT.get(name, {})})
    found, expected = (run(step, bench(device=each, precision="float64")) for each in (GPU, "cpu"))
    assert found.status == expected.status, found.reason
    values = {m.name: m.value for m in expected.measurements if isinstance(m, Measured)}
    assert {m.name: m.value for m in found.measurements if isinstance(m, Measured)} == pytest.approx(values, rel=1e-3, abs=1e-6)


def test_all_examples_are_in_one_graph() -> None:
    c = case("conv-bn", n=512)
    o = Objective(c.module.to(GPU), c.inputs.to(GPU), c.labels.to(GPU), batch_size=512)
    assert o.shards.size == 512
    free, _ = torch.cuda.mem_get_info(GPU)
    assert free / 4 < sizes(torch.device(GPU)).graph_bytes < free


def test_little_memory_is_enough() -> None:
    """What is left over is refused to us by torch."""
    (step,) = plan("first_order", {"first_order": {"iterations": 2}})
    free = run(step, bench(device=GPU, probe_examples=200, batch_size=200))
    _, total = torch.cuda.mem_get_info(GPU)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(GPU) + 2**22) / total, GPU)
    try:
        on = bench(device=GPU, probe_examples=200, batch_size=200)
        starved = run(step, on)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, GPU)
    assert starved.status == "measured", starved.reason
    values = {m.name: m.value for m in free.measurements if isinstance(m, Measured)}
    assert {m.name: m.value for m in starved.measurements if isinstance(m, Measured)} == pytest.approx(values, rel=1e-3)


def test_doctor_finds_nothing_wrong() -> None:
    assert all(finding.problem is None for finding in device(GPU))
