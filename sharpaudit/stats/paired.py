"""Two models answered the same questions: is the difference more than chance?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from sharpaudit.stats.finite import finite


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value that A and B are equally often right (McNemar 1947, binomial form).

    Args:
        only_a: examples that only A got right.
        only_b: examples that only B got right. Those on which both agree carry no information.
    """
    from scipy.stats import binomtest

    if only_a < 0 or only_b < 0:
        raise ValueError(f"counts cannot be negative, got {only_a} and {only_b}")
    total = int(only_a) + int(only_b)
    return float(binomtest(int(only_a), total).pvalue) if total else 1.0


def wilcoxon(a: ArrayLike, b: ArrayLike, alternative: Literal["two-sided", "less", "greater"] = "two-sided") -> float:
    """p-value of Wilcoxon's signed-rank test on pairs; ``greater`` asks whether B is above A. The unit is a pair (a seed).

    Exact up to 50 pairs without ties or zeros, else the normal approximation. No difference anywhere gives 1.
    """
    from scipy.stats import wilcoxon as signed_rank

    first, second = finite("a", a).ravel(), finite("b", b).ravel()
    if len(first) != len(second) or len(first) < 1:
        raise ValueError(f"expected two equally long, non-empty series, got {len(first)} and {len(second)}")
    difference = second - first
    return float(signed_rank(difference, alternative=alternative).pvalue) if np.any(difference) else 1.0
