"""Which examples stand for a set that may be sorted by class?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly_spaced(n: int, count: int) -> NDArray[np.int64]:
    """`count` rows of `n` at equal distances, in order, from the first on; all of them when there are no more."""
    count = min(n, count)
    return np.arange(count, dtype=np.int64) * n // max(count, 1)
