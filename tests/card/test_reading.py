"""The paragraph says in plain words what was measured, and nothing that its intervals do not bear out."""

from __future__ import annotations

import pytest

from sharpaudit.card import Interval, Measured, Measurement, Scalar
from sharpaudit.card.reading import classes_in_words, reading, worst_classes


def number(name: str, value: float, *ends: float, n: int = 1000, **options: Scalar) -> Measured:
    ci = Interval(low=ends[0], high=ends[1], method="made up") if ends else None
    return Measured(
        name=name, value=value, unit="1", direction="none", n=n, ci=ci, reason="none", method="made up", options=dict(options)
    )


def of_class(label: str, value: float, n: int = 100) -> Measured:
    return number(f"clean.accuracy/class/{label}", value, n=n)


ACCURACY = number("clean.accuracy", 0.9438, 0.9254, 0.9578, n=797)
WORST = number("clean.worst_class_accuracy", 0.8734, smallest_class=5)


def test_nothing_measured_nothing_said() -> None:
    assert reading([]) == []


def test_accuracy_and_the_worst_class() -> None:
    assert reading([ACCURACY]) == ["It gets 94.4% [92.5, 95.8] of 797 images right."]
    named = [ACCURACY, WORST, of_class("8", 0.8734), of_class("9", 0.95)]
    assert reading(named) == ["It gets 94.4% [92.5, 95.8] of 797 images right (worst class 8: 87.3%)."]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ([], ""),
        ([of_class("cat", 0.9)], ""),
        ([of_class("cat", 0.8734), of_class("dog", 0.9)], "class cat"),
        ([of_class("cat", 0.8734, n=4), of_class("dog", 0.8734)], "class dog"),
        ([of_class(label, 0.8734) for label in "ab"], "classes a and b"),
        ([of_class(label, 0.8734) for label in "abc"], "classes a, b and 1 more"),
        ([of_class("\x1b[31m" + "x" * 30, 0.8734)], r"class \x1b[31mxxxxxxxxxxxxxxx…"),
    ],
)
def test_the_worst_class_is_named(classes: list[Measurement], words: str) -> None:
    assert classes_in_words(worst_classes([WORST, *classes])) == words
    assert worst_classes(classes) == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0374, "more than chance explains (1.0 on average, above 1.5 once in 20 times)"),
        (0.0149, "no more than chance explains (1.0 on average)"),
    ],
)
def test_calibration_is_held_against_chance(value: float, words: str) -> None:
    ece, floor = number("calibration.ece", value, 0.01, 0.05), number("calibration.ece_floor", 0.0103, upper_95=0.0149)
    assert reading([ece, floor]) == [f"Its confidences are off by {100 * value:.1f} points [1.0, 5.0] on average (ECE), {words}."]


def test_calibration_without_its_floor_is_left_to_the_table() -> None:
    assert reading([number("calibration.ece", 0.04), number("calibration.ece_floor", 0.01)]) == []


def test_corruption_and_the_worst_one() -> None:
    whole = number("corruption.accuracy", 0.853, 0.839, 0.865, source="synthetic-c", cells=57)
    parts = {"gaussian_noise": 0.62, "fog": 0.7, "fog/5": 0.1, "family/blur": 0.2, "*/5": 0.3}
    assert reading([number("corruption.accuracy", 0.853)]) == ["Under corruption it gets 85.3% right."]
    assert reading([whole]) == ["Under corruption (synthetic-c, 57 cells) it gets 85.3% [83.9, 86.5] right."]
    assert reading([whole, *(number(f"corruption.accuracy/{name}", value) for name, value in parts.items())]) == [
        "Under corruption (synthetic-c, 57 cells) it gets 85.3% [83.9, 86.5] right (worst under gaussian noise: 62.0%)."
    ]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.056, 0.042, 0.075), "is 5.6 points [4.2, 7.5] above its test accuracy."),
        ((-0.04, -0.06, -0.02), "is 4.0 points [2.0, 6.0] below its test accuracy."),
        ((0.013, -0.016, 0.043), "cannot be distinguished from its test accuracy: +1.3 points [−1.6, 4.3]."),
        ((-0.006, -0.037, 0.0), "cannot be distinguished from its test accuracy: −0.6 points [−3.7, 0.0]."),
    ],
)
def test_a_gap_is_stated_where_its_interval_leaves_zero_out(numbers: tuple[float, ...], words: str) -> None:
    assert reading([number("clean.generalisation_gap", *numbers)]) == [f"Its training accuracy {words}"]
    assert reading([number("clean.generalisation_gap", numbers[0])]) == []


def test_flatness_is_sent_to_a_comparison() -> None:
    (sentence,) = reading([number("flatness.fisher_rao", 3.4)])
    assert sentence == "Whether sharper goes with safer here, only a comparison on the same data can say: sharpaudit compare A B."


@pytest.mark.parametrize(("null", "said"), [(0.0, []), (0.9, []), (2.5, [" 25%"])])
def test_what_the_published_protocol_reads_of_nothing(null: float, said: list[str]) -> None:
    found = reading([number("sharpness.random_paper_protocol", 10.0), number("sharpness.random_null", null)])
    assert [sentence.split(" of its value")[0][-4:] for sentence in found] == said


def test_no_sentence_holds_a_raw_name_or_markup() -> None:
    """Raw names hold a point between letters, markup a backtick or a star."""
    numbers = [ACCURACY, number("sharpness.sam", 1.0), number("flatness.fisher_rao", 1.0), number("sharpness.lambda_max", 2.0)]
    assert not any(character in sentence for sentence in reading(numbers) for character in ("`", "*", "_"))
