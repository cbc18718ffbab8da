"""Thirty set-ups sabotaged by accidents people have, and thirty that are right: how many does the check flag?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cases import REAL
from tests.setup_check import cases

Sabotaged = Callable[[], Iterator[tuple[str, str, cases.SetUp]]]
Clean = Callable[[], Iterator[tuple[str, cases.SetUp]]]


def table(sabotaged: list[Sabotaged], clean: list[Clean]) -> tuple[int, int, int, int]:
    """Prints one line a set-up; flagged of sabotaged, flagged of clean."""
    found = alarms = num_sabotaged = num_clean = 0
    for what, expected, setup in (case for make in sabotaged for case in make()):
        flagged = [check.name for check in setup.checked().flagged]
        print(f"sabotaged  {what:<48} {'found' if expected in flagged else 'MISSED':<7} {', '.join(flagged)}")
        found, num_sabotaged = found + (expected in flagged), num_sabotaged + 1
    for what, setup in (case for make in clean for case in make()):
        result = setup.checked()
        flagged = [check.name for check in result.flagged]
        print(f"clean      {what:<48} {'ALARM' if flagged else 'quiet':<7} {', '.join(flagged)} ({result.forward} images)")
        alarms, num_clean = alarms + bool(flagged), num_clean + 1
    print(f"{found} of {num_sabotaged} sabotaged set-ups found, {alarms} false alarms on {num_clean} clean ones")
    return found, num_sabotaged, alarms, num_clean


def test_digits_are_told_apart() -> None:
    found, num_sabotaged, alarms, _ = table([cases.sabotaged_digits], [cases.clean_digits])
    assert found >= num_sabotaged - 1, "the untrained network happens to be right on 19%"
    assert alarms == 0


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real beside the repository")
def test_all_are_told_apart() -> None:
    found, num_sabotaged, alarms, num_clean = table(
        [cases.sabotaged_digits, cases.sabotaged_real], [cases.clean_digits, cases.clean_real]
    )
    assert (num_sabotaged >= 30, num_clean >= 30) == (True, True)
    assert found >= 0.9 * num_sabotaged
    assert alarms <= 1
