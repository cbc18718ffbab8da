"""What does the comparison say, in plain words? Never that sharp is bad: only what went with what, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sharpaudit.card import Interval
from sharpaudit.card.invariance import is_invariant
from sharpaudit.card.measures import find, in_words, role
from sharpaudit.card.prose import fixed, interval, signed
from sharpaudit.comparison.records import Association, Difference, Fleet, Model, Pair
from sharpaudit.errors import clean

FEW = 6
"""Names listed in one sentence."""


def read_pair(models: Sequence[Model], pair: Pair) -> list[str]:
    """The sentences for two models, A and B."""
    return [
        *_same(models),
        *_setups(models),
        *_accuracy(pair),
        *_disagreement(pair),
        *_safety(pair.differences),
        *_flatness(pair.differences),
        *_quadrants(pair),
        *_parametrisation(models, pair.differences),
    ]


def read_fleet(models: Sequence[Model], fleet: Fleet) -> list[str]:
    """The sentences for three or more models."""
    return [*_setups(models), *_standing(fleet), *_agreement(models, fleet), *_associations(fleet)]


def _same(models: Sequence[Model]) -> Iterator[str]:
    first, second = models
    if first.sha256 == second.sha256:
        yield "A and B are the same checkpoint: where they were measured alike, every difference is exactly 0."


def _setups(models: Sequence[Model]) -> Iterator[str]:
    suspect = [f"{model.label} ({', '.join(model.suspicions)})" for model in models if model.suspicions]
    if suspect:
        yield (
            f"The set-up of {_listed(suspect)} is suspect: differences may come from how the images were shown, not from the "
            "models."
        )


def _accuracy(pair: Pair) -> Iterator[str]:
    row = next((row for row in pair.differences if row.name == "clean.accuracy"), None)
    if row is None:
        return
    test = "" if pair.mcnemar_p is None else f"; exact McNemar p = {pair.mcnemar_p:.2g}"
    yield (
        f"B is right on {100 * row.b:.1f}% of {row.n:,} images and A on {100 * row.a:.1f}%: "
        f"a difference of {signed(100 * row.difference, 1)} points{interval(row.ci, 1, 100)}, {row.verdict}{test}."
    )


def _disagreement(pair: Pair) -> Iterator[str]:
    found = {m.name.partition(".")[2]: m for m in pair.disagreement}
    if "rate" not in found:
        yield "How often they disagree is not known: not both runs keep their predictions."
        return
    rate, negative, positive = found["rate"], found["negative_flips"], found["positive_flips"]
    yield (
        f"They disagree on {rate.options['count']} of {rate.n:,} images ({100 * rate.value:.1f}%): B gets "
        f"{negative.options['count']} wrong that A got right, and fixes {positive.options['count']}."
    )
    kappa = found["error_consistency"]
    if kappa.ci is not None:
        if kappa.ci.low > 0:
            words = "more often than expected by chance"
        elif kappa.ci.high < 0:
            words = "less often than expected by chance"
        else:
            words = "about as often as expected by chance"
        yield f"They err on the same images {words}: error consistency κ = {fixed(kappa.value, 2)}{interval(kappa.ci, 2)}."


def _safety(rows: Sequence[Difference]) -> Iterator[str]:
    for word in ("better", "worse"):
        found = [row for row in rows if row.verdict == word]
        if found:
            yield f"B is {word} in {_measures(found)} (after correction for the number of questions asked)."


def _flatness(rows: Sequence[Difference]) -> Iterator[str]:
    geometric = [row for row in rows if role(row) == "flatness"]
    for word in ("sharper", "flatter"):
        shown = [f"{in_words(row)} ({row.a:.3g} → {row.b:.3g})" for row in geometric if row.verdict == word]
        if shown:
            yield f"B is {word} than A by {_titles(shown)}."
    for word in ("identical", "undecided"):
        if alike := [row for row in geometric if row.verdict == word]:
            yield f"{word.capitalize()}: {_measures(alike)}."
    if counted := [row for row in geometric if not ((known := find(row)) and known.is_second_reading)]:
        sharper, flatter = (sum(row.verdict == word for row in counted) for word in ("sharper", "flatter"))
        yield (
            f"Of {len(counted)} flatness measures, second readings of one quantity not counted, {sharper} say sharper, "
            f"{flatter} flatter, {len(counted) - sharper - flatter} neither. Sharpness "
            "describes the function that was learned; by itself it is neither good nor bad."
        )


def _quadrants(pair: Pair) -> Iterator[str]:
    quadrants, rows = pair.quadrants, {row.name: row for row in pair.differences}
    for word in ("sharper and safer", "flatter and less safe", "flatter and safer", "sharper and less safe"):
        members = [quadrant for quadrant in quadrants if quadrant.quadrant == word]
        if members:
            flatness = [rows[name] for name in dict.fromkeys(quadrant.flatness for quadrant in members)]
            safety = [rows[name] for name in dict.fromkeys(quadrant.safety for quadrant in members)]
            yield f"B is {word} by {_measures(flatness)}, against {_measures(safety)}."
    if quadrants and all(quadrant.quadrant == "undecided" for quadrant in quadrants):
        yield "No flatness measure and safety metric differ clearly enough to say whether sharper goes with safer here."


def _parametrisation(models: Sequence[Model], rows: Sequence[Difference]) -> Iterator[str]:
    geometric = [row for row in rows if role(row) == "flatness"]
    tried = any(row.rescaling not in (None, "not tested") for row in geometric)
    invariant = [row for row in geometric if is_invariant(row.name, row.rescaling)]
    raw = [row for row in geometric if row not in invariant]
    if invariant and tried:
        yield f"Rescaling layers of both networks, with no change to their logits, left {_measures(invariant)} alone."
    elif invariant:
        yield f"Rescaling layers of a ReLU network without changing its function leaves {_measures(invariant)} alone."
    if raw:
        yield (
            f"It {'moved' if tried else 'moves'} {_measures(raw)}: raw scales cannot be compared across reparametrisations, so a "
            "difference in them can come from the scale of the weights alone."
        )
    if raw and models[0].architecture != models[1].architecture:
        yield (
            f"The architectures differ ({clean(models[0].architecture)}, {clean(models[1].architecture)}): between them raw "
            "sharpness says nothing about which function is sharper."
        )


def _standing(fleet: Fleet) -> Iterator[str]:
    board = [row for row in fleet.leaderboard if "clean.accuracy" in row.values]
    if len(board) < 2:
        return
    first = board[0]
    tied = [row.label for row in board[1:] if row.p_against_first is not None and row.p_against_first > 0.05]
    yield f"{clean(first.label)} is the most accurate ({100 * first.values['clean.accuracy']:.1f}%)" + (
        f"; the data cannot tell {_listed(tied)} from it." if tied else "."
    )


def _agreement(models: Sequence[Model], fleet: Fleet) -> Iterator[str]:
    if fleet.disagreement is None:
        yield "Which of them agree is not known: not all of these runs keep their predictions."
        return
    rates = [(rate, i, j) for i, row in enumerate(fleet.disagreement) for j, rate in enumerate(row) if i < j]
    labels = [clean(models[place].label) for place in fleet.matrices_of]
    among = f"Of the {len(labels)} most accurate, " if len(labels) < len(models) else ""
    for word, (rate, i, j) in (("closest", min(rates)), ("farthest apart", max(rates))):
        yield f"{among}{labels[i]} and {labels[j]} are {word}: they disagree on {100 * rate:.1f}%."


def _associations(fleet: Fleet) -> Iterator[str]:
    rows = fleet.associations
    known = [row for row in rows if row.kendall is not None]
    if rows and not known:
        yield f"No rank correlation of flatness with safety: {rows[0].reason}."
    clear = [row for row in known if row.p_adjusted is not None and row.p_adjusted <= 0.05]
    for row in sorted(clear, key=lambda row: -abs(row.kendall or 0.0))[:FEW] if len(clear) > FEW else clear:
        more = "more" if (row.kendall or 0.0) > 0 else "less"
        yield (
            f"Across {row.n} models, more {fleet.title(row.flatness)} goes with {more} {fleet.title(row.safety)}: "
            f"τ = {signed(row.kendall or 0.0, 2)}{interval(row.kendall_ci, 2)}."
        )
    if len(clear) > FEW:
        yield f"{len(clear) - FEW} more of {len(known)} pairs of measures go together as clearly, if less strongly."
    if known and not any((row.p_adjusted or 1.0) <= 0.05 for row in known):
        yield f"Across {max(row.n for row in known)} models no flatness measure goes clearly with or against a safety metric."
    if reversed_ := [row for row in known if row.simpson]:
        yield _reversal(reversed_, len(known), fleet)
    if known and all(row.within is None for row in known):
        yield f"These correlations are pooled and may reverse within a training recipe: {known[0].reason}."


def _reversal(rows: Sequence[Association], of: int, fleet: Fleet) -> str:
    """That correlations change their sign within conditions, and whether chance alone could do that."""
    clear = [row for row in rows if _decided(row.kendall_ci) and _decided(row.within_ci)]
    shown = max(clear or rows, key=lambda row: min(abs(row.kendall or 0.0), abs(row.within or 0.0)))
    return (
        f"Simpson's paradox{'' if clear else ' or chance'}: in {len(rows)} of {of} pairs of measures the correlation over all "
        f"models and the one within conditions have opposite signs, most of all {fleet.title(shown.flatness)} against "
        f"{fleet.title(shown.safety)} (τ = {signed(shown.kendall or 0.0, 2)}{interval(shown.kendall_ci, 2)} and "
        f"{signed(shown.within or 0.0, 2)}{interval(shown.within_ci, 2)}); "
        + (
            f"in {len(clear)} both intervals exclude 0, and the pooled number compares conditions, not minima."
            if clear
            else "in none do both intervals exclude 0."
        )
    )


def _decided(ci: Interval | None) -> bool:
    return ci is not None and (ci.low > 0 or ci.high < 0)


def _measures(rows: Sequence[Difference]) -> str:
    return _titles([in_words(row) for row in rows])


def _titles(texts: Sequence[str]) -> str:
    """Some texts that may hold commas themselves."""
    return _listed(texts, "; ")


def _listed(names: Sequence[str], comma: str = ", ") -> str:
    shown = [clean(name) for name in names[:FEW]] + ([f"{len(names) - FEW} more"] if len(names) > FEW else [])
    return shown[0] if len(shown) == 1 else f"{comma.join(shown[:-1])} and {shown[-1]}"
