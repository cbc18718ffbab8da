"""How often is the model right, and for whom?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sharpaudit.metrics.predictions import Predictions

Floats = NDArray[np.float64]


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
