"""Which per-example columns stand behind a measurement's name?

Who holds the predictions can recompute the number, give it an interval, and give the difference of two models its paired
interval. A comparison, a gate and the probes all ask here, so that there is one definition of each.

Views are called ``clean``, ``train`` and ``corruption/<name>/<severity>``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpaudit.metrics import accuracy, calibration
from sharpaudit.metrics.corruption import FAMILY, STANDARD15, mean_over_cells
from sharpaudit.metrics.predictions import Predictions, softmax
from sharpaudit.stats.resampling import (
    Estimate,
    Resamples,
    Statistic,
    absolute_bootstrap,
    bootstrap,
    first_mean,
    paired_bootstrap,
)
from sharpaudit.stats.spacing import evenly_spaced

Floats = NDArray[np.float64]
Views = Mapping[str, Predictions]


@dataclass(frozen=True)
class Source:
    """A number as a function of the means of per-example columns (n, m)."""

    columns: Floats
    statistic: Statistic | None
    """None: the sum of the absolute means, which needs an interval of its own (`absolute_bootstrap`)."""

    @property
    def value(self) -> float:
        """The number itself."""
        means = self.columns.mean(axis=0)
        return float(np.abs(means).sum() if self.statistic is None else self.statistic(means))

    def estimate(self, resamples: Resamples, level: float = 0.95) -> Estimate:
        """The number with its interval."""
        if self.statistic is None:
            return absolute_bootstrap(self.columns, resamples, level=level)
        return bootstrap(self.columns, self.statistic, resamples, level)

    def difference(self, from_: Source, resamples: Resamples, level: float = 0.95) -> Estimate:
        """The number less another model's on the same examples, with its paired interval."""
        if self.statistic is None:
            return absolute_bootstrap(self.columns, resamples, minus=from_.columns, level=level)
        return paired_bootstrap(from_.columns, self.columns, self.statistic, resamples, level)


def source(name: str, views: Views, classes: Sequence[str]) -> Source | None:
    """What stands behind the measurement `name`, or None where it is no function of means of these views' columns."""
    family, _, quantity = name.partition(".")
    if family == "corruption":
        return _corruption(quantity, views)
    view = views.get("train" if quantity == "train_accuracy" else "clean")
    if view is None or family not in ("clean", "calibration"):
        return None
    if quantity.startswith("accuracy/class/"):
        label = quantity.removeprefix("accuracy/class/")
        if label not in classes:
            return None
        k = list(classes).index(label)
        return Source(accuracy.class_columns(view, len(classes)), lambda means: accuracy.class_accuracies(means)[..., k])
    match name:
        case "clean.accuracy" | "clean.train_accuracy":
            return Source(view.correct[:, None].astype(np.float64), first_mean)
        case "clean.nll":
            return Source(view.nll[:, None], first_mean)
        case "clean.brier":
            return Source(view.brier[:, None], first_mean)
        case "clean.worst_class_accuracy":
            return Source(accuracy.class_columns(view, len(classes)), accuracy.worst_class)
        case "clean.class_gap":
            return Source(accuracy.class_columns(view, len(classes)), accuracy.class_gap)
        case "calibration.ece":
            return Source(_gaps(view), None)
        case "calibration.adaptive_ece":
            bins = calibration.equal_mass_bins(view.confidence)
            return Source(calibration.gap_columns(view.confidence, view.correct, bins), None)
        case "calibration.classwise_ece" if view.logits is not None:
            return Source(calibration.classwise_columns(softmax(view.logits), view.labels), None)
        case _:
            return None


def corruption_cells(views: Views) -> dict[tuple[str, int], Predictions]:
    """The views of corrupted images by (name, severity)."""
    cells = {}
    for name, view in views.items():
        family, _, cell = name.partition("/")
        if family == "corruption":
            corruption, _, severity = cell.rpartition("/")
            cells[corruption, int(severity)] = view
    return cells


def _corruption(quantity: str, views: Views) -> Source | None:
    """Images are the clusters: an image's columns are averaged over its cells, so that its 75 answers count as one."""
    what, _, qualifier = quantity.partition("/")
    chosen = [
        view
        for (name, level), view in sorted(corruption_cells(views).items(), key=lambda item: item[0])
        if _covers(qualifier, name, level) and (what != "accuracy_standard15" or name in STANDARD15)
    ]
    if not chosen or len({len(view) for view in chosen}) > 1:
        return None
    match what:
        case "accuracy" | "accuracy_standard15":
            return _mean_over_cells([view.correct for view in chosen])
        case "nll":
            return _mean_over_cells([view.nll for view in chosen])
        case "flip_rate" if "clean" in views:
            clean = views["clean"].prediction
            clean = clean[evenly_spaced(len(clean), len(chosen[0]))]
            return _mean_over_cells([view.prediction != clean for view in chosen])
        case "ece":
            return Source(np.concatenate([_gaps(view) for view in chosen], axis=1) / len(chosen), None)
        case _:
            return None


def _covers(qualifier: str, name: str, level: int) -> bool:
    """Whether the cell is one of ``fog``, ``fog/3``, ``*/3`` or ``family/weather``; an empty qualifier covers all."""
    corruption, _, severity = qualifier.partition("/")
    if corruption == "family":
        return FAMILY.get(name) == severity
    return corruption in ("", "*", name) and severity in ("", str(level))


def _mean_over_cells(cells: Sequence[NDArray[np.bool_] | Floats]) -> Source:
    return Source(mean_over_cells(cells)[:, None], first_mean)


def _gaps(view: Predictions) -> Floats:
    return calibration.gap_columns(view.confidence, view.correct, calibration.equal_width_bins(view.confidence))
