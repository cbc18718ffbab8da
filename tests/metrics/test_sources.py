"""Every recomputable name equals the direct computation, and a difference is B less A."""

import numpy as np
import pytest

from sharpaudit.metrics import calibration
from sharpaudit.metrics.predictions import Predictions, softmax
from sharpaudit.metrics.sources import source
from sharpaudit.stats import Resamples

CLASSES = ["cat", "dog/puppy", "eel"]


def view(seed: int, noise: float, n: int = 240) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return Predictions.from_logits(3 * np.eye(3)[labels] + rng.normal(scale=noise, size=(n, 3)), labels)


def views(shift: int) -> dict[str, Predictions]:
    cells = {
        f"corruption/{name}/{severity}": view(shift + 10 * i + severity, 1 + severity / 2, 60)
        for i, name in enumerate(("fog", "spatter"))
        for severity in (1, 5)
    }
    return {"clean": view(shift, 1.5), "train": view(shift + 1, 1.0, 90), **cells}


def accuracy_of(*names: str) -> float:
    return float(np.mean([views(0)[name].correct.mean() for name in names]))


def ece_of(name: str) -> float:
    return calibration.ece(views(0)[name].confidence, views(0)[name].correct)


CLEAN = views(0)["clean"]
assert CLEAN.logits is not None
LOGITS = CLEAN.logits
BY_CLASS = [float(CLEAN.correct[CLEAN.labels == k].mean()) for k in range(3)]

EXPECTED = {
    "clean.accuracy": accuracy_of("clean"),
    "clean.train_accuracy": accuracy_of("train"),
    "clean.nll": CLEAN.nll.mean(),
    "clean.brier": CLEAN.brier.mean(),
    "clean.accuracy/class/dog/puppy": BY_CLASS[1],
    "clean.worst_class_accuracy": min(BY_CLASS),
    "clean.class_gap": max(BY_CLASS) - min(BY_CLASS),
    "calibration.ece": ece_of("clean"),
    "calibration.adaptive_ece": calibration.adaptive_ece(CLEAN.confidence, CLEAN.correct),
    "calibration.classwise_ece": calibration.classwise_ece(softmax(LOGITS), CLEAN.labels),
    "corruption.accuracy": accuracy_of(*(f"corruption/{c}/{s}" for c in ("fog", "spatter") for s in (1, 5))),
    "corruption.accuracy/fog": accuracy_of("corruption/fog/1", "corruption/fog/5"),
    "corruption.accuracy/fog/5": accuracy_of("corruption/fog/5"),
    "corruption.accuracy/*/5": accuracy_of("corruption/fog/5", "corruption/spatter/5"),
    "corruption.accuracy/family/weather": accuracy_of(*(f"corruption/{c}/{s}" for c in ("fog", "spatter") for s in (1, 5))),
    "corruption.accuracy_standard15": accuracy_of("corruption/fog/1", "corruption/fog/5"),
    "corruption.nll": np.mean([views(0)[f"corruption/{c}/{s}"].nll.mean() for c in ("fog", "spatter") for s in (1, 5)]),
    "corruption.flip_rate": np.mean(
        [views(0)[f"corruption/{c}/{s}"].prediction != CLEAN.prediction[::4] for c in ("fog", "spatter") for s in (1, 5)]
    ),
    "corruption.ece": np.mean([ece_of(f"corruption/{c}/{s}") for c in ("fog", "spatter") for s in (1, 5)]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_value_interval_and_difference(name: str) -> None:
    ours, theirs = source(name, views(0), CLASSES), source(name, views(100), CLASSES)
    assert ours is not None and theirs is not None
    assert ours.value == pytest.approx(EXPECTED[name], abs=1e-6)  # logits are kept in float32
    resamples = Resamples(len(ours.columns), seed=0)
    estimate, difference = ours.estimate(resamples), ours.difference(theirs, resamples)
    assert estimate.value == pytest.approx(ours.value) and difference.value == pytest.approx(ours.value - theirs.value)
    assert estimate.ci is not None and estimate.ci.low <= estimate.value <= estimate.ci.high
    assert difference.ci is not None and difference.ci.low <= difference.value <= difference.ci.high


OTHER = ("sharpness.trace", "clean.accuracy/class/bird", "calibration.ks")
NOT_THERE = ("corruption.mce", "corruption.accuracy/snow", "corruption.accuracy/family/noise")


@pytest.mark.parametrize("name", [*OTHER, *NOT_THERE])
def test_other_names_have_no_source(name: str) -> None:
    assert source(name, views(0), CLASSES) is None


def test_cells_of_other_images_are_not_averaged() -> None:
    ragged = views(0) | {"corruption/fog/3": view(7, 2.0, 59)}
    assert source("corruption.accuracy", ragged, CLASSES) is None
    assert source("corruption.accuracy/fog/3", ragged, CLASSES) is not None
