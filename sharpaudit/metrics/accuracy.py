"""How often is the model right, and for whom?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sharpaudit.metrics.predictions import Predictions

Floats = NDArray[np.float64]

MIN_PER_CLASS = 200
"""Below this many examples of a class its accuracy is too uncertain for a worst-class statement (measures.md §11)."""


def class_counts(predictions: Predictions, num_classes: int) -> NDArray[np.int64]:
    """(num_classes, 2): examples of each class, and how many of them were right."""
    n = np.bincount(predictions.labels, minlength=num_classes)
    right = np.bincount(predictions.labels[predictions.correct], minlength=num_classes)
    return np.stack([n, right], axis=1)


def class_columns(predictions: Predictions, num_classes: int) -> Floats:
    """(n, 2 · num_classes) columns whose means `class_accuracies` turns into the accuracy of each class."""
    member = np.eye(num_classes)[predictions.labels]
    return np.concatenate([member, member * predictions.correct[:, None]], axis=1)


def class_accuracies(means: Floats) -> Floats:
    """The accuracy of each class, (..., num_classes); NaN for a class without examples."""
    num_classes = means.shape[-1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = means[..., num_classes:] / means[..., :num_classes]
    return result


def worst_class(means: Floats) -> Floats:
    """The smallest class accuracy. Biased downward: the minimum of noisy numbers is below the number of the worst class."""
    return np.asarray(np.nanmin(class_accuracies(means), axis=-1))


def class_gap(means: Floats) -> Floats:
    """The largest less the smallest class accuracy. Biased upward, for the same reason."""
    accuracies = class_accuracies(means)
    return np.asarray(np.nanmax(accuracies, axis=-1) - np.nanmin(accuracies, axis=-1))
