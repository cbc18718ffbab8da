"""Is every number a number?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def finite(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """`values` as a float64 array.

    Raises:
        ValueError: naming `name` and the first position that is NaN or infinite.
    """
    array: NDArray[np.float64] = np.asarray(values, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        at: Any = tuple(int(i) for i in bad[0])
        where = f"[{', '.join(map(str, at))}]" if at else ""
        raise ValueError(f"{name}{where} is {array[at]}; {len(bad)} of {array.size} values are not finite")
    return array
