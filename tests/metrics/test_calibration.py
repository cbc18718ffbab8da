"""Calibration against golden values, torchmetrics, dense quadrature and laws; (slow) the coverage of its intervals."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional.classification import binary_calibration_error

from sharpaudit.metrics import calibration
from sharpaudit.metrics.predictions import Predictions, softmax
from sharpaudit.stats import Resamples, absolute_bootstrap

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def calibrated(n: int, seed: int = 0, overconfidence: float = 1.0) -> tuple[Floats, Bools]:
    """Confidences of at least one half; right with exactly that probability where `overconfidence` is 1."""
    rng = np.random.default_rng(seed)
    z = np.abs(rng.normal(3, 2, size=n))
    return 1 / (1 + np.exp(-z)), rng.random(n) < 1 / (1 + np.exp(-z / overconfidence))


def torchmetrics_ece(confidence: Floats, correct: Bools, norm: Literal["l1", "max"] = "l1") -> float:
    return float(binary_calibration_error(torch.tensor(confidence), torch.tensor(correct.astype(int)), n_bins=15, norm=norm))


def test_ece_closes_its_last_bin() -> None:
    assert calibration.ece([0.95, 1.0], [1, 0]) == pytest.approx(0.475, abs=1e-15)
    assert calibration.ece([1.0, 1.0], [0, 0]) == 1.0  # a half-open last bin would lose them and say 0


def test_torchmetrics_opens_a_sixteenth_bin() -> None:
    confidence, correct = np.array([0.95, 1.0]), np.array([True, False])
    assert calibration.ece_torchmetrics_compat(confidence, correct) == pytest.approx(0.525, abs=1e-15)
    assert torchmetrics_ece(confidence, correct) == pytest.approx(0.525, abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_ece_and_mce_equal_torchmetrics_away_from_one(seed: int) -> None:
    confidence, correct = calibrated(777, seed, 1.5)
    assert calibration.ece(confidence, correct) == pytest.approx(torchmetrics_ece(confidence, correct), abs=1e-6)
    assert calibration.mce(confidence, correct) == pytest.approx(torchmetrics_ece(confidence, correct, "max"), abs=1e-6)
    confidence[:50] = 1.0
    assert calibration.ece_torchmetrics_compat(confidence, correct) == pytest.approx(
        torchmetrics_ece(confidence, correct), abs=1e-6
    )


def test_an_edge_belongs_to_the_bin_above() -> None:
    assert list(calibration.equal_width_bins([0.0, 0.25, 0.5, 0.75, 1.0], 4)) == [0, 1, 2, 3, 3]


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_order_of_examples_changes_nothing_and_values_stay_in_range(rows: list[tuple[float, bool]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis is untyped here
    for measure in (calibration.ece, calibration.adaptive_ece, calibration.ks, calibration.mce):
        values = [measure([c for c, _ in order], [a for _, a in order]) for order in (rows, shuffled)]
        assert values[0] == pytest.approx(values[1], abs=1e-12)
        assert -1e-12 <= (values[0] or 0) <= 1 + 1e-12


def test_adaptive_bins_hold_equally_many_and_keep_ties_together() -> None:
    assert list(np.bincount(calibration.equal_mass_bins(np.random.default_rng(0).random(150), 15))) == [10] * 15
    tied = calibration.equal_mass_bins(np.repeat([0.2, 0.9], [4, 8]), 4)
    assert list(tied) == [0] * 4 + [2] * 8  # a tie lies where its middle lies


def test_adaptive_ece_by_hand() -> None:
    # bins {.6, .7} and {.8, .9}: |1.3 − 1| + |1.7 − 2| over 4 examples
    assert calibration.adaptive_ece([0.8, 0.6, 0.9, 0.7], [1, 1, 1, 0], 2) == pytest.approx(0.15, abs=1e-12)


def test_ks_golden() -> None:
    confidence, correct = [0.6, 0.7, 0.8, 0.9], [1, 0, 1, 1]
    assert calibration.ks(confidence, correct) == pytest.approx(0.1, abs=1e-12)
    assert calibration.ece(confidence, correct, 10) == pytest.approx(0.35, abs=1e-12)
    assert calibration.ks([0.5] * 4, [1, 1, 0, 0]) == 0  # inside the tie the running sum would reach 0.25


def test_mce_leaves_small_bins_out() -> None:
    confidence, correct = [0.1, 0.95, 0.95], [1, 1, 1]
    assert calibration.mce(confidence, correct) == pytest.approx(0.9)
    assert calibration.mce(confidence, correct, min_count=2) == pytest.approx(0.05)
    assert calibration.mce(confidence, correct, min_count=3) is None


def test_classwise_ece() -> None:
    uniform = np.full((20, 4), 0.25)
    assert calibration.classwise_ece(uniform, np.arange(20) % 4) == pytest.approx(0, abs=1e-15)
    rng = np.random.default_rng(0)
    p, labels = softmax(rng.normal(size=(90, 3))), rng.integers(3, size=90)
    expected = np.mean([torchmetrics_ece(p[:, k], labels == k) for k in range(3)])
    assert calibration.classwise_ece(p, labels) == pytest.approx(expected, abs=1e-6)
    assert np.abs(calibration.classwise_columns(p, labels).mean(axis=0)).sum() == pytest.approx(expected, abs=1e-6)


def test_floor_of_equal_confidences_is_a_binomial_mean_deviation() -> None:
    n, p = 50, 0.8  # one bin: E|p − X/n| over X ~ Binomial(n, p)
    exact = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) * abs(p - k / n) for k in range(n + 1))
    floor = calibration.ece_floor(np.full(n, p), rng=np.random.default_rng(0), draws=4000)
    assert floor.value == pytest.approx(exact, abs=4 * floor.standard_error)
    assert 0 < floor.standard_error < 0.001 and floor.value < floor.upper < 4 * exact


def test_floor_is_what_calibrated_models_show() -> None:
    shown = [calibration.ece(*calibrated(500, seed)) for seed in range(400)]
    floors = [calibration.ece_floor(calibrated(500, s)[0], rng=np.random.default_rng(s), draws=200).value for s in range(20)]
    assert np.mean(floors) == pytest.approx(np.mean(shown), abs=float(4 * np.std(shown) / 20))


def test_floor_falls_with_n() -> None:
    values = [calibration.ece_floor(calibrated(n)[0], rng=np.random.default_rng(1)).value for n in (100, 400, 1600)]
    assert values[0] / values[2] == pytest.approx(4, rel=0.3)  # 1 / √n


def dense_smooth_ece(confidence: Floats, correct: Bools) -> float:
    """The definition by direct sums: reflected Gaussians at every example, the midpoint rule, bisection."""
    mesh = (np.arange(4000) + 0.5) / 4000

    def smoothed(width: float) -> float:
        kernel = np.zeros((4000, len(confidence)))
        for image in range(-3, 4):
            for mirror in (confidence, -confidence):
                kernel += np.exp(-((mesh[:, None] - mirror - 2 * image) ** 2) / (2 * width**2))
        field = kernel @ (correct - confidence) / len(confidence) / (width * math.sqrt(2 * math.pi))
        return float(np.abs(field).mean())

    low, high = 0.001, 1.0
    for _ in range(16):
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(middle) > middle else (low, middle)
    return low


@pytest.mark.parametrize("overconfidence", [1.0, 2.0])
def test_smooth_ece_equals_its_definition(overconfidence: float) -> None:
    confidence, correct = calibrated(60, 3, overconfidence)
    assert calibration.smooth_ece(confidence, correct) == pytest.approx(dense_smooth_ece(confidence, correct), abs=2e-4)  # meshes


def test_smooth_ece_shrinks_for_a_calibrated_model_and_not_for_another() -> None:
    good = [np.mean([calibration.smooth_ece(*calibrated(n, s)) for s in range(10)]) for n in (250, 4000)]
    assert good[1] < good[0] / 2
    assert calibration.smooth_ece(*calibrated(4000, 0, 3.0)) > 0.1
    assert calibration.smooth_ece([1.0] * 10, [1] * 10) == 0.001


def test_temperature_recovers_the_scale() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=(20_000, 5))
    labels = np.array([rng.choice(5, p=p) for p in softmax(z)])
    found = calibration.temperature_scaling(Predictions.from_logits(3 * z, labels), rng=rng)
    assert found.temperature == pytest.approx(3, rel=0.05) and not found.at_bound
    unscaled = Predictions.from_logits(z, labels)
    assert found.scaled.nll.mean() == pytest.approx(unscaled.nll.mean(), abs=1e-3)
    assert np.array_equal(found.scaled.prediction, unscaled.prediction)


def test_temperature_is_the_stationary_point_found_by_lbfgs() -> None:
    rng = np.random.default_rng(1)
    z, labels = rng.normal(scale=4, size=(300, 6)), rng.integers(6, size=300)
    z[np.arange(300), labels] += 3
    logits, target = torch.tensor(z), torch.tensor(labels)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t], lr=0.5, max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / log_t.exp(), target)
        loss.backward()  # type: ignore[no-untyped-call]  # torch is untyped here
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch is untyped here
    found = calibration.fit_temperature(z, labels)
    assert found == pytest.approx(float(log_t.detach().exp()), rel=1e-6)
    assert calibration.fit_temperature(2.5 * z, labels) == pytest.approx(2.5 * found, rel=1e-6)


def test_temperature_of_a_faultless_model_is_at_its_bound() -> None:
    z = 5 * np.eye(4)[np.arange(40) % 4]
    found = calibration.temperature_scaling(Predictions.from_logits(z, np.arange(40) % 4), rng=np.random.default_rng(0))
    assert found.at_bound and found.temperature == pytest.approx(0.02)
    assert calibration.fit_temperature(z, (np.arange(40) + 1) % 4) == 50.0


def test_temperature_needs_logits_and_examples() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="temperature scaling needs the logits"):
        calibration.temperature_scaling(Predictions.from_logits(np.zeros((9, 2)), [0] * 9, keep_logits=False), rng=rng)
    with pytest.raises(ValueError, match="at least 4 examples, got 3"):
        calibration.temperature_scaling(Predictions.from_logits(np.zeros((3, 2)), [0] * 3), rng=rng)


def test_reliability_rows_add_up_to_the_ece() -> None:
    confidence, correct = calibrated(321, 2, 2.0)
    rows = calibration.reliability(confidence, correct)
    assert len(rows) == 15 and sum(row.n for row in rows) == 321
    assert rows[0].n == 0 and rows[0].accuracy is None and rows[0].confidence is None
    total = sum(
        row.n * abs(row.accuracy - row.confidence) for row in rows if row.accuracy is not None and row.confidence is not None
    )
    assert total / 321 == pytest.approx(calibration.ece(confidence, correct), abs=1e-12)


def test_interval_of_an_ece_contains_it_and_a_difference_is_paired() -> None:
    confidence, correct = calibrated(1000, 4, 2.0)
    columns = calibration.gap_columns(confidence, correct, calibration.equal_width_bins(confidence))
    resamples = Resamples(1000, seed=0)
    alone = absolute_bootstrap(columns, resamples)
    assert alone.ci is not None and alone.value == pytest.approx(calibration.ece(confidence, correct))
    assert alone.ci.low < alone.value < alone.ci.high
    other = confidence.copy()
    other[::50] = np.maximum(other[::50] - 0.05, 0.5)
    columns_b = calibration.gap_columns(other, correct, calibration.equal_width_bins(other))
    paired = absolute_bootstrap(columns_b, resamples, minus=columns)
    assert paired.ci is not None
    assert paired.value == pytest.approx(calibration.ece(other, correct) - alone.value)
    assert paired.ci.high - paired.ci.low < (alone.ci.high - alone.ci.low) / 3
    assert absolute_bootstrap(columns, resamples, minus=columns).reason == "all 2000 resamples give the same value"


@pytest.mark.slow
@pytest.mark.parametrize("n", [500, 2000])
@pytest.mark.parametrize("overconfidence", [1.0, 1.1, 1.7])
def test_intervals_of_ece_cover_what_is_expected_at_this_n(n: int, overconfidence: float) -> None:
    target = np.mean([calibration.ece(*calibrated(n, seed, overconfidence)) for seed in range(10_000, 14_000)])
    floor = np.mean([calibration.ece_floor(calibrated(n, s)[0], rng=np.random.default_rng(s)).value for s in range(20)])
    resamples = Resamples(n, seed=0, num=1000)
    hits, excess = [], []
    for seed in range(2000):
        confidence, correct = calibrated(n, seed, overconfidence)
        estimate = absolute_bootstrap(
            calibration.gap_columns(confidence, correct, calibration.equal_width_bins(confidence)), resamples
        )
        assert estimate.ci is not None
        hits.append(estimate.ci.low <= target <= estimate.ci.high)
        own_floor = calibration.ece_floor(confidence, rng=np.random.default_rng(seed), draws=200).value
        excess.append(abs(estimate.value - own_floor - (target - floor)) <= estimate.ci.high - estimate.value)
    print(n, overconfidence, {"ece": np.mean(hits), "excess over floor": np.mean(excess)})
    # measured 0.929 to 0.977: bins whose gap is near its own noise are hard; 2,000 runs have a standard error of 0.005
    assert 0.92 <= np.mean(hits) <= 0.985
    assert 0.92 <= np.mean(excess) <= 0.985


def test_gaps_after_scaling_vary_with_the_examples_that_the_temperature_was_fitted_on() -> None:
    """The columns against leaving each example out of its bin, and out of the fit of its half, with bins as they were."""
    rng = np.random.default_rng(5)
    labels = rng.integers(4, size=120)
    logits = 3 * rng.normal(size=(120, 4)) + 3 * np.eye(4)[labels]
    fitted = calibration.temperature_scaling(Predictions.from_logits(logits, labels), rng=np.random.default_rng(0))
    scaled, bins = fitted.scaled, 3
    bin_of = calibration.equal_width_bins(scaled.confidence, bins)
    columns = calibration.scaled_gap_columns(fitted, bins)
    plain = calibration.gap_columns(scaled.confidence, scaled.correct, bin_of)
    assert columns.mean(axis=0) == pytest.approx(plain.mean(axis=0), abs=1e-12)
    changes = np.empty_like(columns)
    for i in range(120):
        kept = np.arange(120) != i
        half = fitted.first if fitted.first[i] else ~fitted.first
        again = calibration.fit_temperature(logits[half & kept], labels[half & kept])
        confidence = np.where(half, scaled.confidence, softmax(logits / again).max(axis=1))
        changes[i] = calibration.gap_columns(confidence, scaled.correct, bin_of)[kept].mean(axis=0) - plain.mean(axis=0)
    linear = (columns.mean(axis=0) - columns) / 119
    assert np.abs(changes - linear).max() < 0.1 * np.abs(linear).max()
    assert np.corrcoef(changes.ravel(), linear.ravel())[0, 1] > 0.995
    assert np.abs(changes - (plain.mean(axis=0) - plain) / 119).max() > 0.2 * np.abs(linear).max(), "the fit matters"
