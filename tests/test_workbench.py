"""Expensive things happen once, and what they give is what the model says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharpaudit.data import open_images, to_input
from sharpaudit.execute import run
from sharpaudit.plan import plan
from sharpaudit.workbench import Need, UndeclaredNeed
from tests.benches import bench, model, network

ALL_NEEDS = frozenset(Need)


class Counted(nn.Module):
    """Counts the examples that go through."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.examples = 0

    def forward(self, x: Tensor) -> Tensor:
        self.examples += len(x)
        logits: Tensor = self.inner(x)
        return logits


def test_one_forward_pass_a_view_whatever_reads_it() -> None:
    counted = Counted(network()).eval()
    on = bench(counted)
    for step in plan("accuracy,calibration,relative_flatness"):
        assert run(step, on).status == "measured"
    looking_for_the_head = 1
    assert counted.examples == 97 + 203 + looking_for_the_head


def test_predictions_are_the_models() -> None:
    module = network()
    images = open_images("digits", limit=97)
    with torch.no_grad():
        logits = module(to_input(torch.tensor(images.images[:]), model().subject.preprocessing))
    found = bench(module).predictions
    assert np.array_equal(found.prediction, logits.argmax(1).numpy())
    assert found.nll == pytest.approx(
        nn.functional.cross_entropy(logits, torch.tensor(images.labels), reduction="none").numpy(), rel=1e-5
    )


def test_features_are_the_last_layers_input_on_the_probe_set() -> None:
    module = network()
    on = bench(module)
    seen = on.features
    images = open_images("digits:train", limit=203).take(np.arange(37) * 203 // 37)
    assert on.probe_set.index_hash == images.index_hash
    with torch.no_grad():
        expected = module[:-1](to_input(torch.tensor(images.images[:]), model().subject.preprocessing))
        logits = module[-1](expected)
    assert seen.values == pytest.approx(expected.numpy(), rel=1e-5, abs=1e-6)
    assert seen.probabilities == pytest.approx(logits.softmax(1).numpy(), rel=1e-5, abs=1e-7)


def test_the_probe_set_is_spread_over_a_set_sorted_by_class() -> None:
    on = bench(probe_examples=40)
    assert len(np.unique(on.probe_rows)) == 40
    assert on.probe_rows.min() == 0
    assert on.probe_rows.max() >= 203 - 203 // 40 - 1


def test_without_training_data_the_probe_set_is_of_the_test_set() -> None:
    on = bench(train=False)
    assert on.train_predictions is None
    assert on.probe_set.source == "test"
    assert on.objective.num_examples == 37


def test_curvature_is_in_float64_where_it_is_cheap() -> None:
    assert bench().precision == "float64"
    assert bench().objective.dtype == torch.float64
    assert bench(precision="float32").objective.dtype == torch.float32


def test_seeds_depend_on_audit_probe_and_purpose_and_on_nothing_else() -> None:
    def seed(probe: str, purpose: str, audit: int = 0, weights: int = 0) -> int:
        return bench(network(weights), seed=audit).narrowed(probe, ALL_NEEDS).seed_for(purpose)

    assert seed("a", "x") == seed("a", "x", weights=1)
    assert len({seed("a", "x"), seed("a", "y"), seed("b", "x"), seed("a", "x", audit=1)}) == 4


def test_a_narrowed_bench_gives_only_what_was_declared() -> None:
    narrowed = bench().narrowed("shy", frozenset({Need.PREDICTIONS}))
    assert len(narrowed.predictions) == 97
    for touch in ("features", "objective", "train_predictions"):
        with pytest.raises(UndeclaredNeed, match="probe 'shy' touches"):
            getattr(narrowed, touch)


def test_out_of_memory_halves_the_batch_and_changes_nothing() -> None:
    class Small(nn.Module):
        """Has memory for five images."""

        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 5:
                raise torch.OutOfMemoryError("too many")
            logits: Tensor = self.inner(x)
            return logits

    starved = bench(Small(network()).eval()).predictions
    assert np.array_equal(starved.prediction, bench().predictions.prediction)
    assert starved.nll == pytest.approx(bench().predictions.nll, rel=1e-6)


def test_out_of_memory_for_one_image_is_an_error() -> None:
    class None_(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("no memory at all")

    with pytest.raises(torch.OutOfMemoryError, match="no memory at all"):
        _ = bench(None_().eval(), n=3).predictions


def test_what_probes_share_is_computed_for_the_first_that_asks() -> None:
    on = bench()
    answers = iter("abc")
    first, second = on.narrowed("first", ALL_NEEDS), on.narrowed("second", ALL_NEEDS)
    assert [probe.once(("length", 3), lambda: next(answers)) for probe in (first, second, on)] == ["a", "a", "a"]
    assert on.once(("length", 4), lambda: next(answers)) == "b"
