"""Do the model's confidences match how often it is right?

Why it matters
    A model that says 99% and is right 90% of the time cannot be trusted to say when it is unsure.

How it is computed
    From the columns of one forward pass, softmax in float64. ECE: 15 equal-width bins of the top confidence, the last one closed.
    ECE is biased upward, so `ece_floor` gives what a perfectly calibrated model with these confidences would show at this n (by
    simulation), and `ece_debiased` the excess over it. Adaptive ECE uses bins of equal mass, class-wise ECE all classes'
    probabilities, KS and smooth ECE no bins. The temperature is fitted on each half of a random split and applied to the
    other; it is the geometric mean of the two fits. Intervals of ECE are for the value expected at this n, by a bootstrap around
    shrunken gaps with bins held fixed: BCa would cover 0 to 90% near calibration. The NLL's is BCa.

When not to trust it
    ECE at small n without its floor; MCE, which the emptiest bin counted decides; class-wise ECE at many classes, where most
    probabilities are near zero; a temperature that ended at the edge of its search range. Below zero, `ece_debiased` only says
    that the ECE is smaller than chance would make it.

Sources
    Guo et al. 2017; Nixon et al. 2019; Kull et al. 2019; Gupta et al. 2021 (KS); Błasiok and Nakkiran 2024 (smooth ECE).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sharpaudit.card import Measured, Skipped, Table
from sharpaudit.errors import UsageError
from sharpaudit.metrics import calibration as metric
from sharpaudit.metrics import estimates
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.probes import Finding, NamedTable, Need, Workbench, measured, probe
from sharpaudit.stats import Estimate, Resamples


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """Settings of the calibration probe."""

    bins: int = 15
    """Number of confidence bins; never more than there are examples."""
    floor_draws: int = 1000
    """Simulated data sets behind the ECE floor."""
    smallest_bin: int = 10
    """Bins with fewer examples are left out of the maximum calibration error."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if self.bins < 1 or self.floor_draws < 2:
            raise UsageError("calibration: expected at least 1 bin and 2 floor draws")


@probe(
    needs={Need.PREDICTIONS, Need.RESAMPLES},
    version=1,
)
def calibration(bench: Workbench, options: CalibrationOptions) -> Iterator[Finding]:
    """Yield ECE with its floor, its variants, and the temperature with what it would mend."""
    test = bench.predictions
    bins = min(options.bins, len(test))
    resamples = bench.resamples(len(test))
    ece = estimates.ece(test, metric.equal_width_bins(test.confidence, bins), resamples)
    floor = metric.ece_floor(test.confidence, rng=bench.rng("floor"), bins=bins, draws=options.floor_draws)
    yield _gaps("calibration.ece", ece, f"{bins} equal-width bins", bins, resamples)
    yield measured(
        "calibration.ece_floor",
        estimates.ece_floor(floor, options.floor_draws),
        len(test),
        f"mean ECE of {options.floor_draws} simulated data sets, calibrated by construction; interval of that mean",
        {"bins": bins, "upper_95": floor.upper},
    )
    debiased = estimates.ece_debiased(ece, floor.value)
    yield measured("calibration.ece_debiased", debiased, len(test), "ECE minus its floor; can be negative", {"bins": bins})
    of_equal_mass = estimates.ece(test, metric.equal_mass_bins(test.confidence, bins), resamples)
    yield _gaps("calibration.adaptive_ece", of_equal_mass, f"{bins} bins of equal mass", bins, resamples)
    method = f"mean over classes, {bins} equal-width bins of each class's probability"
    classwise = estimates.classwise_ece(test, bins, resamples)
    yield measured("calibration.classwise_ece", classwise, len(test), method, {"bins": bins})
    yield from _maxima(test, bins, options.smallest_bin)
    yield from _temperature(bench, test, bins, resamples)
    yield NamedTable("reliability", _reliability(test, bins))


def _gaps(name: str, found: Estimate, method: str, bins: int, resamples: Resamples) -> Measured:
    return measured(name, found, resamples.n, f"Σ over bins of |mean confidence − accuracy| × share, {method}", {"bins": bins})


def _maxima(test: Predictions, bins: int, smallest_bin: int) -> Iterator[Finding]:
    """The measures that are maxima or self-smoothing, which resampling biases upward: given without an interval."""
    reason = "resampling would bias it upward"
    largest = metric.mce(test.confidence, test.correct, bins, min_count=smallest_bin)
    if largest is None:
        yield Skipped(name="calibration.mce", reason=f"no confidence bin holds {smallest_bin} examples")
    else:
        settings = {"bins": bins, "smallest_bin": smallest_bin}
        filled = np.bincount(metric.equal_width_bins(test.confidence, bins))
        kept = filled[filled >= smallest_bin]
        method = (
            f"largest gap of the {len(kept)} bins with at least {smallest_bin} examples, which hold {kept.sum()} of {len(test)}"
        )
        yield measured("calibration.mce", Estimate(largest, None, reason), len(test), method, settings)
    running = Estimate(metric.ks(test.confidence, test.correct), None, reason)
    yield measured("calibration.ks", running, len(test), "largest running mean of confidence − correct, no bins")
    smooth = Estimate(metric.smooth_ece(test.confidence, test.correct), None, reason)
    yield measured("calibration.smooth_ece", smooth, len(test), "kernel-smoothed gaps, self-consistent width")


def _temperature(bench: Workbench, test: Predictions, bins: int, resamples: Resamples) -> Iterator[Finding]:
    names = ["calibration.temperature", "calibration.ece_after_temperature", "calibration.nll_after_temperature"]
    if len(test) < 4:
        yield from (Skipped(name=name, reason=f"{len(test)} examples cannot be split and fitted") for name in names)
        return
    fitted = metric.temperature_scaling(test, rng=bench.rng("temperature split"))
    first, second = fitted.temperatures
    yield measured(
        "calibration.temperature",
        estimates.temperature(fitted),
        len(test),
        "minimises the NLL of a half; geometric mean of the two halves' fits; above 1: overconfident",
        {"first_half": first, "second_half": second},
        converged=not fitted.at_bound,
    )
    method = f"{bins} equal-width bins, each half at the other half's temperature"
    after = estimates.ece_after_temperature(fitted, bins, resamples)
    yield _gaps("calibration.ece_after_temperature", after, method, bins, resamples)
    found = estimates.nll_after_temperature(fitted, resamples)
    method = "mean −log p of the label, each half at the other half's temperature"
    yield measured("calibration.nll_after_temperature", found, len(test), method)


def _reliability(test: Predictions, bins: int) -> Table:
    rows = metric.reliability(test.confidence, test.correct, bins)
    return Table(
        columns=["bin_low", "bin_high", "count", "confidence", "accuracy"],
        rows=[[row.low, row.high, row.n, row.confidence, row.accuracy] for row in rows],
    )
