"""Which estimate is each number of the predictions? Said once, for the probe that measures and the gate that computes again."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Interval
from sharpaudit.metrics import calibration
from sharpaudit.metrics.predictions import Predictions, softmax
from sharpaudit.stats import Estimate, Resamples, absolute_bootstrap, bootstrap, first_mean, newcombe, t_interval, wilson


def proportion(correct: NDArray[np.bool_]) -> Estimate:
    """The share that is right."""
    hits, n = int(np.count_nonzero(correct)), len(correct)
    return Estimate(hits / n, wilson(hits, n))


def generalisation_gap(test: Predictions, train: Predictions) -> Estimate:
    """Training accuracy less test accuracy, of independent samples."""
    hits, seen = int(test.correct.sum()), int(train.correct.sum())
    return Estimate(seen / len(train) - hits / len(test), newcombe(seen, len(train), hits, len(test)))


def ece(test: Predictions, bin_of: NDArray[np.int64], resamples: Resamples) -> Estimate:
    """The ECE over bins, where `bin_of` (n,) says which each example is in."""
    return absolute_bootstrap(calibration.gap_columns(test.confidence, test.correct, bin_of), resamples)


def ece_floor(floor: calibration.Floor, draws: int) -> Estimate:
    """The mean ECE of simulated data sets, with the interval of that mean."""
    return Estimate(floor.value, t_interval(floor.value, floor.standard_error, draws))


def ece_debiased(found: Estimate, floor: float) -> Estimate:
    """An ECE less its floor."""
    shifted = found.ci and Interval(low=found.ci.low - floor, high=found.ci.high - floor, method=f"{found.ci.method}, shifted")
    return replace(found, value=found.value - floor, ci=shifted)


def classwise_ece(test: Predictions, bins: int, resamples: Resamples) -> Estimate:
    """The mean over classes of the ECE of each class's probability; `test` has logits."""
    assert test.logits is not None
    probabilities = softmax(test.logits)
    if probabilities.shape[1] > calibration.MAX_CLASSES_RESAMPLED:
        reason = f"not resampled above {calibration.MAX_CLASSES_RESAMPLED} classes"
        return Estimate(calibration.classwise_ece(probabilities, test.labels, bins), None, reason)
    return absolute_bootstrap(calibration.classwise_columns(probabilities, test.labels, bins), resamples)


def temperature(fitted: calibration.TemperatureScaling) -> Estimate:
    """The geometric mean of the temperatures of two halves."""
    first, second = fitted.temperatures
    return Estimate(math.sqrt(first * second), None, f"two fits on disjoint halves: {first:.4g} and {second:.4g}")


def ece_after_temperature(fitted: calibration.TemperatureScaling, bins: int, resamples: Resamples) -> Estimate:
    """The ECE of each half at the other half's temperature."""
    return absolute_bootstrap(calibration.scaled_gap_columns(fitted, bins), resamples)


def nll_after_temperature(fitted: calibration.TemperatureScaling, resamples: Resamples) -> Estimate:
    """The negative log-likelihood of each half at the other half's temperature."""
    return bootstrap(fitted.scaled.nll, first_mean, resamples)
