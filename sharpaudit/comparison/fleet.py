"""Among three or more models: who agrees with whom, who stands where, and do flatter models come out safer?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Declared
from sharpaudit.card.measures import role
from sharpaudit.comparison.members import Classes, Labels, Member, Members
from sharpaudit.comparison.records import Association, Fleet, Model, Standing
from sharpaudit.metrics import agreement
from sharpaudit.stats import MIN_MODELS, benjamini_yekutieli, holm, kendall, mcnemar, spearman, within_condition

MOST_PAIRED = 200
"""More models than this are not all held against each other: the most accurate of them are."""


def fleet(models: Sequence[Model], found: Members) -> Fleet:
    """Matrices, leaderboard and rank correlations."""
    members = found.members
    order = sorted(range(len(members)), key=lambda i: -members[i].values.get("clean.accuracy", -1.0))
    paired = sorted(order[:MOST_PAIRED])
    predictions = [member.prediction for member in members]
    seen = [prediction for prediction in predictions if prediction is not None]
    known = found.labels is not None and len(seen) == len(members)
    chosen = np.stack([seen[i] for i in paired]) if known else None
    return Fleet(
        matrices_of=paired if known else [],
        disagreement=None if chosen is None else _disagreement(chosen).tolist(),
        error_consistency=None if chosen is None else _consistency(chosen == found.labels).tolist(),
        leaderboard=_leaderboard(models, members, order, seen if known else [], found.labels),
        associations=associations(models, members, found.first.seed),
        declared=declared(members),
    )


def declared(members: Sequence[Member]) -> dict[str, Declared]:
    """What plug-ins say of the numbers of these models, the first of them that has one."""
    return {name: entry for member in reversed(members) for name, entry in member.declared.items() if name in member.values}


def associations(models: Sequence[Model], members: Sequence[Member], seed: int) -> list[Association]:
    """Kendall's tau-b and Spearman's rho of every flatness measure with every safety metric.

    Pooled over all models and, where conditions are known, within them. Below five models there is no number, only the reason.
    """
    names = sorted({name for member in members for name in member.values})
    said = declared(members)
    roles = {name: said[name].role if name in said else role(name) for name in names}
    flatness, safety = ([n for n in names if roles[n] == side] for side in ("flatness", "safety"))
    found = [_association(x, y, models, members, seed) for x, y in product(flatness, safety)]
    known = [i for i, row in enumerate(found) if row.kendall_p is not None]
    for i, q in zip(known, benjamini_yekutieli([found[i].kendall_p or 0.0 for i in known]), strict=True):
        found[i] = found[i].model_copy(update={"p_adjusted": float(q)})
    return found


def _association(x: str, y: str, models: Sequence[Model], members: Sequence[Member], seed: int) -> Association:
    both = [
        (member.values[x], member.values[y], model.condition)
        for member, model in zip(members, models, strict=True)
        if x in member.values and y in member.values
    ]
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
        inside = within_condition(flat, safe, [str(condition) for condition in conditions], seed=seed)
    except ValueError as error:
        return row.model_copy(update=update | {"reason": f"no correlation within conditions: {error}"})
    update |= {"within": inside.value, "within_ci": inside.ci, "within_p": inside.p_value}
    return row.model_copy(update=update | {"simpson": inside.value * tau.value < 0})


def _leaderboard(
    models: Sequence[Model], members: Sequence[Member], order: Sequence[int], seen: Sequence[Classes], labels: Labels | None
) -> list[Standing]:
    """Most accurate first; equal accuracies in the order given."""
    p_values: dict[int, float] = {}
    if seen:
        top, others = seen[order[0]] == labels, order[1:]
        raw = [mcnemar(int((top & (seen[i] != labels)).sum()), int((~top & (seen[i] == labels)).sum())) for i in others]
        p_values = dict(zip(others, map(float, holm(raw)), strict=True))
    return [Standing(label=models[i].label, values=dict(members[i].values), p_against_first=p_values.get(i)) for i in order]


def _disagreement(predictions: NDArray[np.unsignedinteger]) -> NDArray[np.float64]:
    """The share of examples on which each two of the rows differ."""
    shares = np.zeros((len(predictions), len(predictions)))
    for i, row in enumerate(predictions):
        shares[i, i:] = shares[i:, i] = (predictions[i:] != row).mean(axis=1)
    return shares


def _consistency(correct: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Error consistency of each two of the rows."""
    n = correct.shape[1]
    right = correct.astype(np.float64)
    both, share = right @ right.T, right.mean(axis=1)
    alike = both + (1 - right) @ (1 - right).T
    p, q = np.broadcast_arrays(share[:, None], share)
    return agreement.error_consistency(np.stack([p, q, alike / n], axis=-1))
