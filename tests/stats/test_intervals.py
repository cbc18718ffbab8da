"""Intervals and p-values against closed forms written out here."""

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sharpaudit.stats import (
    RankCorrelation,
    benjamini_yekutieli,
    clopper_pearson,
    crossed_interval,
    freedom,
    holm,
    kendall,
    log_interval,
    mcnemar,
    newcombe,
    spearman,
    t_interval,
    t_interval_of,
    wilcoxon,
    wilson,
    within_condition,
)

Z = 1.959963984540054  # 97.5% quantile of the normal distribution
T9 = 2.2621571628540993  # 97.5% quantile of Student's t with 9 degrees of freedom


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (915, 1000), (1, 10_000)])
def test_wilson_solves_its_quadratic(k: int, n: int) -> None:
    ci = wilson(k, n)
    p, centre = k / n, (k / n + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n * n))
    assert (ci.low, ci.high) == pytest.approx((centre - half, centre + half), abs=1e-12)
    scipys = binomtest(k, n).proportion_ci(method="wilson")
    assert (ci.low, ci.high) == pytest.approx((scipys.low, scipys.high), abs=1e-12)
    assert ci.method == "wilson"


def test_clopper_pearson_bounds_leave_half_the_error_on_each_side() -> None:
    ci = clopper_pearson(8, 10)

    def at_most(k: int, p: float) -> float:
        return sum(math.comb(10, i) * p**i * (1 - p) ** (10 - i) for i in range(k + 1))

    assert at_most(8, ci.high) == pytest.approx(0.025, abs=1e-9)
    assert 1 - at_most(7, ci.low) == pytest.approx(0.025, abs=1e-9)


