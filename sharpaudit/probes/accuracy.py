"""How often is the model right, over all, class by class, and against its own training data?

Why it matters
    Accuracy is the first safety number; the worst class and the train–test gap say what the mean hides.

How it is computed
    Top-1 predictions of one forward pass, in data order, without augmentation. Proportions carry Wilson intervals. The
    generalisation gap is training accuracy minus test accuracy, both on clean views; its interval treats the two sets as
    independent samples (Newcombe 1998, method 10). Negative log-likelihood (nats) and Brier score, Σ_k (p_k − 1[y = k])² in
    [0, 2], carry BCa bootstrap intervals, or, where few images carry the mean, Student's with the skewness of the images removed.

When not to trust it
    Test images the model was trained on; class accuracies over a handful of images: read their n. Where fewer than ten are wrong,
    Wilson's interval still covers 95 to 96%, but misses low nearly always when it misses. The worst class is chosen after
    looking, so its own interval is too optimistic and is not given.

Sources
    Wilson 1927; Newcombe 1998; Efron 1987 (BCa); Brier 1950.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Measured, Skipped, Table
from sharpaudit.metrics import estimates
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.probes import Finding, NamedTable, Need, Workbench, measured, probe
from sharpaudit.stats import Estimate, Resamples, bootstrap, first_mean

PROPORTION = "top-1, one forward pass, no augmentation"


@dataclass(frozen=True, kw_only=True)
class AccuracyOptions:
    """Settings of the accuracy probe."""

    smallest_class: int = 5
    """Classes with fewer images than this are left out of the worst class and the gap between classes."""


@probe(
    needs={Need.PREDICTIONS, Need.TRAIN, Need.RESAMPLES},
    version=1,
)
def accuracy(bench: Workbench, options: AccuracyOptions) -> Iterator[Finding]:
    """Yield accuracy, NLL, Brier score, per-class accuracies and the generalisation gap."""
    test = bench.predictions
    resamples = bench.resamples(len(test))
    yield _proportion("clean.accuracy", test.correct)
    yield _mean("clean.nll", test.nll, "mean −log p of the label", resamples)
    yield _mean("clean.brier", test.brier, "mean squared distance to the one-hot label, in [0, 2]", resamples)
    yield from _classes(test, bench.classes, options.smallest_class)
    yield from _gap(test, bench.train_predictions)


def _proportion(name: str, correct: NDArray[np.bool_]) -> Measured:
    return measured(name, estimates.proportion(correct), len(correct), PROPORTION)


def _mean(name: str, values: NDArray[np.float64], method: str, resamples: Resamples) -> Measured:
    return measured(name, bootstrap(values, first_mean, resamples), len(values), method)


def _classes(test: Predictions, classes: tuple[str, ...], smallest: int) -> Iterator[Finding]:
    rows: list[list[str | int | float | bool | None]] = []
    shares: list[float] = []
    for index, label in enumerate(classes):
        correct = test.correct[test.labels == index]
        if len(correct) == 0:
            yield Skipped(name=f"clean.accuracy/class/{label}", reason="no image of this class in the data")
            continue
        found = _proportion(f"clean.accuracy/class/{label}", correct)
        assert found.ci is not None
        yield found
        rows.append([label, found.n, found.value, found.ci.low, found.ci.high])
        if found.n >= smallest:
            shares.append(found.value)
    yield NamedTable("class", Table(columns=["label", "n", "accuracy", "low", "high"], rows=rows))
    if len(shares) < 2:
        reason = f"fewer than two classes have {smallest} images or more"
        yield Skipped(name="clean.worst_class_accuracy", reason=reason)
        yield Skipped(name="clean.class_gap", reason=reason)
        return
    chosen = "chosen after looking at every class: an interval of the chosen one would be too narrow"
    method = f"class accuracy over {len(shares)} classes with at least {smallest} images"
    for name, value, which in (
        ("clean.worst_class_accuracy", min(shares), "lowest"),
        ("clean.class_gap", max(shares) - min(shares), "highest minus lowest"),
    ):
        yield measured(name, Estimate(value, None, chosen), len(test), f"{which} {method}", {"smallest_class": smallest})


def _gap(test: Predictions, train: Predictions | None) -> Iterator[Finding]:
    if train is None:
        for name in ("clean.train_accuracy", "clean.generalisation_gap"):
            yield Skipped(name=name, reason="no training data; pass --train-data")
        return
    yield _proportion("clean.train_accuracy", train.correct)
    method = "training accuracy − test accuracy, both un-augmented; can be negative"
    gap = estimates.generalisation_gap(test, train)
    yield measured("clean.generalisation_gap", gap, len(test) + len(train), method)
