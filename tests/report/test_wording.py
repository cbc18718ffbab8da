"""Numbers as they are printed: golden cases, and the law that printing loses at most a twentieth of the half-width."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharpaudit.card import Interval
from sharpaudit.report import wording

EXPONENTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def said(centre: float, low: float, high: float) -> str:
    return wording.number(centre, Interval(low=low, high=high, method="t"), show_interval=True)


@pytest.mark.parametrize(
    ("centre", "low", "high", "words"),
    [
        (0.915, 0.8962, 0.9308, "0.915 [0.896, 0.931]"),
        (0.3842, 0.3321, 0.4363, "0.384 [0.332, 0.436]"),
        (803.2, 742.2, 864.2, "803 [742, 864]"),
        (6.213e-05, 5.803e-05, 6.623e-05, "6.21 [5.80, 6.62] × 10⁻⁵"),
        (0.0001, -0.01, 0.0102, "0.000 [−0.010, 0.010]"),
        (1.25e6, 1.1e6, 1.4e6, "1.25 [1.10, 1.40] × 10⁶"),
        (12345.0, 11000.0, 13000.0, "12,345 [11,000, 13,000]"),
        (1.0, 1.0, 1.0, "1 [1, 1]"),
        (0.0, 0.0, 0.0038, "0.0000 [0.0000, 0.0038]"),
    ],
)
def test_value_and_interval(centre: float, low: float, high: float, words: str) -> None:
    assert said(centre, low, high) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (41.3172, "41.32"),
        (-1.84, "−1.840"),
        (512.0, "512"),
        (0.25, "0.2500"),
        (2e-310, "0.000000 × 10⁻³⁰⁰"),
    ],
)
def test_value_alone_has_four_digits(value: float, words: str) -> None:
    assert wording.number(value) == words


@given(st.floats(1e-3, 1), st.floats(1e-4, 1), st.booleans())
def test_an_interval_that_excludes_zero_does_not_print_as_touching_it(width: float, share: float, below: bool) -> None:
    near, far = share * width, (1 + share) * width
    low, high = (-far, -near) if below else (near, far)
    interval = wording.said((low + high) / 2, Interval(low=low, high=high, method="t")).interval
    assert all(float(end.replace("−", "-").replace(",", "")) for end in interval.strip("[]").split(", ")), interval


@given(
    st.floats(-1e12, 1e12),
    st.floats(1e-7, 10),
    st.floats(0, 1),
)
def test_printing_loses_at_most_a_twentieth_of_the_half_width(centre: float, share: float, where: float) -> None:
    half = share * max(1e-3, abs(centre))
    low, high = centre - 2 * half * where, centre + 2 * half * (1 - where)
    match = re.fullmatch(r"([−\d.,]+) \[([−\d.,]+), ([−\d.,]+)\](?: × 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?", said(centre, low, high))
    assert match
    scale = 10.0 ** int((match[4] or "⁰").translate(EXPONENTS))
    printed = [float(part.replace("−", "-").replace(",", "")) * scale for part in match.groups()[:3]]
    rounding = 1e-12 * abs(centre)
    for shown, true in zip(printed, (centre, low, high), strict=True):
        assert abs(shown - true) <= (high - low) / 40 + rounding


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_can_be_said(value: float) -> None:
    assert re.fullmatch(r"−?[\d.,]+(?: × 10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)?", wording.number(value))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("clean.accuracy", "Accuracy"),
        ("corruption.accuracy/gaussian_noise/3", "Corruption accuracy, gaussian noise 3"),
        ("sharpness.worst/linf/adaptive/0.002", "Worst-case, linf adaptive 0.002"),
        ("plug.in", "plug.in"),
    ],
)
def test_titles(name: str, words: str) -> None:
    assert wording.title(name) == words


def test_foreign_text_cannot_begin_a_workflow_command() -> None:
    assert wording.foreign("::error::x ##[group] a:b #1") == r"\x3a:error\x3a:x \x23#[group] a:b #1"
    assert wording.foreign(":::") == r"\x3a\x3a:"
