"""Do the model's confidences match how often it is right?

`confidence` is the probability of the predicted class and `correct` whether the prediction is right, both (n,). ECE is biased
upward: a perfectly calibrated model shows 0.035 at 500 examples and 0.008 at 10,000, so it is never to be read without
`ece_floor`. No number here depends on the parametrisation of the network; all but the temperature-scaled ones move with the
scale of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sharpaudit.metrics.predictions import Predictions, log_softmax

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

BINS = 15

MAX_CLASSES_RESAMPLED = 100
"""Above this many classes the class-wise ECE goes without an interval: its columns would need classes × bins × n numbers."""


def equal_width_bins(confidence: ArrayLike, bins: int = BINS) -> Ints:
    """The bin of each confidence: [0, 1/bins), …, [1 − 1/bins, 1]. The last bin is closed, so 1.0 belongs to it."""
    edges = np.linspace(0, 1, bins + 1)[1:-1]
    return np.searchsorted(edges, np.asarray(confidence), side="right").astype(np.int64)


def equal_mass_bins(confidence: ArrayLike, bins: int = BINS) -> Ints:
    """The bin of each confidence so that bins hold equally many examples; equal confidences share a bin, whatever their order."""
    _, group, count = np.unique(np.asarray(confidence), return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(count) - (count + 1) / 2
    bin_of: Ints = np.floor(middle_rank * bins / count.sum()).astype(np.int64)
    return bin_of[group]


def gap_columns(confidence: ArrayLike, correct: ArrayLike, bin_of: Ints) -> Floats:
    """(n, bins): confidence − correct in the column of the example's bin. The sum of their absolute means is the ECE."""
    columns = np.zeros((len(bin_of), int(bin_of.max(initial=0)) + 1))
    columns[np.arange(len(bin_of)), bin_of] = np.asarray(confidence) - np.asarray(correct, dtype=np.float64)
    return columns


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """Expected calibration error: Σ_b n_b/n · |accuracy_b − confidence_b| over equal-width bins, 0 to 1 (Guo et al. 2017)."""
    return _sum_of_gaps(confidence, correct, equal_width_bins(confidence, bins))


