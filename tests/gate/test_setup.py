"""A card whose set-up is suspect is not judged, unless the policy says so; a card that was never asked is."""

from __future__ import annotations

import pytest

from sharpaudit.card import Card, Check, SetupCheck
from sharpaudit.errors import ExitCode
from sharpaudit.gate import judge
from sharpaudit.gate.lint import doubts
from tests.gate.test_judge import BASE, FLOOR, TODAY, accuracy, card_with, rules

GOOD = Check(name="labels", status="passed", message="in order")
BAD = Check(name="normalisation", status="flagged", message="with another normalisation 93.4% are right instead of 19.5%")
DRIFT = {"metric": "clean.accuracy", "baseline": {"max_decrease": 0.5}}


def with_setup(*checks: Check) -> Card:
    return card_with(accuracy(0.95), setup=SetupCheck(n=512, forward=600, checks=list(checks)))


@pytest.mark.parametrize("card", [card_with(accuracy(0.95)), with_setup(GOOD), with_setup()])
def test_nothing_is_said_where_nothing_is_flagged(card: Card) -> None:
    judgement = judge(card, rules(FLOOR), today=TODAY)
    assert (judgement.exit_code, [v.metric for v in judgement.verdicts]) == (ExitCode.DONE, ["clean.accuracy"])


def test_a_flag_is_inconclusive_and_says_why() -> None:
    judgement = judge(with_setup(GOOD, BAD), rules(FLOOR), today=TODAY)
    assert judgement.exit_code == ExitCode.INCONCLUSIVE
    found = judgement.verdicts[-1]
    assert (found.metric, found.status, found.limit) == ("setup.normalisation", "inconclusive", "a sound set-up")
    assert found.reason == f"the set-up is suspect: {BAD.message}"


def test_a_policy_may_only_warn_and_is_told_what_that_means() -> None:
    policy = rules(FLOOR, defaults={"on_suspect_setup": "warn"})
    judgement = judge(with_setup(BAD), policy, today=TODAY)
    assert (judgement.exit_code, judgement.verdicts[-1].severity) == (ExitCode.DONE, "warn")
    assert any(doubt.startswith("on_suspect_setup: warn lets a checkpoint pass") for doubt in doubts(policy, today=TODAY))


def test_a_baseline_that_was_shown_wrongly_opens_no_gate() -> None:
    suspect = BASE.model_copy(update={"setup": SetupCheck(n=512, forward=600, checks=[BAD])})
    compared = judge(BASE, rules(DRIFT), today=TODAY, baseline=suspect)
    assert compared.exit_code == ExitCode.INCONCLUSIVE
    assert compared.verdicts[-1].reason.startswith("of the baseline, the set-up is suspect")
    assert judge(card_with(accuracy(0.95)), rules(FLOOR), today=TODAY, baseline=suspect).exit_code == ExitCode.DONE
