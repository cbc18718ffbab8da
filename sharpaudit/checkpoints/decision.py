"""Several networks fit the weights and compute different functions: in which of them were the weights trained?

Only in that one do they do well, so the loss on labelled images tells, if it tells clearly; the rule is `clearly_best`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from sharpaudit.stats.paired import mcnemar

if TYPE_CHECKING:
    from sharpaudit.checkpoints import LoadedModel

SIGNIFICANCE = 1e-3


@dataclass(frozen=True)
class Decision:
    """Which of several models to take, and why; or why none."""

    index: int | None
    reason: str


Decide = Callable[[Sequence["LoadedModel"]], Decision]
"""Chooses among models of the same weights."""


def clearly_best(names: Sequence[str], correct: ArrayLike, nll: ArrayLike) -> Decision:
    """The model that is right most often, if against every other one that is beyond chance and its loss is lower as well.

    Beyond chance is an exact McNemar test at 0.001, shared between the comparisons (Bonferroni).

    Args:
        names: what to call the models.
        correct: whether each example was answered rightly, (models, n).
        nll: negative log-likelihood of each label, (models, n).
    """
    right, loss = np.asarray(correct, bool), np.asarray(nll, np.float64).mean(1)
    share = right.mean(1)
    best = int(np.lexsort((loss, -share))[0])
    others = [other for other in range(len(names)) if other != best]
    clear = all(
        mcnemar(int((right[best] & ~right[other]).sum()), int((right[other] & ~right[best]).sum())) < SIGNIFICANCE / len(others)
        and loss[best] < loss[other]
        for other in others
    )
    order = [best, *sorted(others, key=lambda other: -share[other])]
    shown = ", ".join(f"{names[model]} {share[model]:.1%}" for model in order)
    return Decision(best if clear else None, f"right on {right.shape[1]} images: {shown}")