@pytest.mark.parametrize("counts", [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected 0 <= successes <= n"):
        wilson(*counts)


def test_t_interval() -> None:
    samples = np.arange(10.0)
    error = math.sqrt(sum((x - 4.5) ** 2 for x in range(10)) / 9 / 10)
    for ci in (t_interval(4.5, error, 10), t_interval_of(samples)):
        assert (ci.low, ci.high) == pytest.approx((4.5 - T9 * error, 4.5 + T9 * error), abs=1e-9)


@pytest.mark.parametrize("skewness", [-2.0, -0.3, 0.3, 1.5, 4.0])
def test_removing_skewness_inverts_halls_cubic(skewness: float) -> None:
    """At either end t + at² + a²t³/3 + a/2 is Student's quantile, worked out here from the end itself."""
    ci = t_interval(3.0, 0.5, 10, skewness=skewness)
    a = skewness / (3 * math.sqrt(10))
    straight = [t + a * t**2 + a**2 * t**3 / 3 + a / 2 for t in ((3.0 - ci.low) / 0.5, (3.0 - ci.high) / 0.5)]
    assert straight == pytest.approx([T9, -T9])
    assert ci.method == "t, skewness removed"
    plain = t_interval(3.0, 0.5, 10)
    assert t_interval(3.0, 0.5, 10, skewness=1e-5).low == pytest.approx(plain.low, abs=1e-4)


def test_without_skewness_t_misses_an_exponential_mean_on_one_side() -> None:
    draws = np.random.default_rng(0).exponential(size=(4000, 40))
    missed = {}
    for skewness in (0.0, 2.0):
        cis = [t_interval(x.mean(), x.std(ddof=1) / math.sqrt(40), 40, skewness=skewness) for x in draws]
        missed[skewness] = [float(np.mean([ci.high < 1 for ci in cis])), float(np.mean([ci.low > 1 for ci in cis]))]
    assert missed[0.0][0] > 4 * missed[0.0][1]
    assert missed[2.0] == pytest.approx([0.025, 0.025], abs=0.012)  # three standard errors of a share of 4,000 are 0.007


def test_the_variance_of_heavy_tails_has_few_degrees_of_freedom() -> None:
    """Those of a normal sample are n − 1; a χ² with that many has the relative spread that variances are seen to have."""
    rng = np.random.default_rng(0)
    assert np.mean([freedom(rng.normal(size=400)) for _ in range(50)]) == pytest.approx(
        399, rel=0.06
    )  # below, as it is never above
    for draw in (rng.laplace, rng.uniform):
        variances = draw(size=(4000, 100)).var(axis=1, ddof=1)
        seen = 2 / (variances.std() / variances.mean()) ** 2
        assert np.mean([freedom(draw(size=4000)) for _ in range(20)]) / 40 == pytest.approx(min(seen, 99), rel=0.15)
    assert freedom([1.0, 1.0, 1.0]) == 2 and freedom([0.0, 5.0]) == 1


def test_log_interval_is_even_in_ratios_and_agrees_with_students_when_narrow() -> None:
    ci, narrow = log_interval(3.0, 0.6, 10), log_interval(3.0, 6e-4, 10)
    assert ci.high / 3 == pytest.approx(3 / ci.low) == pytest.approx(math.exp(2.262157 * 0.2))
    assert narrow.high - narrow.low == pytest.approx(2 * 2.262157 * 6e-4, rel=1e-6)
    with pytest.raises(ValueError, match=r"expected n >= 2, a positive mean and an error >= 0, got 5, -1\.0 and 0\.1"):
        log_interval(-1.0, 0.1, 5)


def test_t_interval_needs_two_draws() -> None:
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        t_interval_of([1.0])
    with pytest.raises(ValueError, match="expected n >= 2 and a standard error >= 0, got n = 1"):
        t_interval(0.0, 1.0, 1)


def test_non_finite_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"samples\[1\] is nan; 2 of 3 values are not finite"):
        t_interval_of([1.0, math.nan, math.inf])
    with pytest.raises(ValueError, match="mean is inf"):
        t_interval(math.inf, 1.0, 5)
    with pytest.raises(ValueError, match=r"y\[4\] is nan"):
        kendall(range(5), [1, 2, 3, 4, math.nan])


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_a_two_sided_binomial_test(b: int, c: int) -> None:
    n, small = b + c, min(b, c)
    tail = sum(math.comb(n, i) for i in range(small + 1)) / 2**n
    expected = 1.0 if b == c else min(1.0, 2 * tail)
    assert mcnemar(b, c) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_refuses_negative_counts() -> None:
    with pytest.raises(ValueError, match="counts cannot be negative, got -1 and 3"):
        mcnemar(-1, 3)


def test_wilcoxon_counts_the_signs() -> None:
    a, b = np.zeros(6), np.array([1.0, 2.0, 3.0, 4.0, 5.0, -6.0])  # rank sum of the positive differences: 15 of 21
    sums = [sum(r for r, s in zip(range(1, 7), signs, strict=True) if s) for signs in np.ndindex(*[2] * 6)]
    assert wilcoxon(a, b, "greater") == pytest.approx(np.mean([s >= 15 for s in sums]), abs=1e-12)
    assert wilcoxon(a, a) == 1.0
    with pytest.raises(ValueError, match="two equally long, non-empty series, got 6 and 5"):
        wilcoxon(a, b[:5])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_step_down_rule_rejects(p: list[float], level: float) -> None:
    rejected = set()
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        if p[i] * (len(p) - step) > level:
            break
        rejected.add(i)
    assert {i for i, q in enumerate(holm(p)) if q <= level} == rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.5))
def test_benjamini_yekutieli_rejects_what_the_step_up_rule_rejects(p: list[float], level: float) -> None:
    m = len(p)
    threshold = level / sum(1 / k for k in range(1, m + 1)) / m
    below = [k for k, value in enumerate(sorted(p), 1) if value <= k * threshold * (1 + 1e-12)]
    cut = sorted(p)[below[-1] - 1] if below else -1.0
    assert {i for i, q in enumerate(benjamini_yekutieli(p)) if q <= level * (1 + 1e-12)} == {
        i for i, value in enumerate(p) if value <= cut
    }


def test_p_values_outside_zero_to_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"p-values lie between 0 and 1, got 0.5 to 1.5"):
        holm([0.5, 1.5])


def test_kendall_counts_pairs() -> None:
    x, y = [1, 2, 3, 4, 5, 6], [2, 1, 2, 5, 4, 6]  # concordant 12, discordant 2, one tie in y
    result = kendall(x, y)
    assert result.value == pytest.approx((12 - 2) / math.sqrt(15 * 14), abs=1e-12)
    centre, half = math.atanh(result.value), Z * math.sqrt(0.437 / 2)
    assert result.ci is not None
    assert (result.ci.low, result.ci.high) == pytest.approx((math.tanh(centre - half), math.tanh(centre + half)))


