"""The mean of draws: how skewed they are taken to be, and when it has no interval."""

import numpy as np
import pytest

from sharpaudit.curvature.estimates import Sampled


def test_few_draws_of_one_sign_are_as_skewed_as_sums_of_squares_and_many_speak_for_themselves() -> None:
    rng = np.random.default_rng(0)
    few = [Sampled.of(rng.chisquare(8, size=4)).skewness for _ in range(400)]
    assert np.mean(few) == pytest.approx(1.0, rel=0.3), "which is the skewness of a sum of eight squares"
    assert Sampled.of(rng.chisquare(8, size=20_000)).skewness == pytest.approx(1.0, rel=0.15)
    assert Sampled.of(rng.normal(10, 1, size=20_000)).skewness == pytest.approx(0.0, abs=0.06)


def test_what_is_certain_in_each_draw_takes_no_part() -> None:
    draws = np.array([1.0, 2.0, 4.0, 1.5])
    plain, shifted = Sampled.of(draws), Sampled.of(draws + 100, certain=100.0)
    assert shifted.skewness == pytest.approx(plain.skewness)
    assert Sampled.of(draws + 100).skewness < plain.skewness / 2
    assert shifted.interval().low == pytest.approx(plain.interval().low + 100)


def test_a_mirror_image_has_the_mirrored_interval() -> None:
    draws = np.random.default_rng(1).exponential(size=12)
    up, down = Sampled.of(draws).interval(), Sampled.of(-draws).interval()
    assert (down.low, down.high) == pytest.approx((-up.high, -up.low))
    assert up.high - draws.mean() > draws.mean() - up.low, "the long side is that of the large draws"


@pytest.mark.parametrize(
    ("draws", "reason"),
    [
        ([2.0] * 8, "every draw gave the same value"),
        ([0.001] * 15 + [5.0], "a few of 16 draws decide the mean: they are worth 1.0 equal ones"),
        ([1.0, 2.0, 3.0, 9.0], None),
        ([-1.0, 1.0, 0.1, 0.0, 0.1], None),
    ],
    ids=["same", "one decides", "spread", "both signs"],
)
def test_a_reason_stands_where_there_is_no_interval(draws: list[float], reason: str | None) -> None:
    assert Sampled.of(draws).reason == reason
