"""Among three or more models: who agrees with whom, who stands where, and do flatter models come out safer?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Card, Measured
from sharpaudit.compare.geometry import is_geometric, is_safety
from sharpaudit.compare.records import Association, Fleet, Model, Standing
from sharpaudit.metrics import agreement
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.stats import MIN_MODELS, benjamini_yekutieli, holm, kendall, mcnemar, spearman, within_condition

Views = Mapping[str, Predictions]


def fleet(models: Sequence[Model], cards: Sequence[Card], views: Sequence[Views]) -> Fleet:
    """Matrices, leaderboard and rank correlations."""
    clean = [view["clean"] for view in views if "clean" in view]
    matrices = len(clean) == len(cards)
    return Fleet(
        disagreement=_matrix(clean, lambda a, b: float(agreement.disagrees(a, b).mean())) if matrices else None,
        error_consistency=_matrix(clean, _kappa) if matrices else None,
        leaderboard=_leaderboard(models, cards, clean if matrices else []),
        associations=associations(models, cards),
    )


def associations(models: Sequence[Model], cards: Sequence[Card]) -> list[Association]:
    """Kendall's tau-b and Spearman's rho of every flatness measure with every safety metric.

    Pooled over all models and, where conditions are known, within them. Below five models there is no number, only the reason.
    """
    names = sorted({m.name for card in cards for m in card.measurements if isinstance(m, Measured)})
    flatness, safety = [n for n in names if is_geometric(n)], [n for n in names if is_safety(n)]
    found = [_association(x, y, models, cards) for x, y in product(flatness, safety)]
    known = [i for i, row in enumerate(found) if row.kendall_p is not None]
    for i, q in zip(known, benjamini_yekutieli([found[i].kendall_p or 0.0 for i in known]), strict=True):
        found[i] = found[i].model_copy(update={"p_adjusted": float(q)})
    return found


def _association(x: str, y: str, models: Sequence[Model], cards: Sequence[Card]) -> Association:
    pairs = [(card.measured(x), card.measured(y), model.condition) for card, model in zip(cards, models, strict=True)]
    both = [(a.value, b.value, condition) for a, b, condition in pairs if a is not None and b is not None]
    flat, safe = [a for a, _, _ in both], [b for _, b, _ in both]
    row = Association(flatness=x, safety=y, n=len(both))
    if len(both) < MIN_MODELS:
        return row.model_copy(update={"reason": f"{len(both)} models; a rank correlation needs at least {MIN_MODELS}"})
    try:
        tau, rho = kendall(flat, safe), spearman(flat, safe)
    except ValueError as error:
        return row.model_copy(update={"reason": str(error).replace("x is", f"{x} is").replace("y is", f"{y} is")})
    update: dict[str, object] = {
        "kendall": tau.value,
        "kendall_ci": tau.ci,
        "kendall_p": tau.p_value,
        "spearman": rho.value,
        "spearman_ci": rho.ci,
        "spearman_p": rho.p_value,
    }
    conditions = [condition for _, _, condition in both]
    if any(condition is None for condition in conditions):
        return row.model_copy(update=update | {"reason": "no correlation within conditions: the conditions are not known"})
    try:
        inside = within_condition(flat, safe, [str(condition) for condition in conditions], seed=cards[0].seed)
    except ValueError as error:
        return row.model_copy(update=update | {"reason": f"no correlation within conditions: {error}"})
    update |= {"within": inside.value, "within_ci": inside.ci, "within_p": inside.p_value}
    return row.model_copy(update=update | {"simpson": inside.value * tau.value < 0})


def _leaderboard(models: Sequence[Model], cards: Sequence[Card], clean: Sequence[Predictions]) -> list[Standing]:
    """Most accurate first; equal accuracies in the order given."""
    values = [
        {m.name: m.value for m in card.measurements if isinstance(m, Measured) and (is_safety(m.name) or is_geometric(m.name))}
        for card in cards
    ]
    order = sorted(range(len(cards)), key=lambda i: -values[i].get("clean.accuracy", -1.0))
    p_values: dict[int, float] = {}
    if clean:
        top, others = clean[order[0]], order[1:]
        raw = [
            mcnemar(int(agreement.negative_flips(top, clean[i]).sum()), int(agreement.positive_flips(top, clean[i]).sum()))
            for i in others
        ]
        p_values = dict(zip(others, map(float, holm(raw)), strict=True))
    return [Standing(label=models[i].label, values=values[i], p_against_first=p_values.get(i)) for i in order]


def _matrix(clean: Sequence[Predictions], entry: Callable[[Predictions, Predictions], float]) -> list[list[float]]:
    return [[entry(a, b) for b in clean] for a in clean]


def _kappa(a: Predictions, b: Predictions) -> float:
    columns: NDArray[np.float64] = agreement.consistency_columns(a, b)
    return float(agreement.error_consistency(columns.mean(axis=0)))
