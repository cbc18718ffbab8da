"""Small audits made from logits: a card and the views behind it, as a measuring run would leave them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sharpaudit.card import Card, DataRecord, Environment, Interval, Measured, Preprocessing, ProbeRun, ProbeSet, Subject
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.sources import source
from sharpaudit.stats import Resamples

CLASSES = ["cat", "dog", "eel", "fox"]

DIRECTIONS = {"clean.accuracy": "higher", "corruption.accuracy": "higher", "clean.train_accuracy": "higher"}
UNITS = {"clean.nll": "nats", "clean.brier": "1"}


@dataclass(frozen=True)
class Audit:
    """What a run folder holds."""

    card: Card
    views: dict[str, Predictions]


def view(seed: int, strength: float, n: int = 200, labels_seed: int = 0) -> Predictions:
    """A model that knows the label with `strength` against noise of 1, on the `n` examples that every model sees."""
    labels = np.random.default_rng(labels_seed).integers(len(CLASSES), size=n)
    noise = np.random.default_rng(seed + 1000).normal(size=(n, len(CLASSES)))
    return Predictions.from_logits(strength * np.eye(len(CLASSES))[labels] + noise, labels)


def audit(
    seed: int = 0,
    strength: float = 2.0,
    *,
    n: int = 200,
    flatness: Mapping[str, float | tuple[float, float] | None] | None = None,
    **card: object,
) -> Audit:
    """An audit of the model (`seed`, `strength`).

    Args:
        seed: of the model's noise.
        strength: how well it knows the label.
        n: examples.
        flatness: value by measurement, alone (±1%), with its own half-width, or None to leave the measurement out.
        card: fields of the card to replace.
    """
    views = {
        "clean": view(seed, strength, n),
        "train": view(seed + 1, 1.3 * strength, 150, labels_seed=1),
        "corruption/fog/1": view(seed + 2, 0.8 * strength, n),
        "corruption/fog/5": view(seed + 3, 0.5 * strength, n),
    }
    names = ["clean.accuracy", "clean.brier", "clean.nll", "clean.train_accuracy", "calibration.ece", "corruption.accuracy"]
    measurements = []
    for name in names:
        behind = source(name, views, CLASSES)
        assert behind is not None
        found = behind.estimate(Resamples(len(behind.columns), seed=0, num=300))
        measurements.append(measured(name, found.value, found.ci, n=len(behind.columns)))
    gap = measurements[3].value - measurements[0].value
    measurements.append(measured("clean.generalisation_gap", gap, Interval(low=gap - 0.1, high=gap + 0.1, method="newcombe")))
    for name, given in (flatness or {"flatness.fisher_rao": 3.0, "sharpness.lambda_max": 40.0}).items():
        if given is not None:
            value, half = given if isinstance(given, tuple) else (given, abs(given) / 100)
            measurements.append(
                measured(name, value, Interval(low=value - half, high=value + half, method="t"), direction="none")
            )
    base = Card(
        subject=Subject(
            file=f"model{seed}.th",
            sha256=f"{seed:064x}",
            size_bytes=1,
            format="safetensors",
            architecture="zoo:small",
            architecture_origin="--arch",
            num_parameters=10,
            num_classes=len(CLASSES),
            preprocessing=Preprocessing(mean=[0.5], std=[0.5], input_size=[1, 8, 8], origin="test"),
        ),
        data=DataRecord(name="digits", n=n, index_hash="sha256:data", classes=CLASSES),
        probe_set=ProbeSet(source="test", n=50, index_hash="sha256:probe", precision="float64"),
        environment=Environment(versions={}, device="cpu", dtype="float32", tf32=False, threads=1),
        seed=0,
        probes={"accuracy": ProbeRun(status="measured", version=1), "spectrum": ProbeRun(status="measured", version=1)},
        measurements=sorted(measurements, key=lambda m: m.name),
        reading=[],
    )
    return Audit(base.model_copy(update=card), views)


def measured(name: str, value: float, ci: Interval | None = None, *, n: int = 200, **fields: Any) -> Measured:
    """A measurement as a probe would give it."""
    return Measured.model_validate(
        {
            "name": name,
            "value": value,
            "unit": UNITS.get(name, "fraction"),
            "direction": DIRECTIONS.get(name, "lower"),
            "n": n,
            "ci": ci,
            "reason": None if ci else "none was asked for",
            "method": "test",
            "probe": "spectrum" if name.startswith("sharpness") else "accuracy",
            "version": 1,
        }
        | fields
    )
