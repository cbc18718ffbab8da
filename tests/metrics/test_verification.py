"""Every number of a real audit that is a function of its predictions is found again, interval and all, whatever the options."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

import sharpaudit
from sharpaudit.card import Measured
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.recomputation import Recomputation
from sharpaudit.metrics.terms import terms_of, views_of
from sharpaudit.metrics.verification import contradictions
from sharpaudit.store import Run
from tests.cli.conftest import DEMO
from tests.seed import AGAIN, SEED


def audited(chance: random.Random) -> Run:
    """An audit with options of all kinds; with few images some classes have none."""
    checkpoints = sorted(DEMO.glob("*.safetensors"))
    cells = [f"{name}/{level}" for name in ("fog", "contrast", "spatter") for level in (1, 3, 5)]
    return sharpaudit.measure(
        chance.choice(checkpoints),
        "digits",
        train_data=chance.choice([None, "digits:train"]),
        probes="accuracy,calibration,corruption,fisher_rao",
        options={
            "accuracy": {"smallest_class": chance.randint(1, 9)},
            "calibration": {
                "bins": chance.randint(1, 30),
                "floor_draws": chance.randint(2, 40),
                "smallest_bin": chance.randint(1, 9),
            },
            "corruption": {"cells": tuple(chance.sample(cells, chance.randint(1, 4))), "samples": chance.choice([5, 50])},
        },
        limit=chance.choice([2, 9, 40, 120]),
        seed=chance.randint(0, 2**40),
    )


def check(run: Run) -> None:
    views = views_of(run.columns)
    assert list(contradictions(run.card, views, terms_of(run.columns))) == []
    again = Recomputation(run.card, views)
    numbers = [m for m in run.card.measurements if isinstance(m, Measured) and not m.name.startswith("flatness.")]
    assert len(numbers) > 10
    assert [m.name for m in numbers if again.estimate(m.name, m.options) is None] == []


@pytest.mark.parametrize("i", range(3))
def test_real_audits_contradict_nothing(i: int) -> None:
    print(AGAIN)
    check(audited(random.Random(SEED + i)))


@pytest.mark.slow
@pytest.mark.parametrize("i", range(3, 60))
def test_many_real_audits_contradict_nothing(i: int) -> None:
    check(audited(random.Random(SEED + i)))


def test_terms_must_give_their_number() -> None:
    run = sharpaudit.measure(DEMO / "baseline-seed0.safetensors", "digits", probes="fisher_rao", limit=20)
    terms = terms_of(run.columns)
    assert terms and list(contradictions(run.card, {}, terms)) == []
    name, kept = next(iter(terms.items()))
    moved = {name: replace(kept, values=kept.values * 1.01)}
    assert [found.partition(" ")[0] for found in contradictions(run.card, {}, moved)] == [name]
    assert list(contradictions(run.card, {}, {"sharpness.trace": kept})) == ["sharpness.trace is no number, and has terms"]


@pytest.mark.parametrize("change", ["prediction", "confidence", "nll", "brier", "margin", "labels"])
def test_columns_that_cannot_be_of_one_answer(change: str) -> None:
    run = sharpaudit.measure(DEMO / "baseline-seed0.safetensors", "digits", probes="accuracy", limit=30)
    view = views_of(run.columns)["clean"]
    for keep_logits in [True] if change in ("brier", "margin") else [True, False]:
        columns = {name: values.copy() for name, values in view.columns().items() if keep_logits or name != "logits"}
        columns[change][:15] = columns[change][15:]
        edited = {"clean": Predictions.from_columns(columns)}
        assert any("contradict" in found for found in contradictions(run.card, edited, {})), keep_logits
    assert np.array_equal(view.labels, run.columns["clean"]["labels"])


def test_cards_of_another_version_may_have_been_resampled_otherwise() -> None:
    run = sharpaudit.measure(DEMO / "baseline-seed0.safetensors", "digits", probes="accuracy", limit=100)
    views = views_of(run.columns)

    def refused(version: str, share: float) -> bool:
        """Whether the interval of the NLL may be narrower by `share` of its width."""
        measurements = []
        for m in run.card.measurements:
            if m.name == "clean.nll" and isinstance(m, Measured) and m.ci is not None:
                low = m.ci.low + share * (m.ci.high - m.ci.low)
                m = m.model_copy(update={"ci": m.ci.model_copy(update={"low": low})})
            measurements.append(m)
        environment = run.card.environment.model_copy(
            update={"versions": run.card.environment.versions | {"sharpaudit": version}}
        )
        card = run.card.model_copy(update={"measurements": measurements, "environment": environment})
        return bool(list(contradictions(card, views, {})))

    assert [refused(sharpaudit.__version__, share) for share in (0.0, 0.05, 0.4)] == [False, True, True]
    assert [refused("0.0.9", share) for share in (0.0, 0.05, 0.4)] == [False, False, True]
