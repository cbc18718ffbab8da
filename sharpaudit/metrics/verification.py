"""Do a card's numbers follow from the predictions kept beside it? Each is computed again, the way its probe did.

What is a function of the predictions can be: accuracy, calibration, corruption, and their tables. Of sharpness and flatness some
keep their terms, whose mean they are. Whoever edits the card and all of these so that they agree is not caught here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from sharpaudit import __version__
from sharpaudit.card import Card, Measured
from sharpaudit.errors import clean
from sharpaudit.metrics.corruption import FAMILY
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.recomputation import ACROSS_VERSIONS, LARGE, SCALED, Recomputation
from sharpaudit.metrics.sources import Views, corruption_cells
from sharpaudit.metrics.tables import wrong_tables
from sharpaudit.metrics.terms import Terms
from sharpaudit.stats import (
    Estimate,
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

FUNCTIONS = ("clean.", "calibration.", "corruption.")
"""Families of what the predictions decide; alone `corruption.mce` takes a reference model too."""

SEARCHED = ("calibration.smooth_ece", *SCALED)
DRAWN = ("calibration.ece_floor", "calibration.ece_debiased", *SCALED)


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