def test_spearman_is_exact_over_all_orders() -> None:
    x, y = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]
    result = spearman(x, y)

    def rho(order: tuple[int, ...]) -> float:
        return 1 - 6 * sum((i - r) ** 2 for i, r in enumerate(order, 1)) / (6 * 35)

    orders = list(permutations(range(1, 7)))
    expected = np.mean([abs(rho(order)) >= result.value - 1e-9 for order in orders])
    assert result.value == pytest.approx(rho((2, 1, 4, 3, 6, 5)), abs=1e-12)
    assert result.p_value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("correlation", [kendall, spearman])
def test_perfect_order_of_five_is_not_certainty(correlation: Callable[..., RankCorrelation]) -> None:
    result = correlation(range(5), range(5))
    assert result.value == pytest.approx(1) and result.p_value == pytest.approx(2 / 120)
    assert result.ci is not None and result.ci.low < 0.75 and result.ci.high == 1


def test_rank_correlations_refuse_what_they_cannot_know() -> None:
    with pytest.raises(ValueError, match="needs at least 5 models, got 4"):
        kendall(range(4), range(4))
    with pytest.raises(ValueError, match="x is the same for all 5 models"):
        spearman([1] * 5, range(5))
    with pytest.raises(ValueError, match="two equally long series, got 5 and 6"):
        kendall(range(5), range(6))


def test_simpson_pooled_and_within_disagree_in_sign() -> None:
    x = [0, 1, 2, 10, 11, 12, 20, 21, 22]
    y = [20, 21, 22, 10, 11, 12, 0, 1, 2]
    conditions = ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    assert kendall(x, y).value < 0
    inside = within_condition(x, y, conditions, seed=0)
    assert inside.value == pytest.approx(1) and inside.ci is None


def test_within_condition_permutes_inside_conditions_only() -> None:
    x, y = [1, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 3]
    result = within_condition(x, y, list("aaabbb"), seed=1, num=9999)
    assert result.n == 6
    assert result.p_value == pytest.approx(2 / 36, abs=0.01)  # both conditions in order, or both reversed; 4 sd of 9,999 draws


def test_within_condition_sets_single_models_aside() -> None:
    with pytest.raises(ValueError, match="at least 5 models, got 4"):
        within_condition(range(6), range(6), list("aabbcd"), seed=0)
    with pytest.raises(ValueError, match="nothing varies within the conditions"):
        within_condition([1, 1, 1, 2, 2, 2], range(6), list("aaabbb"), seed=0)


def test_newcombe_published_example() -> None:
    """Newcombe 1998, Statistics in Medicine 17, table II, contrast (a): 56/70 − 48/80, method 10."""
    interval = newcombe(56, 70, 48, 80)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.0524, 0.3339)


def test_newcombe_stays_in_range() -> None:
    interval = newcombe(10, 10, 0, 10)
    assert interval.high == 1.0
    assert newcombe(0, 10, 10, 10).low == -1.0


def test_a_table_of_draws_by_images_covers_its_mean() -> None:
    """Rows, columns and cells of known variances: the estimated variance is right on average, and intervals hold 95%."""
    for rows, columns, of_rows, of_columns, of_cells in [
        (8, 60, 1.0, 0.5, 2.0),
        (50, 50, 0.2, 2.0, 1.0),
        (10, 200, 0.0, 1.0, 0.1),
    ]:
        rng = np.random.default_rng(rows)
        held, widths = 0, []
        for _ in range(600):
            table = (
                math.sqrt(of_rows) * rng.normal(size=(rows, 1))
                + math.sqrt(of_columns) * rng.normal(size=columns)
                + math.sqrt(of_cells) * rng.normal(size=(rows, columns))
            )
            ci = crossed_interval(table)
            held += ci.low <= 0 <= ci.high
            widths.append((ci.high - ci.low) ** 2)
        truth = of_rows / rows + of_columns / columns + of_cells / (rows * columns)
        assert 0.925 <= held / 600 <= 0.98  # 0.95 and three standard errors of 600 tables
        assert math.sqrt(np.mean(widths)) >= 2 * 1.95 * math.sqrt(truth)


@pytest.mark.parametrize("table", [np.zeros(3), np.zeros((1, 3)), np.zeros((3, 1))])
def test_a_table_has_rows_and_columns(table: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected a table of at least 2 rows and 2 columns"):
        crossed_interval(table)


def test_a_table_without_any_spread_is_certain_of_its_mean() -> None:
    ci = crossed_interval(np.full((3, 4), 2.5))
    assert (ci.low, ci.high) == (2.5, 2.5)
