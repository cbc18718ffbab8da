"""When memory runs out, less is done at once: the audit ends, and its numbers are those of a machine with more."""

from __future__ import annotations

import logging
import os
import random

import pytest
import torch
from torch import nn

from sharpaudit.card import Measured
from sharpaudit.cost import unit_costs
from sharpaudit.curvature.objective import Objective
from sharpaudit.device import GRAPH_BYTES, SHARD, Sizes, batch_size, sizes
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.workbench import Workbench
from tests.benches import bench, model
from tests.cases import case
from tests.memory import Limit

SEED = int(os.environ.get("TEST_SEED", random.randrange(2**32)))


def network(rng: random.Random) -> nn.Sequential:
    """On 8×8 grey images; its activations outweigh its weights."""
    torch.manual_seed(rng.randrange(2**32))
    width, activation = rng.randrange(8, 17), rng.choice([nn.ReLU, nn.GELU, nn.Tanh])
    norm = [nn.BatchNorm2d(width)] if rng.random() < 0.5 else []
    first = nn.Conv2d(1, width, 3, padding=1), *norm, activation()
    second = nn.Conv2d(width, width, 3, padding=1), activation()
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 10)).eval()


def measured(on: Workbench, probes: str) -> dict[str, float]:
    """What the probes find; none may fail."""
    found: dict[str, float] = {}
    for step in plan(probes):
        outcome = run(step, on)
        assert outcome.status == "measured", outcome.reason
        found |= {m.name: m.value for m in outcome.measurements if isinstance(m, Measured)}
    return found


@pytest.mark.parametrize("number", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 40))])
def test_with_less_memory_the_numbers_are_the_same(number: int, caplog: pytest.LogCaptureFixture) -> None:
    rng = random.Random(f"{SEED} {number}")
    module, probes = network(rng), rng.choice(["fisher_rao,first_order", "fisher_rao,slices", "accuracy,first_order"])
    precision, rounding = rng.choice([("float64", 1e-9), ("float32", 2e-3)])  # the norm after a step: 1e-3 was seen
    settings = {"batch_size": 64, "probe_examples": 64, "precision": precision}
    with Limit() as free:
        whole = measured(bench(module, train=False, n=64, **settings), probes)
    share = rng.uniform(0.5, 0.95)  # the images, the weights and a graph of one image may take 0.36
    with Limit(share * free.peak) as limit, caplog.at_level(logging.WARNING):
        on = bench(module, train=False, n=64, **settings)
        small = measured(on, probes)
    words = f"TEST_SEED={SEED}: {probes}, {precision}, {share:.2f} of {free.peak:,} bytes"
    assert small == pytest.approx(whole, rel=rounding, abs=rounding * 1e-3), words
    assert limit.peak <= limit.most and limit.refused, words
    assert on.batch_size < 64 and "memory ran out in " in caplog.text, words


def test_a_limit_that_nothing_fits_ends_in_an_error() -> None:
    (step,) = plan("fisher_rao")
    on = bench(train=False)
    with Limit(20_000) as limit:
        outcome = run(step, on)
    assert (outcome.status, on.batch_size) == ("failed", 1)
    assert "bytes in use, 20,000 allowed" in str(outcome.reason) and limit.refused < 20


def test_half_as_much_is_half_of_what_was_used() -> None:
    """Not of a bound that was far away: a ResNet would be tried eight times more."""
    c = case("conv", n=40)
    o = Objective(*c, batch_size=40)
    assert o.held == Sizes(SHARD, GRAPH_BYTES), "nothing is kept yet"
    o.hvp(torch.ones(o.num_parameters))
    assert o.held == Sizes(32, o.shards.memory) and o.shards.memory < 10**6
    assert o.held.halved() == Sizes(16, o.shards.memory // 2)


def test_a_dry_run_too_makes_do_with_less() -> None:
    rng = random.Random(1)
    loaded, settings = model(network(rng)), bench(batch_size=64, probe_examples=64).settings
    test = bench(n=64)._test
    with Limit() as free:
        unit_costs(loaded, test, settings, "float64", plan("fisher_rao"))
    with Limit(0.6 * free.peak) as limit:
        assert unit_costs(loaded, test, settings, "float64", plan("fisher_rao")).hvp > 0
    assert limit.refused


def test_an_accelerator_takes_all_examples_at_once() -> None:
    """As many as fit, that is; a CPU takes as many as it always did."""
    assert sizes(torch.device("cpu")) == Sizes(32, 1 << 30)
    accelerator = sizes(torch.device("meta"))
    c = case("conv-bn", n=40)
    assert Objective(*c, batch_size=40, within=accelerator).shards.size == 40
    assert Objective(*c, batch_size=40).shards.size == 32
    sides = (32, 64, 224, 8000)
    assert [batch_size(torch.device("meta"), (3, side, side)) for side in sides] == [1024, 1024, 222, 1]
    assert [batch_size(torch.device("cpu"), (3, side, side)) for side in sides] == [256] * 4
