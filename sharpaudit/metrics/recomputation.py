"""What do the predictions beside a card give for its numbers? Each is computed the way its probe did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Card, Scalar
from sharpaudit.metrics import calibration, estimates
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.sources import Views, source
from sharpaudit.stats import (
    Estimate,
    Resamples,
    bootstrap,
    first_mean,
    seed_for,
)

ACROSS_VERSIONS = 0.25
"""Share of its width by which an interval may differ on cards that another version of sharpaudit or numpy made: draws and
interval methods may be others."""

LARGE = 2**24
"""Logits (examples × classes) above which what needs all of them is computed on request only: 50,000 × 1,000 take a minute."""

SCALED = ("calibration.temperature", "calibration.ece_after_temperature", "calibration.nll_after_temperature")
NEED_LOGITS = ("calibration.classwise_ece", *SCALED)


@dataclass(frozen=True)
class Recomputation:
    """The numbers of `card`, computed from `views` the way its probes did."""

    card: Card
    views: Views

    def is_large(self, name: str) -> bool:
        """Whether it would take long."""
        clean_view = self.views.get("clean")
        logits = None if clean_view is None else clean_view.logits
        return name in NEED_LOGITS and logits is not None and logits.size > LARGE

    def examples(self, name: str) -> int:
        """How many stand behind the measurement called `name`, which `estimate` knows."""
        test, train = self.views.get("clean"), self.views.get("train")
        if name.startswith("corruption."):
            behind = source(name, self.views, self.card.data.classes)
            return len(behind.columns) if behind else 0
        assert test is not None
        if name.startswith("clean.accuracy/class/"):
            return int(self._of_class(name.removeprefix("clean.accuracy/class/"), test).sum())
        if name in ("clean.train_accuracy", "clean.generalisation_gap") and train is not None:
            return len(train) + (len(test) if name == "clean.generalisation_gap" else 0)
        return len(test)

    def estimate(self, name: str, options: Mapping[str, Scalar]) -> Estimate | None:
        """What the predictions give for the measurement called `name`; None where it is no function of them."""
        test, train = self.views.get("clean"), self.views.get("train")
        family, _, quantity = name.partition(".")
        if family == "corruption":
            return self._corruption(name)
        if test is None or family not in ("clean", "calibration"):
            return None
        if quantity.startswith("accuracy/class/"):
            of_class = self._of_class(quantity.removeprefix("accuracy/class/"), test)
            return estimates.proportion(test.correct[of_class]) if of_class.any() else None
        match quantity:
            case "accuracy":
                return estimates.proportion(test.correct)
            case "train_accuracy":
                return estimates.proportion(train.correct) if train is not None else None
            case "generalisation_gap":
                return estimates.generalisation_gap(test, train) if train is not None else None
            case "nll" | "brier":
                return bootstrap(getattr(test, quantity), first_mean, self._resamples(len(test)))
            case "worst_class_accuracy" | "class_gap":
                return self._between_classes(quantity, test, _integer(options, "smallest_class", 5))
        return self._calibration(quantity, test, options)

    def spread(self, name: str, found: Estimate, options: Mapping[str, Scalar]) -> float:
        """By how much the number called `name`, here `found`, may differ where it was drawn otherwise.

        The floor of the ECE has an interval of its draws alone; the split for the temperature moves what follows from it by less
        than other images would.
        """
        if name in ("calibration.ece_floor", "calibration.ece_debiased"):
            floor = self.estimate("calibration.ece_floor", options)
            return 2 * _width(floor) if floor else 0.0
        return _width(found) if found.ci else ACROSS_VERSIONS * abs(found.value)

    def _of_class(self, label: str, test: Predictions) -> NDArray[np.bool_]:
        classes = list(self.card.data.classes)
        return np.asarray(test.labels == (classes.index(label) if label in classes else -1))

    def _calibration(self, quantity: str, test: Predictions, options: Mapping[str, Scalar]) -> Estimate | None:
        bins = max(1, min(_integer(options, "bins", calibration.BINS), len(test)))
        match quantity:
            case "ece":
                return self._ece(test, bins)
            case "adaptive_ece":
                return estimates.ece(test, calibration.equal_mass_bins(test.confidence, bins), self._resamples(len(test)))
            case "ece_floor":
                return estimates.ece_floor(self._floor(bins), self._floor_draws)
            case "ece_debiased":
                return estimates.ece_debiased(self._ece(test, bins), self._floor(bins).value)
            case "classwise_ece" if test.logits is not None:
                return estimates.classwise_ece(test, bins, self._resamples(len(test)))
            case "mce":
                largest = calibration.mce(test.confidence, test.correct, bins, _integer(options, "smallest_bin", 10))
                return None if largest is None else Estimate(largest, None)
            case "ks":
                return Estimate(calibration.ks(test.confidence, test.correct), None)
            case "smooth_ece":
                return Estimate(calibration.smooth_ece(test.confidence, test.correct), None)
        if test.logits is None or len(test) < 4:
            return None
        match quantity:
            case "temperature":
                return estimates.temperature(self._scaling)
            case "ece_after_temperature":
                return estimates.ece_after_temperature(self._scaling, bins, self._resamples(len(test)))
            case "nll_after_temperature":
                return estimates.nll_after_temperature(self._scaling, self._resamples(len(test)))
        return None

    def _corruption(self, name: str) -> Estimate | None:
        what, _, cell = name.removeprefix("corruption.").partition("/")
        found = source(name, self.views, self.card.data.classes)
        if found is None:
            return None
        if what == "ece":  # given without an interval
            return Estimate(found.value, None)
        view = self.views.get(f"corruption/{cell}")
        return estimates.proportion(view.correct) if view is not None else found.estimate(self._resamples(len(found.columns)))

    def _between_classes(self, quantity: str, test: Predictions, smallest: int) -> Estimate | None:
        counts = np.bincount(test.labels)
        right = np.bincount(test.labels[test.correct], minlength=len(counts))
        shares = right[counts >= max(1, smallest)] / counts[counts >= max(1, smallest)]
        if not len(shares):
            return None
        return Estimate(float(shares.min() if quantity == "worst_class_accuracy" else np.ptp(shares)), None)

    def _ece(self, view: Predictions, bins: int) -> Estimate:
        return estimates.ece(view, calibration.equal_width_bins(view.confidence, bins), self._resamples(len(view)))

    def _floor(self, bins: int) -> calibration.Floor:
        rng = np.random.default_rng(seed_for(self.card.seed, "calibration", "floor"))
        return calibration.ece_floor(self.views["clean"].confidence, rng=rng, bins=bins, draws=self._floor_draws)

    @property
    def _floor_draws(self) -> int:
        run = self.card.probes.get("calibration")
        return min(10_000, max(2, _integer(run.options if run else {}, "floor_draws", 1000)))

    @cached_property
    def _scaling(self) -> calibration.TemperatureScaling:
        rng = np.random.default_rng(seed_for(self.card.seed, "calibration", "temperature split"))
        return calibration.temperature_scaling(self.views["clean"], rng=rng)

    @cached_property
    def _known(self) -> dict[int, Resamples]:
        return {}

    def _resamples(self, n: int) -> Resamples:
        return self._known.setdefault(n, Resamples(n, seed=self.card.seed))


def _width(found: Estimate) -> float:
    return found.ci.high - found.ci.low if found.ci else 0.0


def _integer(options: Mapping[str, Scalar], name: str, default: int) -> int:
    """An option of an untrusted card."""
    found = options.get(name, default)
    return found if isinstance(found, int) and not isinstance(found, bool) else default
