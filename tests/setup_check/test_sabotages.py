"""Sixty accidents on ten networks, and a hundred set-ups that are right: what is found, by its name, and what cannot be known?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest

from tests.cases import REAL
from tests.cli.conftest import DEMO
from tests.setup_check import cases, sabotages
from tests.setup_check.cases import SetUp
from tests.setup_check.sabotages import SABOTAGES, Sabotage

SEED = int(os.environ.get("SHARPAUDIT_SETUP_SEED", np.random.SeedSequence().generate_state(1)[0]))
"""Which accidents the default run looks at; another one each time."""


def verdict(sabotage: Sabotage, wrong: SetUp, right: SetUp) -> str:
    """``named`` by its check, ``found`` by another, ``costs nothing`` where no accuracy is lost, or ``missed``."""
    flagged = [check.name for check in wrong.checked().flagged]
    if sabotage.check in flagged:
        return "named"
    if flagged:
        return "found"
    return "costs nothing" if sabotages.costs_no_accuracy(wrong, right) else "missed"


def tally(networks: Iterable[tuple[str, SetUp]], chosen: Iterable[Sabotage]) -> dict[str, Counter[str]]:
    """Verdicts by accident; prints the accidents that were not named."""
    chosen = list(chosen)
    found: dict[str, Counter[str]] = {sabotage.name: Counter() for sabotage in chosen}
    for name, right in networks:
        for sabotage in chosen:
            wrong = sabotage.change(right)
            if wrong is None:
                continue
            word = verdict(sabotage, wrong, right)
            found[sabotage.name][word] += 1
            if word != "named":
                print(f"{name:<34} {sabotage.name:<44} {word}")
    return found


def test_a_handful_of_accidents_is_named() -> None:
    rng = np.random.default_rng(SEED)
    name = str(rng.choice([path.stem for path in sorted(DEMO.glob("*.safetensors"))]))
    right = cases.digits(name)
    chosen = [SABOTAGES[i] for i in rng.choice(len(SABOTAGES), 10, replace=False)]
    found = tally([(name, right)], chosen)
    assert right.checked().flagged == [], f"seed {SEED}: {name} is right"
    assert not any(words["missed"] for words in found.values()), f"seed {SEED}"
    assert sum(words["found"] for words in found.values()) <= 1, f"seed {SEED}: named by another check"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mean lost", "if it was trained so, add --mean 0.5 --std 0.5"),
        ("first half of the labels one too high", "part of the labels looks wrong (labels one too high)"),
        ("second half of the labels one row late", "part of the labels looks wrong (labels one row too late)"),
        ("upside down", "another way of storing pixels (upside down)"),
        ("trained on 0 to 255", "if it was trained so, add --mean 0 --std 0.003922"),
        ("middle layer newly initialised", "layer 'features.3' has the weights of a newly initialised one, unlike the others"),
    ],
)
def test_the_cause_is_told_in_words(name: str, words: str) -> None:
    (sabotage,) = (each for each in SABOTAGES if each.name == name)
    wrong = sabotage.change(cases.digits("augmentation-seed1"))
    assert wrong is not None
    (check,) = (check for check in wrong.checked().checks if check.name == sabotage.check)
    assert check.status == "flagged" and words in check.message


def test_inputs_of_another_scale_are_found_though_accuracy_bears_it() -> None:
    """Pixels of 0 to 255 for 0 to 1, on a network without biases whose first layer does not mind a shift."""
    right = cases.digits("weight_decay_sam-seed1")
    (sabotage,) = (each for each in SABOTAGES if each.name == "pixels shown as -128 to 127")
    wrong = sabotage.change(right)
    assert wrong is not None and sabotages.costs_no_accuracy(wrong, right)
    (check,) = (check for check in wrong.checked().flagged)
    assert check.name == "normalisation" and "the logits are of another scale; if it was trained so, add" in check.message


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real beside the repository")
def test_sixty_accidents_on_ten_networks() -> None:
    found = tally(sabotages.networks(), SABOTAGES)
    for name, words in found.items():
        print(f"{name:<44} " + ", ".join(f"{count} {word}" for word, count in sorted(words.items())))
    total = sum(found.values(), Counter())
    print(f"{total.total()} set-ups: {dict(total)}")
    assert len(SABOTAGES) == 60
    assert total["named"] >= 0.93 * total.total()
    assert total["missed"] <= 0.01 * total.total()


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real beside the repository")
def test_no_false_alarm_in_a_hundred() -> None:
    alarms = {name: [check.message for check in setup.checked().flagged] for name, setup in sabotages.clean()}
    for name, messages in alarms.items():
        print(f"{name:<60} {'; '.join(messages) or 'quiet'}")
    assert len(alarms) == 100
    assert not any(alarms.values())
