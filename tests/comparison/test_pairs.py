"""A checkpoint beside itself and beside a copy in which one weight moved: what both have in common cancels, in every measure."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from sharpaudit import probes
from sharpaudit.card import Card, Measured
from sharpaudit.card.measures import role
from sharpaudit.comparison import compare_runs
from sharpaudit.comparison.records import Comparison
from sharpaudit.data import ImageSet, open_images
from sharpaudit.execute import finish
from sharpaudit.metrics.terms import terms_of
from sharpaudit.plan import plan
from sharpaudit.request import BenchSettings
from sharpaudit.store import Run
from sharpaudit.workbench import Workbench
from tests.benches import model, network
from tests.report.cards import full
from tests.seed import SEED

SHORT: dict[str, dict[str, Any]] = {
    "average_case": {"draws": 8},
    "first_order": {"iterations": 4},
    "keskar": {"iterations": 4},
    "pac_bayes": {"draws": 8, "steps": 6},
    "perturbation": {"draws": 12, "paper_draws": 6},
    "slices": {"points": 5},
    "spectrum": {"soft_rank_steps": 20},
    "worst_case": {"iterations": 4, "group": 40, "normalised": True},
}
"""Settings that keep dear probes short."""

UNPAIRED = {"sharpness.pac_bayes_sigma", "sharpness.random_antithetic"}
"""What counts images, of which so small a step changes none; and what single images that meet a kink decide."""

KNOWN_WHOLE = {"sharpness.frobenius", "sharpness.logdet_damped", "sharpness.trace"}
"""Of so small a network all eigenvalues are known: no draws, and these are no means over images."""

AUDITED = sorted(set(probes.names()) - {"corruption", "reparametrisation"})


def trained(seed: int, *, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    """The small network of the benches, with some digits learned."""
    module = network(seed)
    module[2] = act()
    images = open_images("digits:train", limit=400)
    x = torch.from_numpy(images.images).permute(0, 3, 1, 2).float() / 255 * 2 - 1
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(120):
        optimiser.zero_grad()
        loss = functional.cross_entropy(module(x), torch.from_numpy(images.labels))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
    return module.eval()


def moved(module: nn.Module, seed: int, by: float = 1e-3) -> nn.Module:
    """A copy in which one weight, drawn at random, is larger."""
    copy = deepcopy(module)
    weights = [p for p in copy.parameters() if p.ndim > 1]
    rng = np.random.default_rng(seed)
    weight = weights[rng.integers(len(weights))]
    with torch.no_grad():
        weight.view(-1)[rng.integers(weight.numel())] += by
    return copy


def audited(
    module: nn.Module, names: list[str], *, test: ImageSet | None = None, train: ImageSet | None = None, **settings: Any
) -> Run:
    """A run of the probes called `names`."""
    test = test or open_images("digits", limit=97)
    train = train or open_images("digits:train", limit=203)
    bench = Workbench(model(module), test, train, BenchSettings(**{"batch_size": 32, "probe_examples": 80, **settings}))
    done = [finish(step, bench) for step in plan(",".join(names), {name: SHORT[name] for name in names if name in SHORT})]
    assert [item.outcome.reason for item in done if item.outcome.status != "measured"] == []
    base = full()
    card = Card(
        subject=base.subject,
        data=test.record(),
        train_data=train.record(),
        probe_set=bench.probe_set,
        environment=base.environment,
        seed=bench.settings.seed,
        probes={item.outcome.probe: item.outcome for item in done},
        measurements=sorted((m for item in done for m in item.outcome.measurements), key=lambda m: m.name),
        tables={name: table for item in done for name, table in item.outcome.tables.items()},
        reading=[],
    )
    return Run.sealed(card, {key: named for item in done for key, named in item.columns.items()})


@dataclass(frozen=True)
class Three:
    """A network, the same again and a copy with one weight moved."""

    first: Run
    again: Run
    copy: Run


@pytest.fixture(scope="module", params=[nn.ReLU, nn.Tanh], ids=["relu", "tanh"])
def three(request: pytest.FixtureRequest) -> Three:
    """Piecewise linear, so that traces are exact; and smooth, so that they are sampled."""
    module = trained(SEED % 1000, act=request.param)
    return Three(*(audited(each, AUDITED) for each in (module, deepcopy(module), moved(module, SEED))))


def compared(a: Run, b: Run) -> Comparison:
    found = compare_runs(a, b)
    assert found.pair is not None
    return found


def test_against_itself_every_interval_is_zero(three: Three) -> None:
    for again in (three.first, three.again, Run(three.again.card, {})):
        found = compared(three.first, again)
        assert found.pair is not None
        for row in found.pair.differences:
            assert row.ci is not None and (row.difference, row.ci.low, row.ci.high) == (0, 0, 0), (SEED, row)
            assert row.verdict == (None if row.direction == "none" and role(row.name) != "flatness" else "identical"), (SEED, row)
        names = {m.name for m in three.first.card.measurements if isinstance(m, Measured)}
        assert {row.name for row in found.pair.differences} == names
        assert not any("ndecided" in sentence for sentence in found.reading), found.reading
        assert {quadrant.quadrant for quadrant in found.pair.quadrants} == {"identical"}


def test_every_flatness_measure_keeps_its_terms(three: Three) -> None:
    """Without any, a measure has a paired interval only where it equals itself."""
    kept = terms_of(three.first.columns)
    measured = {m.name: m for m in three.first.card.measurements if isinstance(m, Measured) and role(m.name) == "flatness"}
    assert len(measured) > 20
    lacking = sorted(set(measured) - kept.keys())
    assert set(lacking) <= KNOWN_WHOLE | UNPAIRED, f"seed {SEED}"
    for name, terms in kept.items():
        value = three.first.card.measured(name)
        assert value is not None and terms.value == pytest.approx(value.value, rel=1e-9, abs=1e-15), name


def test_a_copy_with_one_weight_moved_is_compared_to_a_tenth_of_the_unpaired_width(three: Three) -> None:
    paired = compared(three.first, three.copy).pair
    alone = compared(Run(three.first.card, {}), Run(three.copy.card, {})).pair
    assert paired is not None and alone is not None
    sampled = {m.name for m in three.first.card.measurements if isinstance(m, Measured) and m.ci is not None}
    widths = {row.name: row.ci.high - row.ci.low for row in alone.differences if row.ci and row.name in sampled}
    seen = set()
    for row in paired.differences:
        if role(row.name) == "flatness" and row.name in widths:
            assert row.ci, (SEED, row)
            if "few images decide the difference" in row.ci.method:  # the wider one
                seen.add(row.name)
            elif row.over:
                assert row.ci.high - row.ci.low <= 0.1 * widths[row.name], (SEED, row)
                seen.add(row.name)
    assert sum(row.over is not None for row in paired.differences if row.name in seen) >= 1, f"seed {SEED}"
    assert {name for name in widths if role(name) == "flatness"} - seen <= UNPAIRED, f"seed {SEED}"


def test_where_the_function_differs_nothing_is_called_identical(three: Three) -> None:
    found = compared(three.first, three.copy).pair
    assert found is not None
    assert [row.name for row in found.differences if row.verdict == "identical"] == [], f"seed {SEED}"
