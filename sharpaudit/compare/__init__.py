"""Two or more audits of the same data: what differs, how sure is that, and does sharper go with safer?

Works on cards and the per-example columns stored beside them; no model, no torch. The same examples in the same order make every
difference paired. For two models B is read against A; for three or more there are matrices, a leaderboard and rank correlations.

- `records`: the comparison and its parts
- `geometry`: which measures speak of sharpness, which of safety, which survive reparametrisation
- `differences`: every number side by side, with interval and verdict word
- `quadrants`: flatness against safety
- `fleet`: three or more models
- `reading`: the sentences

The package can be called, as ``sharpaudit.compare(a, b)``: that is `compare_runs`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType

import numpy as np

from sharpaudit.card import Card
from sharpaudit.card.comparable import mismatches
from sharpaudit.compare.differences import MARGINS, differences
from sharpaudit.compare.fleet import fleet
from sharpaudit.compare.quadrants import quadrants
from sharpaudit.compare.reading import read_fleet, read_pair
from sharpaudit.compare.records import Change, Comparison, Model, Pair, ViewDisagreement
from sharpaudit.errors import CardError, clean
from sharpaudit.metrics import agreement
from sharpaudit.metrics.disagreement import disagreement
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.terms import Terms, terms_of, views_of
from sharpaudit.stats import mcnemar
from sharpaudit.store import Run

__all__ = ["Comparison", "compare", "compare_runs"]

Views = Mapping[str, Predictions]

NUM_CHANGED = 10
"""How many of the examples that changed most are listed."""


def compare(
    cards: Sequence[Card],
    columns: Sequence[Views],
    *,
    conditions: Mapping[str, str] | None = None,
    margins: Mapping[str, float] | None = None,
    terms: Sequence[Mapping[str, Terms]] | None = None,
) -> Comparison:
    """The comparison of two or more audits.

    Args:
        cards: at least two, of the same data, seed and probe versions.
        columns: per card its stored predictions by view (``clean``, ``corruption/<name>/<severity>``, …); empty where only the
            card was kept, which costs the paired statistics.
        conditions: how each model was trained, by file name.
        margins: differences that do not matter, by measurement or unit, instead of the defaults.
        terms: per card the stored terms by measurement, which pair the differences of what is not read off predictions.

    Raises:
        CardError: the cards are not comparable, or their predictions are not of the same examples.
    """
    _require_comparable(cards)
    models = _models(cards, conditions or {})
    try:
        margins = {**MARGINS, **(margins or {})}
        pair = _pair(cards, columns, margins, terms or ({}, {})) if len(cards) == 2 else None
        many = fleet(models, cards, columns) if len(cards) > 2 else None
    except ValueError as error:
        raise CardError(f"the stored predictions do not fit together: {error}", hint="measure again") from error
    return Comparison(
        data=cards[0].data.name,
        n=cards[0].data.n,
        index_hash=cards[0].data.index_hash,
        seed=cards[0].seed,
        models=models,
        pair=pair,
        fleet=many,
        reading=[*(read_pair(models, pair) if pair else []), *(read_fleet(models, many) if many else [])],
    )


def compare_runs(*runs: Run, conditions: Mapping[str, str] | None = None) -> Comparison:
    """The comparison of two or more runs, as `compare` makes it from their cards and predictions."""
    try:
        columns, terms = [views_of(run.columns) for run in runs], [terms_of(run.columns) for run in runs]
    except ValueError as error:
        raise CardError(f"the stored predictions are not readable: {clean(str(error))}", hint="measure again") from error
    return compare([run.card for run in runs], columns, conditions=conditions, terms=terms)


class _Callable(ModuleType):
    """Lets `sharpaudit.compare` be this package and, as a public name, its function: importing one would hide the other."""

    __call__ = staticmethod(compare_runs)


sys.modules[__name__].__class__ = _Callable


def _require_comparable(cards: Sequence[Card]) -> None:
    if len(cards) < 2:
        raise CardError(f"a comparison needs at least two cards, got {len(cards)}")
    first = cards[0]
    found = [f"{clean(card.subject.file)}: {clean(str(m))}" for card in cards[1:] for m in mismatches(first, card)]
    if found:
        raise CardError(
            f"these audits cannot be compared with {clean(first.subject.file)}: {'; '.join(found)}",
            hint="measure all of them on the same data with the same seed and version",
        )


def _models(cards: Sequence[Card], conditions: Mapping[str, str]) -> list[Model]:
    """Labels are file names; where two share one, the hash's head is added, and where that is equal too, the position."""
    names = [card.subject.file for card in cards]
    for suffix in ([f" ({card.subject.sha256[:8]})" for card in cards], [f" #{i}" for i in range(1, len(cards) + 1)]):
        count = Counter(names)
        names = [name + extra if count[name] > 1 else name for name, extra in zip(names, suffix, strict=True)]
    return [
        Model(
            label=name,
            file=card.subject.file,
            sha256=card.subject.sha256,
            architecture=card.subject.architecture,
            condition=conditions.get(card.subject.file),
            suspicions=[check.name for check in card.setup.flagged] if card.setup else [],
        )
        for name, card in zip(names, cards, strict=True)
    ]


def _pair(
    cards: Sequence[Card], columns: Sequence[Views], margins: Mapping[str, float], terms: Sequence[Mapping[str, Terms]]
) -> Pair:
    a, b = columns
    rows = differences(cards, columns, margins, terms)
    views = [
        ViewDisagreement(
            view=view,
            n=len(a[view]),
            disagreements=int(agreement.disagrees(a[view], b[view]).sum()),
            negative_flips=int(agreement.negative_flips(a[view], b[view]).sum()),
            positive_flips=int(agreement.positive_flips(a[view], b[view]).sum()),
        )
        for view in sorted(a.keys() & b.keys())
    ]
    clean_view = next((view for view in views if view.view == "clean"), None)
    return Pair(
        differences=rows,
        disagreement=disagreement(a, b, seed=cards[0].seed),
        mcnemar_p=mcnemar(clean_view.negative_flips, clean_view.positive_flips) if clean_view else None,
        views=views,
        changed=_changed(a["clean"], b["clean"], cards[0].data.classes) if clean_view else [],
        quadrants=quadrants(rows),
    )


def _changed(a: Predictions, b: Predictions, classes: Sequence[str]) -> list[Change]:
    """The examples whose label one model finds much less likely than the other; first those that changed most."""
    change = b.nll - a.nll
    order = np.lexsort((np.arange(len(change)), -np.abs(change)))[:NUM_CHANGED]
    return [
        Change(
            index=int(i),
            label=classes[a.labels[i]],
            prediction_a=classes[a.prediction[i]],
            prediction_b=classes[b.prediction[i]],
            confidence_a=float(a.confidence[i]),
            confidence_b=float(b.confidence[i]),
            nll_change=float(change[i]),
        )
        for i in order
        if change[i] != 0
    ]
