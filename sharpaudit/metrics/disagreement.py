"""What does a peer on the same examples add to a card? The measurements of the family ``disagreement``.

A is the reference (an earlier release, another seed) and B the model in question, so a negative flip is something B breaks.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Measured
from sharpaudit.metrics import agreement
from sharpaudit.metrics.measured import measured
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.sources import corruption_cells
from sharpaudit.stats import Estimate, Resamples, bootstrap, first_mean, wilson

Views = Mapping[str, Predictions]


def disagreement(a: Views, b: Views, *, seed: int) -> list[Measured]:
    """The family ``disagreement`` of B against A, from the views that both have; empty without clean views.

    Raises:
        ValueError: a view shows the two models different examples.
    """
    if "clean" not in a or "clean" not in b:
        return []
    first, second = a["clean"], b["clean"]
    n = len(first)
    resamples = Resamples(n, seed=seed)
    found = [
        _share("rate", agreement.disagrees(first, second), "predicted classes differ"),
        _share("negative_flips", agreement.negative_flips(first, second), "A right, B wrong"),
        _share("positive_flips", agreement.positive_flips(first, second), "A wrong, B right"),
    ]
    consistency = bootstrap(agreement.consistency_columns(first, second), agreement.error_consistency, resamples)
    found.append(_measured("error_consistency", consistency, n, "Cohen's κ of being right (Geirhos et al. 2020)"))
    if first.logits is not None and second.logits is not None and first.logits.shape == second.logits.shape:
        js = bootstrap(agreement.js_divergence(first.logits, second.logits), first_mean, resamples)
        l2 = bootstrap(agreement.softmax_l2(first.logits, second.logits), first_mean, resamples)
        found.append(_measured("js_divergence", js, n, "mean over examples, natural logarithm"))
        found.append(_measured("softmax_l2", l2, n, "mean ‖p − q‖₂ over examples"))
    of_a, of_b = corruption_cells(a), corruption_cells(b)
    cells = [agreement.disagrees(of_a[cell], of_b[cell]) for cell in sorted(of_a.keys() & of_b.keys())]
    if cells and len({len(cell) for cell in cells}) == 1:
        n = len(cells[0])
        rate = bootstrap(np.mean(cells, axis=0), first_mean, Resamples(n, seed=seed))
        found.append(_measured("rate/corruption", rate, n, f"mean over {len(cells)} cells, images as clusters"))
    return found


def _share(quantity: str, where: NDArray[np.bool_], method: str) -> Measured:
    count, n = int(np.count_nonzero(where)), len(where)
    return _measured(quantity, Estimate(count / n, wilson(count, n)), n, method, count=count)


def _measured(quantity: str, found: Estimate, n: int, method: str, **options: int) -> Measured:
    stamp = {"probe": "disagreement", "version": 1}
    return measured(f"disagreement.{quantity}", found, n, method, options).model_copy(update=stamp)