def ece_torchmetrics_compat(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """The number torchmetrics prints: confidence exactly 1.0 stands in a bin of its own beyond the last (its issue 3510)."""
    return _sum_of_gaps(confidence, correct, np.where(np.asarray(confidence) >= 1, bins, equal_width_bins(confidence, bins)))


def adaptive_ece(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> float:
    """ECE over bins of equal mass: no bin is nearly empty, so none is mostly noise (Nguyen & O'Connor 2015)."""
    return _sum_of_gaps(confidence, correct, equal_mass_bins(confidence, bins))


@dataclass(frozen=True)
class Floor:
    """What ECE a perfectly calibrated model with these confidences shows at this n."""

    value: float
    """The mean over simulations."""
    standard_error: float
    """Of `value`."""
    upper: float
    """95% of simulations lie below: an ECE above it is evidence of miscalibration."""


def ece_floor(confidence: ArrayLike, *, rng: np.random.Generator, bins: int = BINS, draws: int = 1000) -> Floor:
    """The ECE left when each example is right with exactly its confidence, by simulation.

    ECE − floor is reported as debiased. It is about 0 for a calibrated model and may be negative. For a clearly miscalibrated
    model it understates: a bin whose gap is far from zero has no bias to take away.
    """
    c = np.asarray(confidence, dtype=np.float64)
    bin_of = equal_width_bins(c, bins)
    c = c[np.argsort(bin_of, kind="stable")]
    starts = np.flatnonzero(np.diff(np.sort(bin_of), prepend=-1))
    rows = max(1, 2**22 // max(1, len(c)))
    simulated = np.concatenate(
        [
            np.abs(np.add.reduceat(c - (rng.random((min(rows, draws - i), len(c))) < c), starts, axis=1)).sum(axis=1)
            for i in range(0, draws, rows)
        ]
    ) / len(c)
    return Floor(
        value=float(simulated.mean()),
        standard_error=float(simulated.std(ddof=1) / np.sqrt(draws)),
        upper=float(np.quantile(simulated, 0.95)),
    )


def classwise_columns(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> Floats:
    """(n, classes · bins): (p_k − [label = k]) / classes in the bin of p_k; the sum of absolute means is the class-wise ECE."""
    p = np.asarray(probabilities, dtype=np.float64)
    n, num_classes = p.shape
    columns = np.zeros((n, num_classes, bins))
    gap = (p - _one_hot(labels, num_classes)) / num_classes
    np.put_along_axis(columns, equal_width_bins(p, bins)[:, :, None], gap[:, :, None], axis=2)
    return columns.reshape(n, -1)


def classwise_ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = BINS) -> float:
    """Mean over classes of the ECE of p_k as the probability of class k (Kull et al. 2019). Small for many classes by nature."""
    p = np.asarray(probabilities, dtype=np.float64)
    n, num_classes = p.shape
    cell = equal_width_bins(p, bins) + bins * np.arange(num_classes)
    gaps = np.bincount(cell.ravel(), (p - _one_hot(labels, num_classes)).ravel())
    return float(np.abs(gaps).sum() / n / num_classes)


def mce(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, min_count: int = 1) -> float | None:
    """Maximum calibration error: the largest |accuracy − confidence| of a bin with at least `min_count` examples, or None.

    Small bins dominate it; with `min_count` 1 a single wrong example at 0.1 sets it to 0.1 or more.
    """
    bin_of = equal_width_bins(confidence, bins)
    count = np.bincount(bin_of)
    gaps = np.abs(np.bincount(bin_of, np.asarray(confidence) - np.asarray(correct, dtype=np.float64)))
    kept = count >= max(1, min_count)
    return float((gaps[kept] / count[kept]).max()) if kept.any() else None


def ks(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Largest |running sum of confidence − correct| / n in order of confidence, no bins (Gupta et al. 2021).

    Evaluated at distinct confidences only: inside a tie the order, and so the running sum, would be arbitrary.
    """
    values, group = np.unique(np.asarray(confidence), return_inverse=True)
    steps = np.bincount(group, np.asarray(confidence) - np.asarray(correct, dtype=np.float64), minlength=len(values))
    return float(np.abs(np.cumsum(steps)).max() / len(group))


def smooth_ece(confidence: ArrayLike, correct: ArrayLike, *, mesh: int = 2**14) -> float:
    """Calibration error without bins: ∫|r_σ|, r_σ the residuals smoothed by a Gaussian reflected at 0 and 1, at the width σ where
    it equals σ itself (Błasiok & Nakkiran 2023). Consistent, and continuous in the predictions; at least 0.001 (its resolution).

    The reflected Gaussian is the heat kernel of [0, 1], which the cosine transform diagonalises: mode k shrinks by e^(−(πkσ)²/2).
    """
    from scipy.fft import dct, idct

    c = np.asarray(confidence, dtype=np.float64)
    cell = np.minimum((c * mesh).astype(np.int64), mesh - 1)
    residual = np.bincount(cell, np.asarray(correct, dtype=np.float64) - c, minlength=mesh) / len(c)
    spectrum, mode = dct(residual), np.pi * np.arange(mesh)

    def smoothed(width: float) -> float:
        return float(np.abs(idct(spectrum * np.exp(-np.square(mode * width) / 2))).sum())

    low, high = 0.001, 1.0
    if smoothed(low) <= low:
        return low
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(middle) > middle else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class TemperatureScaling:
    """Logits divided by one number that was fitted on other examples."""

    temperatures: tuple[float, float]
    """Fitted on either half. Above 1: the model is overconfident."""
    at_bound: bool
    """True when a fit ended at the edge of its search range: the model is (nearly) always right, or always wrong, on a half."""
    scaled: Predictions
    """All examples, each scaled by the temperature of the half it does not belong to."""
    first: Bools
    """Which examples are of the first half."""
    moves: Floats
    """How much each example moves 1/T of its half, times n: its influence (n,), of mean 0 in each half."""
    speed: Floats
    """The derivative of each example's confidence in the 1/T it is scaled by (n,)."""

    @property
    def temperature(self) -> float:
        """The geometric mean of the two."""
        return float(np.sqrt(self.temperatures[0] * self.temperatures[1]))


def fit_temperature(logits: ArrayLike, labels: ArrayLike, bounds: tuple[float, float] = (0.02, 50.0)) -> float:
    """The T in `bounds` that minimises the mean NLL of logits / T (Guo et al. 2017).

    The NLL is convex in β = 1/T with derivative mean(E_p[z] − z_label), so T is that derivative's root, found in log T.
    """
    from scipy.optimize import brentq

    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    z = z - z.mean(axis=1, keepdims=True)
    of_label = float(z[np.arange(len(z)), y].mean())

    def slope(log_t: float) -> float:
        return float((np.exp(log_softmax(z * np.exp(-log_t))) * z).sum(axis=1).mean()) - of_label

    cold, hot = np.log(bounds)
    if slope(cold) <= 0:
        return bounds[0]
    if slope(hot) >= 0:
        return bounds[1]
    return float(np.exp(brentq(slope, cold, hot, xtol=1e-9)))


def temperature_scaling(predictions: Predictions, *, rng: np.random.Generator) -> TemperatureScaling:
    """Fits a temperature on each half of a random split and applies it to the other: no example is scaled by a fit to itself.

    Raises:
        ValueError: the predictions hold no logits, or fewer than 4 examples.
    """
    if predictions.logits is None:
        raise ValueError("temperature scaling needs the logits")
    n = len(predictions)
    if n < 4:
        raise ValueError(f"temperature scaling needs at least 4 examples, got {n}")
    first = np.zeros(n, dtype=np.bool_)
    first[rng.permutation(n)[: n // 2]] = True
    bounds = (0.02, 50.0)
    fitted = [fit_temperature(predictions.logits[half], predictions.labels[half], bounds) for half in (first, ~first)]
    scale = np.where(first, fitted[1], fitted[0])
    scaled = Predictions.from_logits(predictions.logits / scale[:, None], predictions.labels)
    moves = np.zeros(n)
    for half, temperature in zip((first, ~first), fitted, strict=True):
        if temperature not in bounds:
            slope, curvature = _derivatives(predictions.logits[half], predictions.labels[half], temperature)
            moves[half] = -n / len(slope) * (slope - slope.mean()) / curvature.mean()
    centred = predictions.logits - predictions.logits.max(axis=1, keepdims=True)
    speed = -scaled.confidence * (np.exp(log_softmax(predictions.logits / scale[:, None])) * centred).sum(axis=1)
    return TemperatureScaling((fitted[0], fitted[1]), any(t in bounds for t in fitted), scaled, first, moves, speed)


def _derivatives(logits: ArrayLike, labels: ArrayLike, temperature: float) -> tuple[Floats, Floats]:
    """The first and second derivative of each example's NLL in 1/T (n,)."""
    z = np.asarray(logits, dtype=np.float64)
    p = np.exp(log_softmax(z / temperature))
    mean = (p * z).sum(axis=1)
    return mean - z[np.arange(len(z)), np.asarray(labels)], (p * (z - mean[:, None]) ** 2).sum(axis=1)


def scaled_gap_columns(fitted: TemperatureScaling, bins: int = BINS) -> Floats:
    """`gap_columns` after scaling; they vary with the examples in each bin and with those that the temperature was fitted on."""
    scaled = fitted.scaled
    bin_of = equal_width_bins(scaled.confidence, bins)
    columns = gap_columns(scaled.confidence, scaled.correct, bin_of)
    for half in (fitted.first, ~fitted.first):
        moved = np.bincount(bin_of[~half], fitted.speed[~half], columns.shape[1]) / len(bin_of)
        columns[half] += fitted.moves[half, None] * moved
    return columns


@dataclass(frozen=True)
class ReliabilityBin:
    """One row of a reliability diagram."""

    low: float
    high: float
    n: int
    confidence: float | None
    """Mean; None in an empty bin."""
    accuracy: float | None


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> list[ReliabilityBin]:
    """Equal-width bins with their counts, mean confidence and accuracy; empty bins are listed."""
    bin_of = equal_width_bins(confidence, bins)
    n = np.bincount(bin_of, minlength=bins)
    sums = [np.bincount(bin_of, np.asarray(x, dtype=np.float64), minlength=bins) for x in (confidence, correct)]
    means = [[float(s[b] / n[b]) if n[b] else None for b in range(bins)] for s in sums]
    return [ReliabilityBin(b / bins, (b + 1) / bins, int(n[b]), means[0][b], means[1][b]) for b in range(bins)]


def _sum_of_gaps(confidence: ArrayLike, correct: ArrayLike, bin_of: Ints) -> float:
    gaps = np.bincount(bin_of, np.asarray(confidence) - np.asarray(correct, dtype=np.float64))
    return float(np.abs(gaps).sum() / len(bin_of))


def _one_hot(labels: ArrayLike, num_classes: int) -> Floats:
    rows: Floats = np.eye(num_classes)[np.asarray(labels)]
    return rows
