"""The bootstrap against scipy's, against exact laws, and (slow) against the coverage it promises."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from sharpaudit.stats import Resamples, bootstrap, kendall, paired_bootstrap, wilson, within_condition

Floats = NDArray[np.float64]


def first(means: Floats) -> Floats:
    return means[..., 0]


def test_resamples_are_shared_and_reproducible() -> None:
    a, b = Resamples(37, seed=3), Resamples(37, seed=3)
    assert np.array_equal(a.counts, b.counts)
    assert a.counts.shape == (2000, 37) and np.all(a.counts.sum(axis=1) == 37)
    assert not np.array_equal(a.counts, Resamples(37, seed=4).counts)


def test_weights_are_multinomial() -> None:
    counts = Resamples(50, seed=0, num=20_000).counts.astype(float)
    assert counts.mean(axis=0) == pytest.approx(np.ones(50), abs=5 * np.sqrt(0.98 / 20_000))
    assert counts.var(axis=0) == pytest.approx(np.full(50, 0.98), abs=0.1)
    assert np.cov(counts[:, 0], counts[:, 1])[0, 1] == pytest.approx(-1 / 50, abs=0.03)


def test_weighted_means_are_the_means_of_the_drawn_rows() -> None:
    columns = np.random.default_rng(0).normal(size=(11, 3))
    resamples = Resamples(11, seed=1, num=100)
    expected = [columns[np.repeat(np.arange(11), row)].mean(axis=0) for row in resamples.counts]
    assert resamples.means(columns) == pytest.approx(np.array(expected), abs=1e-12)


@pytest.mark.parametrize("num_columns", [1, 3])
def test_bca_agrees_with_scipy(num_columns: int) -> None:
    columns = np.random.default_rng(1).exponential(size=(60, num_columns))
    ours = bootstrap(columns, lambda means: np.log(means).sum(axis=-1), Resamples(60, seed=0, num=20_000))

    def statistic(*samples: Floats, axis: int) -> Floats:
        return np.asarray(sum(np.log(np.mean(s, axis=axis)) for s in samples))

    theirs = scipy_stats.bootstrap(tuple(columns.T), statistic, paired=True, n_resamples=20_000, method="BCa", rng=2, axis=-1)
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.ci is not None
    assert ours.ci.low == pytest.approx(theirs.confidence_interval.low, abs=0.02 * width)  # 4 sd of 20,000 resamples
    assert ours.ci.high == pytest.approx(theirs.confidence_interval.high, abs=0.02 * width)
    assert ours.value == pytest.approx(np.log(columns.mean(axis=0)).sum())


def test_order_of_examples_moves_only_the_resampling_noise_and_shift_moves_the_interval() -> None:
    x = np.random.default_rng(2).normal(size=300)
    resamples = Resamples(300, seed=0)
    base, shifted = bootstrap(x, first, resamples), bootstrap(x + 5, first, resamples)
    assert base.ci is not None and shifted.ci is not None
    assert shifted.ci.low - base.ci.low == pytest.approx(5) and shifted.ci.high - base.ci.high == pytest.approx(5)


def test_pairing_narrows_the_difference_of_two_like_models() -> None:
    rng = np.random.default_rng(3)
    a = (rng.random(1000) < 0.9).astype(float)
    b = np.where(rng.random(1000) < 0.02, 1 - a, a)
    resamples = Resamples(1000, seed=0)
    paired = paired_bootstrap(a, b, first, resamples)
    alone = bootstrap(b, first, resamples)
    assert paired.ci is not None and alone.ci is not None
    assert paired.value == pytest.approx(b.mean() - a.mean())
    assert paired.ci.high - paired.ci.low < (alone.ci.high - alone.ci.low) / 1.5


def test_no_variation_is_not_certainty() -> None:
    estimate = bootstrap(np.ones(20), first, Resamples(20, seed=0))
    assert (estimate.value, estimate.ci, estimate.reason) == (1.0, None, "all 2000 resamples give the same value")


def test_a_value_outside_its_own_resamples_gets_no_interval() -> None:
    columns = np.column_stack([np.eye(40)[i] for i in range(40)])
    estimate = bootstrap(columns, lambda m: np.sum(np.abs(m - 1 / 40), axis=-1), Resamples(40, seed=0))
    assert estimate.value == pytest.approx(0, abs=1e-12) and estimate.ci is None
    assert estimate.reason == "all resamples lie on one side of the value: too biased for the bootstrap"


def test_an_often_undefined_statistic_gets_no_interval() -> None:
    rare = np.eye(50)[0]
    with np.errstate(invalid="ignore"):
        estimate = bootstrap(np.column_stack([rare, rare]), lambda m: m[..., 0] / m[..., 1], Resamples(50, seed=0))
    assert estimate.ci is None and estimate.reason is not None
    assert estimate.reason.startswith("undefined in ") and estimate.reason.endswith(" of 2000 resamples")


def test_one_example_gets_no_interval() -> None:
    assert bootstrap([0.5], first, Resamples(1, seed=0)).reason == "one example"


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"columns\[2\] is nan"):
        bootstrap([0.0, 1.0, np.nan], first, Resamples(3, seed=0))
    with pytest.raises(ValueError, match=r"expected columns of shape \(4, m\), got \(3, 1\)"):
        bootstrap([0.0, 1.0, 2.0], first, Resamples(4, seed=0))
    with pytest.raises(ValueError, match=r"columns of the same shape, got \(3, 1\) and \(3, 2\)"):
        paired_bootstrap(np.ones(3), np.ones((3, 2)), first, Resamples(3, seed=0))
    with pytest.raises(ValueError, match="at least 1 example and 100 resamples, got 5 and 10"):
        Resamples(5, seed=0, num=10)


def coverage(hits: list[bool]) -> float:
    return float(np.mean(hits))


@pytest.mark.slow
@pytest.mark.parametrize("n", [400, 1000])
def test_nominal_95_percent_intervals_cover(n: int) -> None:
    rng = np.random.default_rng(n)
    resamples = Resamples(n, seed=0)
    accuracy, mean_nll, difference, corruption = [], [], [], []
    for _ in range(2000):
        right = rng.random(n) < 0.9
        ci = wilson(int(right.sum()), n)
        accuracy.append(ci.low <= 0.9 <= ci.high)
        nll = bootstrap(rng.exponential(0.3, size=n), first, resamples).ci
        assert nll is not None
        mean_nll.append(nll.low <= 0.3 <= nll.high)
        # B flips 4% of A's right and 10% of A's wrong answers: true accuracies .9 and .9 * .96 + .1 * .1 = .874
        other = np.where(right, rng.random(n) >= 0.04, rng.random(n) < 0.1)
        pair = paired_bootstrap(right.astype(float), other.astype(float), first, resamples).ci
        assert pair is not None
        difference.append(pair.low <= -0.026 <= pair.high)
        # 15 cells of the same images: an image's difficulty is shared by all its cells, so cells are far from independent
        difficulty = rng.beta(4, 1, size=(n, 1))
        per_image = (rng.random((n, 15)) < difficulty).mean(axis=1)
        cells = bootstrap(per_image, first, resamples).ci
        assert cells is not None
        corruption.append(cells.low <= 0.8 <= cells.high)
    shown = {"accuracy": accuracy, "nll": mean_nll, "difference": difference, "corruption": corruption}
    print(n, {name: coverage(hits) for name, hits in shown.items()})
    for name, hits in shown.items():
        assert 0.93 <= coverage(hits) <= 0.97, name


@pytest.mark.slow
def test_intervals_of_rank_correlations_cover() -> None:
    rng = np.random.default_rng(0)
    rho = 0.6
    tau = 2 / np.pi * np.arcsin(rho)  # of a bivariate normal
    designs = [("pooled, 8", 1, 8), ("pooled, 20", 1, 20), ("within, 6 x 10", 6, 10), ("within, 4 x 4", 4, 4)]
    hits: dict[str, list[bool]] = {label: [] for label, _, _ in designs}
    for _ in range(1000):
        for label, conditions, each in (
            ("pooled, 8", 1, 8),
            ("pooled, 20", 1, 20),
            ("within, 6 x 10", 6, 10),
            ("within, 4 x 4", 4, 4),
        ):
            condition = np.repeat(np.arange(conditions), each)
            x = rng.normal(size=len(condition))
            y = rho * x + np.sqrt(1 - rho**2) * rng.normal(size=len(x))
            if conditions == 1:
                ci = kendall(x, y).ci
            else:  # shifts between conditions that would turn a pooled correlation round
                ci = within_condition(x + 3 * condition, y - 3 * condition, [str(c) for c in condition], seed=0, num=100).ci
            hits[label].append(ci is not None and bool(ci.low <= tau <= ci.high))
    shown = {label: coverage(found) for label, found in hits.items()}
    print(shown)
    assert all(0.92 <= share <= 0.99 for share in shown.values())
