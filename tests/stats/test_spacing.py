"""Equal distances, so that a set sorted by class gives every class its share."""

import numpy as np
import pytest

from sharpaudit.stats import evenly_spaced


@pytest.mark.parametrize(("n", "count"), [(10, 3), (1000, 999), (7, 7), (5, 12), (1, 1), (0, 3), (3, 0)])
def test_rows_are_distinct_in_order_and_spread(n: int, count: int) -> None:
    rows = evenly_spaced(n, count)
    assert len(rows) == min(n, count) and rows.dtype == np.int64
    assert np.all(np.diff(rows) >= 1) and set(np.diff(rows)) <= {n // max(count, 1), -(-n // max(count, 1)), 1}
    assert not len(rows) or (rows[0] == 0 and rows[-1] >= n - -(-n // len(rows)))


def test_every_class_of_a_sorted_set_is_there() -> None:
    labels = np.repeat(np.arange(10), 1000)
    assert np.bincount(labels[evenly_spaced(10_000, 1000)]).tolist() == [100] * 10
