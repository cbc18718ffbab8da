"""Do a card's numbers follow from the predictions kept beside it? Each is computed again, the way its probe did.

What is a function of the predictions can be: accuracy, calibration, corruption, and their tables. Of sharpness and flatness some
keep their terms, whose mean they are. Whoever edits the card and all of these so that they agree is not caught here.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sharpaudit import __version__
from sharpaudit.card import Card, Interval, Measured, Scalar
from sharpaudit.errors import clean
from sharpaudit.metrics import calibration
from sharpaudit.metrics.corruption import FAMILY
from sharpaudit.metrics.predictions import Predictions, softmax
from sharpaudit.metrics.recompute import Views, corruption_cells, source
from sharpaudit.metrics.tables import wrong_tables
from sharpaudit.metrics.terms import Terms
from sharpaudit.stats import (
    Estimate,
    Resamples,
    absolute_bootstrap,
    bootstrap,
    first_mean,
    newcombe,
    seed_for,
    t_interval,
    wilson,
)

EXACT = 1e-9
"""Sums in another order, relative to the value or to 1."""

ITERATED = 1e-5
"""Roots and fixed points that are searched for, to 1e-6."""

ROUNDED = 1e-5
"""Logits are stored as float32: some roundings of it, relative to the largest logit or to 1."""

OF_TERMS = 1e-4
"""Relative to the largest term: an eigenvalue that was iterated for is that of its vector to the square of the residual."""

OF_WIDTH = 0.01
"""An interval may differ by this share of its width: quantiles of resamples step where many are equal."""

ACROSS_VERSIONS = 0.25
"""The same for cards that another version of sharpaudit or numpy made, whose draws and interval methods may be others."""

LARGE = 2**24
"""Logits (examples × classes) above which what needs all of them is computed on request only: 50,000 × 1,000 take a minute."""

FUNCTIONS = ("clean.", "calibration.", "corruption.")
"""Families of what the predictions decide; alone `corruption.mce` takes a reference model too."""

SCALED = ("calibration.temperature", "calibration.ece_after_temperature", "calibration.nll_after_temperature")
SEARCHED = ("calibration.smooth_ece", *SCALED)
DRAWN = ("calibration.ece_floor", "calibration.ece_debiased", *SCALED)
NEED_LOGITS = ("calibration.classwise_ece", *SCALED)


def contradictions(card: Card, views: Views, terms: Mapping[str, Terms], wanted: Collection[str] = ()) -> Iterator[str]:
    """What the card says and its predictions do not: numbers, intervals, counts, and measurements that should be there.

    Args:
        card: as it was read.
        views: its predictions.
        terms: of its other numbers, what they are the means of.
        wanted: names to compute again however large the data.
    """
    if wrong := list(_counts(card, views)):  # what does not fit together gives no numbers
        yield from wrong
        return
    for name, kept in terms.items():
        of_terms = card.measured(name)
        if of_terms is None:
            yield f"{clean(name)} is no number, and has terms"
        elif not abs(of_terms.value - kept.value) <= OF_TERMS * max(abs(of_terms.value), float(np.abs(kept.values).max())):
            yield f"{clean(name)} is {of_terms.value:.6g} on the card and {kept.value:.6g} by its terms"
    yield from wrong_tables(card, views)
    again, same_code = Recomputation(card, views), _is_of_this_code(card)
    for m in card.measurements:
        if isinstance(m, Measured) and (m.name in wanted or not again.is_large(m.name)):
            found = again.estimate(m.name, m.options)
            if found is None and views and m.name.startswith(FUNCTIONS) and m.name != "corruption.mce":
                yield f"{clean(m.name)} is no function of the predictions"
            if found is None:
                continue
            drawn = 0.0 if same_code or m.name not in DRAWN else again.spread(m.name, found, m.options)
            if difference := _difference(m, found, again.examples(m.name), drawn, same_code=same_code):
                yield f"{clean(m.name)} is {difference}"


def _counts(card: Card, views: Views) -> Iterator[str]:
    """Examples and classes, and the measurements that every view must have left on the card."""
    sizes = {"clean": card.data.n, "train": card.train_data.n if card.train_data else None}
    for name, view in views.items():
        if name in sizes and len(view) != sizes[name]:
            yield f"{clean(name)} images are {sizes[name]} on the card and {len(view)} in the predictions"
        if not _is_coherent(view, again_from_logits=view.logits is None or view.logits.size <= LARGE):
            yield f"the columns of '{clean(name)}' contradict each other"
        classes, num_logits = len(card.data.classes), None if view.logits is None else view.logits.shape[1]
        highest = max(view.labels.max(initial=0), view.prediction.max(initial=0))
        if num_logits not in (None, classes) or highest >= classes:
            yield f"the predictions of '{clean(name)}' are of other classes than the card's"
    names = {m.name for m in card.measurements}
    measured = {name for name, run in card.probes.items() if run.status == "measured"}
    expected = [f"clean.accuracy/class/{label}" for label in card.data.classes] if "accuracy" in measured else []
    for name, level in corruption_cells(views) if "corruption" in measured else ():
        family = [f"family/{FAMILY[name]}"] if name in FAMILY else []
        expected += [f"corruption.accuracy/{of}" for of in (name, f"*/{level}", f"{name}/{level}", *family)]
    yield from (f"{clean(name)} is missing" for name in dict.fromkeys(expected) if name not in names)


def _is_coherent(view: Predictions, *, again_from_logits: bool) -> bool:
    """Whether the columns can all be of the same answers: by what they mean, and by the logits where there are any."""
    right, of_label = view.correct, np.exp(-view.nll)
    close = ROUNDED * max(1.0, float(np.abs(view.logits).max(initial=0))) if view.logits is not None else EXACT
    sound = [
        ~(right & (view.margin < 0)) & ~(~right & (view.margin > 0)),
        np.where(right, np.abs(of_label - view.confidence) <= close, of_label <= view.confidence + close),
        (view.confidence > 0) & (view.confidence <= 1 + EXACT) & (view.nll >= -EXACT),
        (view.brier >= -EXACT) & (view.brier <= 2 + EXACT),
    ]
    if view.logits is not None and again_from_logits and view.labels.max(initial=0) < view.logits.shape[1] > 1:
        again = Predictions.from_logits(view.logits, view.labels, keep_logits=False)
        sound += [
            np.abs(getattr(again, name) - getattr(view, name)) <= close for name in ("confidence", "nll", "brier", "margin")
        ]
        sound.append((again.prediction == view.prediction) | (np.abs(view.margin) <= close))
    return all(bool(np.all(each)) for each in sound)


def _difference(m: Measured, found: Estimate, n: int, drawn: float, *, same_code: bool) -> str | None:
    """In what `m` differs from what was `found` on `n` examples, by more than other draws do, in words."""
    if m.n != n:
        return f"of {m.n} examples on the card and of {n} in the predictions"
    tolerance = (ITERATED if m.name in SEARCHED else EXACT) * max(1.0, abs(found.value)) + drawn
    if not abs(m.value - found.value) <= tolerance:
        return f"{m.value:.6g} on the card and {found.value:.6g} by the predictions"
    if m.ci is None or found.ci is None:
        return "without an interval in one of the two" if m.ci is not found.ci and same_code else None
    share = 0.0 if found.ci.method == "wilson" else OF_WIDTH if same_code else ACROSS_VERSIONS
    close = share * (found.ci.high - found.ci.low) + tolerance
    ends = zip((m.ci.low, m.ci.high, m.ci.level), (found.ci.low, found.ci.high, found.ci.level), strict=True)
    if not all(abs(ours - theirs) <= close for ours, theirs in ends):
        of = [f"[{ci.low:.6g}, {ci.high:.6g}]" for ci in (m.ci, found.ci)]
        return f"{m.value:.6g} {of[0]} on the card and {of[1]} by the predictions"
    return None


def _is_of_this_code(card: Card) -> bool:
    """Whether what draws and resamples was the same when the card was made."""
    ours = {"sharpaudit": __version__, "numpy": np.__version__}
    return all(card.environment.versions.get(name) == version for name, version in ours.items())


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
            return _share(test.correct[of_class]) if of_class.any() else None
        match quantity:
            case "accuracy":
                return _share(test.correct)
            case "train_accuracy":
                return _share(train.correct) if train is not None else None
            case "generalisation_gap":
                return _gap(test, train) if train is not None else None
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
                return self._gaps(test, calibration.equal_mass_bins(test.confidence, bins))
            case "ece_floor":
                floor = self._floor(bins)
                return Estimate(floor.value, t_interval(floor.value, floor.standard_error, self._floor_draws))
            case "ece_debiased":
                ece, floor = self._ece(test, bins), self._floor(bins)
                ci = ece.ci and Interval(low=ece.ci.low - floor.value, high=ece.ci.high - floor.value, method=ece.ci.method)
                return Estimate(ece.value - floor.value, ci)
            case "classwise_ece" if test.logits is not None:
                return self._classwise(softmax(test.logits), test, bins)
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
                return Estimate(math.sqrt(math.prod(self._scaling.temperatures)), None)
            case "ece_after_temperature":
                columns = calibration.scaled_gap_columns(self._scaling, bins)
                return absolute_bootstrap(columns, self._resamples(len(test)))
            case "nll_after_temperature":
                return bootstrap(self._scaling.scaled.nll, first_mean, self._resamples(len(test)))
        return None

    def _corruption(self, name: str) -> Estimate | None:
        what, _, cell = name.removeprefix("corruption.").partition("/")
        found = source(name, self.views, self.card.data.classes)
        if found is None:
            return None
        if what == "ece":  # given without an interval
            return Estimate(found.value, None)
        view = self.views.get(f"corruption/{cell}")
        return _share(view.correct) if view is not None else found.estimate(self._resamples(len(found.columns)))

    def _between_classes(self, quantity: str, test: Predictions, smallest: int) -> Estimate | None:
        counts = np.bincount(test.labels)
        right = np.bincount(test.labels[test.correct], minlength=len(counts))
        shares = right[counts >= max(1, smallest)] / counts[counts >= max(1, smallest)]
        if not len(shares):
            return None
        return Estimate(float(shares.min() if quantity == "worst_class_accuracy" else np.ptp(shares)), None)

    def _classwise(self, probabilities: NDArray[np.float64], test: Predictions, bins: int) -> Estimate:
        if probabilities.shape[1] > calibration.MAX_CLASSES_RESAMPLED:
            return Estimate(calibration.classwise_ece(probabilities, test.labels, bins), None)
        columns = calibration.classwise_columns(probabilities, test.labels, bins)
        return absolute_bootstrap(columns, self._resamples(len(test)))

    def _ece(self, view: Predictions, bins: int) -> Estimate:
        return self._gaps(view, calibration.equal_width_bins(view.confidence, bins))

    def _gaps(self, view: Predictions, bin_of: NDArray[np.int64]) -> Estimate:
        return absolute_bootstrap(calibration.gap_columns(view.confidence, view.correct, bin_of), self._resamples(len(view)))

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


def _share(correct: NDArray[np.bool_]) -> Estimate:
    hits, n = int(np.count_nonzero(correct)), len(correct)
    return Estimate(hits / n, wilson(hits, n))


def _gap(test: Predictions, train: Predictions) -> Estimate:
    hits, seen = int(test.correct.sum()), int(train.correct.sum())
    return Estimate(seen / len(train) - hits / len(test), newcombe(seen, len(train), hits, len(test)))


def _integer(options: Mapping[str, Scalar], name: str, default: int) -> int:
    """An option of an untrusted card."""
    found = options.get(name, default)
    return found if isinstance(found, int) and not isinstance(found, bool) else default
