"""Two or more audits of the same data: what differs, how sure is that, and does sharper go with safer?

Works on cards and the per-example columns stored beside them; no model, no torch. The same examples in the same order make every
difference paired. For two models B is read against A; for three or more there are matrices, a leaderboard and rank correlations.

- `records`: the comparison and its parts
- `geometry`: which measures speak of sharpness, which of safety, which survive reparametrisation
- `differences`: every number side by side, with interval and verdict word
- `quadrants`: flatness against safety
- `members`: what is kept of each of many runs
- `fleet`: three or more models
- `sentences`: what it says in words
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from sharpaudit.card import Card
from sharpaudit.comparison.differences import MARGINS, differences
from sharpaudit.comparison.fleet import fleet
from sharpaudit.comparison.members import Member, Members, members
from sharpaudit.comparison.quadrants import quadrants
from sharpaudit.comparison.records import Change, Comparison, Model, Pair, ViewDisagreement
from sharpaudit.comparison.sentences import read_fleet, read_pair
from sharpaudit.errors import CardError, clean
from sharpaudit.metrics import agreement
from sharpaudit.metrics.disagreement import disagreement
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.terms import Columns, Terms, terms_of, views_of
from sharpaudit.stats import mcnemar
from sharpaudit.store import Run

__all__ = ["Comparison", "compare", "compare_many", "compare_runs"]

Views = Mapping[str, Predictions]
Kept = TypeVar("Kept")

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
    found = members(zip(cards, columns, strict=True))
    if len(cards) > 2:
        return _fleet(found, conditions or {})
    models = _models(found.members, conditions or {})
    try:
        pair = _pair(cards, columns, {**MARGINS, **(margins or {})}, terms or ({}, {}))
    except ValueError as error:
        raise CardError(f"the stored predictions do not fit together: {error}", hint="measure again") from error
    return _comparison(found, models, pair=pair, reading=read_pair(models, pair))


def compare_runs(*runs: Run, conditions: Mapping[str, str] | None = None) -> Comparison:
    """The comparison of two or more runs, as `compare` makes it from their cards and predictions."""
    if len(runs) > 2:
        return compare_many(runs, lambda files: conditions or {})
    terms = [_read(terms_of, run) for run in runs]
    return compare([run.card for run in runs], [_read(views_of, run) for run in runs], conditions=conditions, terms=terms)


def compare_many(runs: Iterable[Run], conditions: Callable[[Sequence[str]], Mapping[str, str]]) -> Comparison:
    """The comparison of three or more runs, taken and let go one by one; `conditions` is asked with their file names."""
    found = members((run.card, _read(views_of, run)) for run in runs)
    return _fleet(found, conditions([member.file for member in found.members]))


def _fleet(found: Members, conditions: Mapping[str, str]) -> Comparison:
    models = _models(found.members, conditions)
    many = fleet(models, found)
    return _comparison(found, models, fleet=many, reading=read_fleet(models, many))


def _comparison(found: Members, models: list[Model], **parts: Any) -> Comparison:
    data = found.first.data
    return Comparison(data=data.name, n=data.n, index_hash=data.index_hash, seed=found.first.seed, models=models, **parts)


def _read(part: Callable[[Columns], dict[str, Kept]], run: Run) -> dict[str, Kept]:
    """The views or the terms of a run."""
    try:
        return part(run.columns)
    except ValueError as error:
        raise CardError(
            f"the stored predictions are not readable: {clean(str(error))}", path=run.card.subject.file, hint="measure again"
        ) from error


def _models(members: Sequence[Member], conditions: Mapping[str, str]) -> list[Model]:
    """Labels are file names; where two share one, the hash's head is added, and where that is equal too, the position."""
    names = [member.file for member in members]
    for suffix in ([f" ({member.sha256[:8]})" for member in members], [f" #{i}" for i in range(1, len(members) + 1)]):
        count = Counter(names)
        names = [name + extra if count[name] > 1 else name for name, extra in zip(names, suffix, strict=True)]
    return [
        Model(
            label=name,
            file=member.file,
            sha256=member.sha256,
            architecture=member.architecture,
            condition=conditions.get(member.file),
            suspicions=member.suspicions,
        )
        for name, member in zip(names, members, strict=True)
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
