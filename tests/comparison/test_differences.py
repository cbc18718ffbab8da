"""Differences, their intervals and their words."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sharpaudit.card import Interval, Measured
from sharpaudit.comparison.differences import differences, minus, p_value, verdict
from sharpaudit.comparison.records import Difference
from sharpaudit.stats import Estimate, wilson
from tests.comparison.cases import Audit, audit, measured


def rows_of(a: Audit, b: Audit) -> dict[str, Difference]:
    return {row.name: row for row in differences([a.card, b.card], [a.views, b.views])}


def within(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, Interval(low=low, high=high, method="test"))


@pytest.mark.parametrize(
    ("name", "direction", "difference", "p", "margin", "word"),
    [
        ("clean.accuracy", "higher", within(0.02, 0.04), 0.01, 0.01, "better"),
        ("clean.accuracy", "higher", within(-0.04, -0.02), 0.01, 0.01, "worse"),
        ("calibration.ece", "lower", within(-0.04, -0.02), 0.01, 0.01, "better"),
        ("calibration.ece", "lower", within(0.02, 0.04), 0.01, 0.01, "worse"),
        ("clean.accuracy", "higher", within(-0.01, 0.01), 1.0, 0.01, "equivalent within margin"),
        ("clean.accuracy", "higher", within(0.001, 0.009), 0.01, 0.01, "equivalent within margin"),
        ("clean.accuracy", "higher", within(0.001, 0.011), 0.01, 0.01, "better"),
        ("clean.accuracy", "higher", within(0.02, 0.04), 0.06, 0.01, "undecided"),
        ("clean.accuracy", "higher", within(-0.001, 0.011), 0.1, None, "undecided"),
        ("clean.accuracy", "higher", Estimate(0.5, None, "no"), None, 0.01, "undecided"),
        ("sharpness.trace", "none", within(1.0, 2.0), 0.01, None, "sharper"),
        ("flatness.fisher_rao", "none", within(-2.0, -1.0), 0.01, None, "flatter"),
        ("sharpness.trace", "none", within(-1.0, 2.0), 0.5, None, "undecided"),
        ("sharpness.pac_bayes_sigma", "none", within(1.0, 2.0), 0.01, None, "flatter"),
        ("sharpness.random_null", "none", within(1.0, 2.0), 0.01, None, None),
        ("calibration.temperature", "none", within(1.0, 2.0), 0.01, None, None),
    ],
)
def test_words(name: str, direction: str, difference: Estimate, p: float | None, margin: float | None, word: str | None) -> None:
    number = Measured.model_validate(measured(name, 0.5).model_dump() | {"direction": direction})
    assert verdict(number, difference, p, margin) == word


def test_p_value_agrees_with_its_interval() -> None:
    assert p_value(2.0, Interval(low=0.0, high=5.0, method="test")) == pytest.approx(0.05)
    assert p_value(-2.0, Interval(low=-3.0, high=0.0, method="test")) == pytest.approx(0.05)
    assert p_value(1.96, Interval(low=0.0000360154, high=9.0, method="test")) == pytest.approx(0.05, abs=1e-3)
    assert p_value(0.0, Interval(low=-1.0, high=1.0, method="test")) == 1.0
    assert p_value(1.0, Interval(low=1.0, high=1.0, method="test")) == 0.0
    assert p_value(2.0, Interval(low=1.0, high=3.0, method="test")) == pytest.approx(
        math.erfc(2 * 1.959964 / math.sqrt(2)), rel=1e-4
    )


def test_independent_difference_is_newcombes() -> None:
    a, b = wilson(48, 80), wilson(56, 70)  # Newcombe 1998, table II, example (a), method 10: 0.0524 to 0.3339
    found = minus(Estimate(56 / 70, b), Estimate(48 / 80, a))
    assert found.ci is not None
    assert (found.ci.low, found.ci.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert minus(Estimate(1.0, None, "because"), Estimate(0.0, a)).reason == "because"


def test_stored_columns_make_differences_paired() -> None:
    a, b = audit(1), audit(1, 2.2)  # the same noise: like models
    with_columns = rows_of(a, b)
    without = {row.name: row for row in differences([a.card, b.card], [{}, {}])}
    for name in ("clean.accuracy", "clean.nll", "calibration.ece", "corruption.accuracy", "clean.generalisation_gap"):
        paired, alone = with_columns[name], without[name]
        assert paired.paired and not alone.paired
        assert paired.difference == pytest.approx(alone.difference) == pytest.approx(paired.b - paired.a)
        assert paired.ci is not None and alone.ci is not None
        assert paired.ci.high - paired.ci.low < alone.ci.high - alone.ci.low, name


def test_paired_interval_of_accuracy_is_that_of_the_flips() -> None:
    a, b = audit(3, n=1000), audit(4, 2.2, n=1000)
    row = rows_of(a, b)["clean.accuracy"]
    flips = b.views["clean"].correct.astype(float) - a.views["clean"].correct
    half = 1.96 * flips.std() / math.sqrt(1000)
    assert row.ci is not None and row.difference == pytest.approx(flips.mean())
    assert (row.ci.low, row.ci.high) == pytest.approx((flips.mean() - half, flips.mean() + half), abs=0.1 * half)


def test_columns_that_do_not_give_the_cards_values_are_not_used() -> None:
    a, b = audit(1), audit(2)
    row = {row.name: row for row in differences([a.card, b.card], [a.views, audit(5).views])}["clean.accuracy"]
    assert not row.paired and row.difference == pytest.approx(row.b - row.a)


def test_a_model_against_itself() -> None:
    a = audit(1, n=1000)
    rows = rows_of(a, a)
    assert all(row.difference == 0 for row in rows.values())
    accuracy = rows["clean.accuracy"]
    assert accuracy.verdict == "identical" and accuracy.ci == Interval(
        low=0.0, high=0.0, method=accuracy.ci.method if accuracy.ci else ""
    )
    assert rows["clean.nll"].verdict == rows["sharpness.lambda_max"].verdict == "identical"


def test_the_same_images_right_is_not_the_same_function() -> None:
    a = audit(1, n=1000)
    clean = a.views["clean"]
    surer = Audit(a.card, {**a.views, "clean": replace(clean, nll=clean.nll * 0.9, confidence=clean.confidence * 0.9)})
    accuracy = rows_of(a, surer)["clean.accuracy"]
    assert accuracy.verdict == "equivalent within margin" and accuracy.ci is not None
    assert (
        accuracy.ci.high == pytest.approx(wilson(0, 1000).high) and accuracy.ci.method == "wilson bound on 0 discordant of 1000"
    )
    assert {row.verdict for row in rows_of(a, surer).values()}.isdisjoint({"identical"})


def test_swapping_the_models_swaps_the_words() -> None:
    a, b = audit(1, 1.5, flatness={"sharpness.trace": 9.0}), audit(2, 3.0, flatness={"sharpness.trace": 12.0})
    there, back = rows_of(a, b), rows_of(b, a)
    swapped = {"better": "worse", "worse": "better", "sharper": "flatter", "flatter": "sharper"}
    assert there["clean.accuracy"].verdict == "better" and there["sharpness.trace"].verdict == "sharper"
    for name, row in there.items():
        assert back[name].difference == pytest.approx(-row.difference)
        assert back[name].verdict == swapped.get(row.verdict or "", row.verdict)


def test_other_probe_sets_and_options_are_not_compared() -> None:
    a, b = audit(1), audit(2)
    assert b.card.probe_set is not None
    other = b.card.model_copy(update={"probe_set": b.card.probe_set.model_copy(update={"precision": "float32"})})
    row = {r.name: r for r in differences([a.card, other], [a.views, b.views])}["sharpness.lambda_max"]
    assert (
        row.verdict == "undecided" and row.reason == "measured on another probe set, in another precision, or of other parameters"
    )
    probes = {**b.card.probes, "spectrum": b.card.probes["spectrum"].model_copy(update={"options": {"tolerance": 1e-9}})}
    other = b.card.model_copy(update={"probes": probes})
    row = {r.name: r for r in differences([a.card, other], [a.views, b.views])}["sharpness.lambda_max"]
    assert row.ci is None and row.reason == "measured with other options"


def test_an_eigenvalue_is_as_sure_as_its_residual() -> None:
    def with_lambda(seed: int, value: float, **fields: Any) -> Audit:
        base = audit(seed, flatness={"x": None})
        found = measured("sharpness.lambda_max", value, direction="none", **fields)
        return Audit(base.card.model_copy(update={"measurements": [*base.card.measurements, found]}), base.views)

    a = with_lambda(1, 10.0, converged=True, residual=1e-3)
    row = rows_of(a, with_lambda(2, 12.0, converged=True, residual=1e-3))["sharpness.lambda_max"]
    assert row.verdict == "sharper" and row.ci is not None
    assert row.ci.high - row.ci.low == pytest.approx(2 * math.hypot(0.01, 0.012))
    row = rows_of(a, with_lambda(2, 12.0, converged=False, residual=0.3))["sharpness.lambda_max"]
    assert row.verdict == "undecided" and row.reason == "B: an iteration did not converge"
    stopped = with_lambda(1, 10.0, converged=False, residual=0.3)
    row = rows_of(stopped, with_lambda(2, 12.0, converged=False, residual=0.3))["sharpness.lambda_max"]
    assert row.reason == "an iteration did not converge", "both: said once"
    row = rows_of(stopped, with_lambda(2, 12.0))["sharpness.lambda_max"]
    assert row.reason == "A: an iteration did not converge; B: none was asked for"


def test_many_questions_are_corrected_within_their_family() -> None:
    a, b = audit(1), audit(2, 2.3)
    rows = rows_of(a, b)
    clean = [row for name, row in rows.items() if name.startswith("clean.") and row.p_value is not None]
    m, harmonic = len(clean), sum(1 / k for k in range(1, len(clean) + 1))
    smallest = min(clean, key=lambda row: row.p_value or 0)
    raw = sorted(row.p_value or 0 for row in clean)
    expected = min(1.0, min(p * m * harmonic / rank for rank, p in enumerate(raw, 1)))
    assert smallest.p_adjusted == pytest.approx(expected)


@pytest.mark.slow
def test_like_models_are_rarely_called_different() -> None:
    """Each family of measurements raises a false alarm about one time in twenty, however many members it has."""
    rng = np.random.default_rng(0)
    alarms = {"clean": 0, "calibration": 0, "corruption": 0}
    for _ in range(200):
        first, second = (int(seed) for seed in rng.integers(10**6, size=2))
        rows = rows_of(audit(first), audit(second))
        for family in alarms:
            alarms[family] += any(row.verdict in ("better", "worse") for name, row in rows.items() if name.startswith(family))
    print("false alarms by family:", {family: count / 200 for family, count in alarms.items()})
    assert all(count / 200 <= 0.1 for count in alarms.values())  # 0.05 and three standard errors of 200 runs
