"""Random cards against random policies: an evaluator that shares no code with the gate agrees on every verdict."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from datetime import date, timedelta
from fractions import Fraction
from statistics import NormalDist
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sharpaudit.card import Card, Check, Failed, Interval, Measured, SetupCheck, Skipped
from sharpaudit.gate import Policy, judge
from sharpaudit.report import ci
from tests.comparison.cases import audit

TODAY = date(2026, 6, 1)
METRICS = ["clean.accuracy", "calibration.ece", "clean.nll", "clean.brier"]
VALUES = [0.0, 0.1, 0.3, 0.5, 0.9, 0.91, 1.0, 5e-324, 1e300, 1.7e308, -1.7e308, -0.5, math.nan, math.inf]
LIMITS = [0.0, 0.1, 0.3, 0.5, 0.9, 0.91, 1.0]
EMPTY = audit(0).card.model_copy(update={"measurements": []})

LARGEST = Fraction(sys.float_info.max)

SOUND = SetupCheck(n=1, forward=1, checks=[Check(name="labels", status="passed", message="as they should be")])
SUSPECT = SetupCheck(n=1, forward=1, checks=[Check(name="labels", status="flagged", message="permuted")])

numbers = st.sampled_from(VALUES) | st.floats(-2, 2, allow_nan=False)
limit = st.sampled_from(LIMITS)


@st.composite
def measurements(draw: Callable[..., Any], name: str) -> Any:
    """What a card holds under `name`: a number of any kind, none, or a reason."""
    kind = draw(st.sampled_from(["measured"] * 6 + ["skipped", "failed", "absent"]))
    if kind == "absent":
        return None
    if kind != "measured":
        return {"skipped": Skipped, "failed": Failed}[kind](name=name, reason="because", probe="accuracy", version=1)
    value = draw(numbers)
    below, above = draw(st.sampled_from([0.0, 0.01, 0.2])), draw(st.sampled_from([0.0, 0.01, 0.3, math.nan]))
    ci = Interval.model_construct(low=value - below, high=value + above, level=draw(st.sampled_from([0.9, 0.95])), method="t")
    return Measured.model_construct(
        name=name,
        value=value,
        unit="fraction",
        direction="higher",
        n=100,
        ci=draw(st.sampled_from([None, ci, ci, ci])),
        reason="none was asked for",
        method="test",
        options={},
        converged=draw(st.sampled_from([None, None, True, False])),
        probe="accuracy",
        version=1,
    )


@st.composite
def cards(draw: Callable[..., Any]) -> Card:
    found = [draw(measurements(name)) for name in METRICS]
    return EMPTY.model_copy(
        update={
            "measurements": [m for m in found if m is not None],
            "incomplete": draw(st.sampled_from([[], [], [], ["spectrum"]])),
            "setup": draw(st.sampled_from([None, None, SOUND, SUSPECT])),
            "subject": EMPTY.subject.model_copy(update={"clean_load": draw(st.sampled_from([True, True, False]))}),
        }
    )


@st.composite
def policies(draw: Callable[..., Any]) -> Policy:
    rules = []
    for _ in range(draw(st.integers(1, 4))):
        rule: dict[str, Any] = {
            "metric": draw(st.sampled_from(METRICS)),
            "severity": draw(st.sampled_from(["fail", "fail", "warn"])),
        }
        if draw(st.booleans()):
            low, high = sorted([draw(limit), draw(limit)])
            rule |= draw(st.sampled_from([{"min": low}, {"max": high}, {"min": low, "max": high}]))
            rule["test"] = draw(st.sampled_from(["point", "bound"]))
        else:
            down, up = draw(limit), draw(limit)
            rule["baseline"] = draw(
                st.sampled_from([{"max_decrease": down}, {"max_increase": up}, {"max_decrease": down, "max_increase": up}])
            ) | {"if_missing": "skip"}
            rule["test"] = draw(st.sampled_from(["point", "bound", "significant"]))
        rules.append(rule)
    defaults = {
        "on_missing": draw(st.sampled_from(["fail", "warn"])),
        "on_inconclusive": draw(st.sampled_from(["fail", "warn"])),
        "on_suspect_setup": draw(st.sampled_from(["fail", "warn"])),
        "confidence": draw(st.sampled_from([0.9, 0.95])),
        "multiplicity": draw(st.sampled_from(["holm", "none"])),
    }
    waivers = [
        {"rule": rules[0]["metric"], "reason": "r", "owner": "o", "expires": (TODAY + timedelta(days=days)).isoformat()}
        for days in draw(st.lists(st.integers(-1, 1), max_size=1))
    ]
    document = {"schema": "sharpaudit.policy/1", "rules": rules, "defaults": defaults, "waivers": waivers}
    return Policy.model_validate(document | {"require_clean_load": draw(st.booleans())})


def evaluate(card: Card, base: Card | None, policy: Policy) -> tuple[list[str], int]:
    """The statuses and the exit code, from the written rules alone."""
    of: Any = {m.name: m for m in card.measurements}
    before: Any = {m.name: m for m in base.measurements} if base else {}
    given, tests, statuses, soft = policy.defaults, {}, [], []
    quantile = NormalDist().inv_cdf(0.5 + given.confidence / 2)

    def number(m: Any) -> bool:
        return isinstance(m, Measured) and math.isfinite(m.value) and m.converged is not False

    def errors(m: Any) -> tuple[float, float]:
        """The standard errors below and above, NaN without a sound interval."""
        if m.ci is None or not math.isfinite(m.ci.low) or not math.isfinite(m.ci.high) or m.ci.low > m.ci.high:
            return math.nan, math.nan
        unit = NormalDist().inv_cdf(0.5 + m.ci.level / 2)
        return (m.value - m.ci.low) / unit, (m.ci.high - m.value) / unit

    for i, rule in enumerate(policy.rules):
        m, b, drift = of.get(rule.metric), before.get(rule.metric), rule.baseline
        status, cause = "inconclusive", given.on_missing
        if drift and not base:
            status = "skipped"
        elif isinstance(m, Measured) and not math.isfinite(m.value):
            status = "failed"
        elif isinstance(m, Measured) and m.converged is False:
            cause = given.on_inconclusive
        elif number(m) and (not drift or number(b)):
            value, (down, up), low, high = Fraction(repr(m.value)), errors(m), rule.min, rule.max
            if drift:
                low, high = None if drift.max_decrease is None else -drift.max_decrease, drift.max_increase
                value -= Fraction(repr(b.value))
                down, up = math.hypot(down, errors(b)[1]), math.hypot(up, errors(b)[0])
            x = float(min(max(value, -LARGEST), LARGEST))
            broken = (low is not None and x < low) or (high is not None and x > high)
            a, z = x - down * quantile, x + up * quantile
            if rule.test == "point":
                status = "failed" if broken else "passed"
            elif math.isnan(down + up):
                cause = given.on_inconclusive
            elif rule.test == "significant":
                sides = ([(low - x, up)] if low is not None else []) + ([(x - high, down)] if high is not None else [])
                tails = [1 - NormalDist().cdf(e / s) if s > 0 else 0.0 if e > 0 else 1.0 for e, s in sides]
                tests[i] = min(1.0, len(tails) * min(tails))
            elif (low is None or low <= a) and (high is None or z <= high):
                status = "passed"
            elif (low is not None and z < low) or (high is not None and a > high):
                status = "failed"
            else:
                cause = given.on_inconclusive
        statuses.append(status)
        soft.append(rule.severity != "fail" or (status == "inconclusive" and cause == "warn" and i not in tests))
    open_tests = sum(rule.test == "significant" and statuses[i] == "inconclusive" for i, rule in enumerate(policy.rules)) - len(
        tests
    )
    worst, worst_later, certain = 0.0, 0.0, set(range(len(statuses)))
    for rank, i in enumerate(sorted(tests, key=lambda i: tests[i])):
        left = len(tests) - rank
        worst = max(worst, tests[i] * (left if given.multiplicity == "holm" else 1))
        worst_later = max(worst_later, tests[i] * (left + open_tests if given.multiplicity == "holm" else 1))
        statuses[i] = "failed" if worst <= 1 - given.confidence else "passed"
        if worst_later > 1 - given.confidence:
            certain.discard(i)
    for i, rule in enumerate(policy.rules):
        if statuses[i] in ("failed", "inconclusive") and any(
            w.rule == rule.metric and w.expires >= TODAY for w in policy.waivers
        ):
            statuses[i] = "waived"
    certain = {i for i in certain if statuses[i] == "failed" and not soft[i]}
    undecided = {"inconclusive"} & {status for status, is_soft in zip(statuses, soft, strict=True) if not is_soft}
    if not undecided | set(statuses) & {"passed", "failed", "waived"}:  # nothing was judged, and nothing else says so
        statuses, soft = [*statuses, "inconclusive"], [*soft, False]
    doubtful = False
    if policy.require_clean_load:
        statuses, soft = [*statuses, "passed" if card.subject.clean_load else "failed"], [*soft, False]
        doubtful |= not card.subject.clean_load
    if card.incomplete:
        statuses, soft = [*statuses, "inconclusive"], [*soft, given.on_missing == "warn"]
    compares = any(rule.baseline for rule in policy.rules)
    for suspect in [card, *([base] if base and compares else [])]:
        if suspect.setup is SUSPECT:
            statuses, soft = [*statuses, "inconclusive"], [*soft, given.on_suspect_setup == "warn"]
            doubtful |= given.on_suspect_setup == "fail"
    hard = {status for status, is_soft in zip(statuses, soft, strict=True) if not is_soft}
    if "inconclusive" in hard and (doubtful or not certain):
        return statuses, 6
    return statuses, 1 if "failed" in hard else 0


def agrees(card: Card, base: Card | None, policy: Policy) -> None:
    judgement = judge(card, policy, baseline=base, today=TODAY)
    statuses, code = evaluate(card, base, policy)
    assert [verdict.status for verdict in judgement.verdicts] == statuses
    assert judgement.exit_code == code
    for rule, verdict in zip(policy.rules, judgement.verdicts[: len(policy.rules)], strict=True):
        m = card.find(rule.metric)
        if verdict.status == "passed":
            assert isinstance(m, Measured) and math.isfinite(m.value) and m.converged is not False


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cards(), cards() | cards() | st.none(), policies())
def test_an_independent_evaluator_agrees(card: Card, base: Card | None, policy: Policy) -> None:
    agrees(card, base, policy)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(cards(), cards() | st.none(), policies())
def test_every_document_says_what_the_exit_code_says(card: Card, base: Card | None, policy: Policy) -> None:
    """A CI system may read a document alone: it holds an error if and only if the gate does not pass."""
    judgement = judge(card, policy, baseline=base, today=TODAY)
    open_gate = judgement.exit_code == 0
    suite = ElementTree.fromstring(ci.junit([judgement]))[0]
    assert (int(suite.get("failures", "")) + int(suite.get("errors", "")) == 0) == open_gate
    results = json.loads(ci.sarif([judgement], "p.yaml"))["runs"][0]["results"]
    assert ("error" not in {result["level"] for result in results}) == open_gate
    assert ("critical" not in {issue["severity"] for issue in json.loads(ci.gitlab([judgement], "p.yaml"))}) == open_gate
    assert ("::error" not in ci.github_annotations([judgement])) == open_gate
    assert (": **passed**" in ci.github_summary([judgement])) == open_gate


@pytest.mark.slow
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(cards(), cards() | cards() | st.none(), policies())
def test_an_independent_evaluator_agrees_ten_thousand_times(card: Card, base: Card | None, policy: Policy) -> None:
    agrees(card, base, policy)
