"""How often does the host wait for the device? Never more often than is written here.

A wait costs an accelerator the time in which the host finds it the next work. Each place in the package that waits is listed,
with how often one probe may: a new `.item()` in a loop is a place that is not listed, or waits too often.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from sharpaudit import corruptions, probes
from sharpaudit.curvature.krylov.lanczos import Krylov
from sharpaudit.request import BenchSettings
from sharpaudit.workbench import Workbench
from tests.accelerator import DEVICE, accelerator
from tests.benches import bench, model
from tests.test_accelerator import Work, narrow, on_device

Budget = Callable[[Work], int]


def a_network(times: int) -> Budget:
    return lambda work: times * work.objectives


BUDGET: dict[str, Budget] = {
    # predictions: a view is fetched once, and the features of the probe set
    "workbench/columns.py predictions": lambda work: work.views,
    "workbench/features.py FeatureTap.features": lambda work: work.views,
    "corruptions/spatter.py _edges": lambda work: 4,  # two looks in each of two batches whether edges still grow
    # Lanczos: a step
    "curvature/krylov/lanczos.py Krylov.step": lambda work: work.products,
    # once a network
    "curvature/network/soundness.py check": a_network(7),
    "curvature/network/soundness.py check_symmetry": a_network(2),
    "curvature/objective.py Objective.__init__": a_network(2),
    "curvature/objective.py Objective.loss": a_network(1),
    "curvature/network/folding.py _same_logits": a_network(1),
    "curvature/perturbations/average_case.py average_case": a_network(4),
    "curvature/fisher_rao.py _norm": a_network(2),
    "curvature/perturbations/first_order.py first_order": a_network(1),
    "curvature/gauss_newton/ggn_trace.py ggn_trace": a_network(1),
    "curvature/gauss_newton/layers.py with_formula": a_network(2),
    "curvature/gauss_newton/matrix.py GaussNewton.eigenvalues": a_network(1),
    "curvature/gauss_newton/matrix.py GaussNewton.damped_norms": a_network(2),
    "curvature/perturbations/pac_bayes.py noise_tolerance": a_network(2 * (1 + 4 + 2)),  # a step of bisection, in both forms
    "curvature/perturbations/perturbation.py paper_protocol": a_network(1),
    "curvature/perturbations/perturbation.py random_sharpness": a_network(1),
    "curvature/perturbations/perturbation.py rounding": a_network(1),
    "curvature/perturbations/perturbation.py sam_sharpness": a_network(2),
    "curvature/reparametrisation.py rescale": a_network(2),
    "curvature/perturbations/slices.py loss_slice": a_network(1),
    "curvature/perturbations/worst_case.py _search": a_network(4),  # a group and form
    "probes/first_order.py first_order": a_network(1),
    "probes/keskar.py keskar": a_network(1),
    "curvature/perturbations/directional.py curvature_of_halves": a_network(1),
}


@pytest.mark.parametrize("name", probes.names())
def test_no_probe_waits_more_often_than_its_budget(name: str) -> None:
    ran = on_device(name, "float64")
    waits, work = ran.waits, ran.work
    for place, times in waits.items():
        budget = BUDGET.get(f"{place.file} {place.function}")
        assert budget is not None, f"{name} waits for the device {times} times at {place}, which is in no budget"
        assert times <= budget(work), f"{name} waits for the device {times} times at {place}; its budget is {budget(work)}"


@pytest.mark.parametrize("batch_size", [3, 12])
@pytest.mark.parametrize("name", [name for name in corruptions.NAMES if name != "spatter"])
def test_a_view_waits_once_however_many_batches_it_has(name: str, batch_size: int) -> None:
    seen: list[float] = []
    with accelerator() as device:
        images = bench(n=20)._test
        on = Workbench(
            model(narrow()), images, None, BenchSettings(device=DEVICE, batch_size=batch_size), on_progress=seen.append
        )
        device.waits.clear()
        on.corrupted(name, 3)
    assert [(place.function, times) for place, times in device.waits.items()] == [("predictions", 1)]
    assert len(seen) == -(-20 // batch_size), "a bar that is shown costs no wait"


def test_a_product_waits_never_and_a_step_of_lanczos_once() -> None:
    with accelerator() as device:
        objective = bench(narrow(), device=DEVICE, n=20, batch_size=5, probe_examples=14).objective
        v = torch.ones_like(objective.parameters)
        objective.hvp(v)
        device.waits.clear()
        for product in (objective.hvp, objective.ggn_product, objective.logit_jvp):
            product(v)
        objective.gradient()
        objective.shards.release()
        objective.hvp(v)
        assert not device.waits
        space = Krylov(objective.hvp, objective.num_parameters, 0, objective.dtype, DEVICE)
        for steps in range(1, 20):
            space.step()
            assert device.waits.total() == steps
