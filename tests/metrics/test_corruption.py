"""Means over cells and the mean corruption error, on the figures that RobustBench has published."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sharpaudit import corruptions
from sharpaudit.metrics.corruption import ALEXNET, FAMILY, STANDARD15, Cell, Reference, mean_corruption_error, mean_over_cells
from tests.metrics.robustbench import SIZE, Published, models

PUBLISHED = models()
CELLS = [(name, severity) for name in STANDARD15 for severity in (1, 2, 3, 4, 5)]


def hits(count: int, n: int) -> NDArray[np.bool_]:
    """`count` right answers among `n` images."""
    return np.arange(n) < count


def correct(model: Published) -> dict[Cell, NDArray[np.bool_]]:
    return {cell: hits(count, SIZE[model.data]) for cell, count in zip(CELLS, model.counts, strict=True)}


def test_the_names_are_those_of_the_functions() -> None:
    assert list(FAMILY.items()) == list(corruptions.FAMILY.items())
    assert STANDARD15 == corruptions.STANDARD15


def test_the_figures_are_whole() -> None:
    assert [len([m for m in PUBLISHED if m.data == data]) for data in SIZE] == [23, 13, 12]
    assert all(len(m.counts) == 75 and max(m.counts) <= SIZE[m.data] for m in PUBLISHED)


@pytest.mark.parametrize("model", PUBLISHED, ids=lambda m: f"{m.data}-{m.name}")
def test_the_published_means(model: Published) -> None:
    """Two decimals, some of them rounded and some cut: within 0.01 per cent."""
    assert 100 * mean_over_cells(correct(model).values()).mean() == pytest.approx(model.accuracy, abs=0.01)


@pytest.mark.parametrize("model", [m for m in PUBLISHED if m.mce is not None], ids=lambda m: m.name)
def test_the_published_mean_corruption_errors(model: Published) -> None:
    alexnet = next(m for m in PUBLISHED if m.name == "AlexNet")
    errors = {f"{name}/{severity}": 1 - count / 5000 for (name, severity), count in zip(CELLS, alexnet.counts, strict=True)}
    found = mean_corruption_error(correct(model), Reference("AlexNet", "imagenet-c", errors)).mean()
    assert 100 * found == pytest.approx(model.mce, abs=0.0051)


def test_means_are_of_images_first() -> None:
    """Per image, so that a bootstrap over images sees what one image does in all of its cells."""
    assert mean_over_cells([[True, False, True], [True, True, False]]).tolist() == [1.0, 0.5, 0.5]


def test_a_sum_of_errors_is_divided_not_each_error() -> None:
    """Two severities: (0.5 + 1) / (0.25 + 0.5) = 2, and the two errors' own ratios happen to be 2 as well; then they do not."""
    seen = {("fog", 1): hits(2, 4), ("fog", 2): hits(0, 4), ("snow", 1): hits(3, 4), ("snow", 2): hits(1, 4)}
    reference = Reference("r", "x-c", {"fog/1": 0.25, "fog/2": 0.5, "snow/1": 0.5, "snow/2": 0.75})
    assert mean_corruption_error(seen, reference).mean() == pytest.approx((1.5 / 0.75 + 1.0 / 1.25) / 2)


def test_the_reference_against_itself_is_one_and_alexnet_needs_all_severities() -> None:
    seen = {(name, s): hits(round(1e6 * (1 - ALEXNET.errors[name])), 1_000_000) for name in ("fog", "frost") for s in range(1, 6)}
    assert mean_corruption_error(seen, ALEXNET).mean() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="alexnet has no errors for these severities of frost"):
        mean_corruption_error({cell: column for cell, column in seen.items() if cell != ("frost", 3)}, ALEXNET)
    with pytest.raises(ValueError, match="alexnet has no errors for these severities of anything"):
        mean_corruption_error({}, ALEXNET)
    with pytest.raises(ValueError, match="r makes no error under fog, which is no unit"):
        mean_corruption_error({("fog", 1): hits(1, 2)}, Reference("r", "x-c", {"fog/1": 0.0}))


def test_alexnets_errors_are_those_that_robustbench_measured() -> None:
    """On 5,000 of the 50,000 images: a standard error is at most 0.7 per cent of a cell, and its five cells share images."""
    alexnet = next(m for m in PUBLISHED if m.name == "AlexNet")
    measured = 1 - np.array(alexnet.counts).reshape(15, 5).mean(1) / 5000
    assert np.abs(measured - [ALEXNET.errors[name] for name in STANDARD15]).max() < 0.007
