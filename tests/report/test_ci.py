"""What CI systems are told: parsed back by independent readers, whatever names and reasons hold."""

from __future__ import annotations

import json
import re
from datetime import date
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

from sharpaudit.card import Interval
from sharpaudit.gate import Judgement, Policy, judge
from sharpaudit.gate.judgement import Verdict
from sharpaudit.report import ci
from tests.comparison.cases import audit, measured
from tests.report.cards import PAYLOADS

BASE = audit(1).card


def judgement(name: str = "model.th", reason: str = "outside", metric: str = "clean.accuracy") -> Judgement:
    """One verdict of every kind."""
    kinds: list[tuple[Any, Any]] = [
        ("passed", "fail"),
        ("failed", "fail"),
        ("inconclusive", "fail"),
        ("waived", "fail"),
        ("skipped", "fail"),
        ("failed", "warn"),
        ("inconclusive", "info"),
    ]
    verdicts = [
        Verdict(rule=i, metric=metric, severity=severity, test="point", status=status, limit="at least 0.9", reason=reason)
        for i, (status, severity) in enumerate(kinds, 1)
    ]
    return Judgement(subject=name, card_digest="sha256:0", policy_digest="0", verdicts=verdicts, notes=[reason])


def test_a_sentence_shows_its_working() -> None:
    card = BASE.model_copy(update={"measurements": [measured("clean.accuracy", 0.5, n=10)]})
    rule = {"metric": "clean.accuracy", "min": 0.9, "why": "floor"}
    found = judge(card, Policy.model_validate({"schema": "sharpaudit.policy/1", "rules": [rule]}), today=date(2026, 6, 1))
    assert ci.sentence(found.verdicts[0]) == "clean.accuracy: 0.5 (n = 10), must be at least 0.9 (floor): failed, outside"
    assert ci.sentence(judgement().verdicts[0]) == "clean.accuracy: no value, must be at least 0.9: passed, outside"


def test_junit_counts_what_it_holds() -> None:
    root = ElementTree.fromstring(ci.junit([judgement("a"), judgement("b")]))
    suites = root.findall("testsuite")
    assert [suite.get("name") for suite in suites] == ["a", "b"]
    for suite in suites:
        assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
            "tests": "7",
            "failures": "1",
            "errors": "1",
            "skipped": "2",
        }
        kinds = [[child.tag for child in case] for case in suite.findall("testcase")]
        assert kinds == [["system-out"], ["failure"], ["error"], ["skipped"], ["skipped"], ["system-out"], ["system-out"]]


def test_sarif_has_what_the_standard_requires() -> None:
    document = json.loads(ci.sarif([judgement()], "policies/my release.yaml"))
    assert document["version"] == "2.1.0"
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "sharpaudit" and [rule["id"] for rule in driver["rules"]] == ["clean.accuracy"]
    assert [result["level"] for result in run["results"]] == ["error", "error", "warning", "note"]
    for result in run["results"]:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] and result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert " " not in place["artifactLocation"]["uri"]
        assert unquote(place["artifactLocation"]["uri"]) == "policies/my release.yaml" and place["region"]["startLine"] == 1
    fingerprints = [result["partialFingerprints"]["sharpaudit/v1"] for result in run["results"]]
    assert len(set(fingerprints)) == 4


def test_gitlab_issues() -> None:
    issues = json.loads(ci.gitlab([judgement()], "release.yaml"))
    assert [issue["severity"] for issue in issues] == ["critical", "critical", "minor", "info"]
    for issue in issues:
        assert set(issue) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert issue["location"] == {"path": "release.yaml", "lines": {"begin": 1}}
    assert json.loads(ci.gitlab([], "release.yaml")) == []


def test_annotations_are_the_loudest_first_and_no_more_than_are_shown() -> None:
    lines = ci.github_annotations([judgement()]).splitlines()
    assert [line.split(" ")[0] for line in lines] == ["::error", "::error", "::warning", "::notice"]
    many = ci.github_annotations([judgement(str(i)) for i in range(20)]).splitlines()
    assert len(many) == 10 and many[-1] == "::error title=sharpaudit gate::71 more; see the step summary"


def test_the_summary_is_cut_below_its_limit() -> None:
    found = ci.github_summary([judgement(f"model{i}", "because " * 60) for i in range(1000)])
    assert len(found.encode()) < 2**20
    assert re.search(r"Cut to fit: \d+ of \d+ parts are not shown", found)
    short = ci.github_summary([judgement()])
    assert "`model.th`: **failed; inconclusive too: clean.accuracy**" in short and "Cut to fit" not in short
    assert short.count("\n| ") == 9  # header, rule, seven verdicts


@pytest.mark.parametrize("payload", PAYLOADS)
def test_foreign_text_stays_text_in_every_sink(payload: str) -> None:
    hostile = [judgement(payload, payload, f"clean.accuracy/class/{payload}")]
    root = ElementTree.fromstring(ci.junit(hostile))
    assert {element.tag for element in root.iter()} == {
        *("testsuites", "testsuite", "testcase", "failure", "error", "skipped", "system-out")
    }
    texts = [ci.junit(hostile), ci.sarif(hostile, payload), ci.gitlab(hostile, payload), ci.github_summary(hostile)]
    for text in [*texts, ci.github_annotations(hostile)]:
        text.encode()  # no lone surrogate
        assert all(c.isprintable() or c == "\n" for c in text), "a control character"
        assert len(text) < 60_000
    for text in texts:
        assert not re.search(r"^\s*(::|##)", text, re.MULTILINE)
    for document in (ci.sarif(hostile, payload), ci.gitlab(hostile, payload)):
        json.loads(document)
    commands = ci.github_annotations(hostile).splitlines()
    assert len(commands) == 4
    for command in commands:
        title, _, message = command.partition(" title=")[2].partition("::")
        assert not set(title) & set(":,\r\n") and "\n" not in message
    assert ci.github_summary(hostile).count("\n| ") == 9


def test_what_does_not_decide_is_marked() -> None:
    found = judgement()
    by_severity = [ci.sentence(verdict) for verdict in found.verdicts[-2:]]
    assert ": failed (warn), " in by_severity[0] and ": inconclusive (info), " in by_severity[1]
    names = [case.get("name", "") for case in ElementTree.fromstring(ci.junit([found])).iter("testcase")]
    assert [name.partition(":")[0] for name in names[-3:]] == ["rule 5", "rule 6 (warn)", "rule 7 (info)"]
    assert "| failed (warn) |" in ci.github_summary([found])


def test_a_verdict_shows_all_that_it_compared_to_four_digits() -> None:
    ci_of = Interval(low=0.912345678, high=0.934567891, method="wilson")
    before = measured("clean.accuracy", 0.9345678912, ci_of.model_copy(update={"high": 0.95}), n=10)
    cards = [
        BASE.model_copy(update={"measurements": [m]}) for m in (measured("clean.accuracy", 0.9234567891, ci_of, n=10), before)
    ]
    rule = {"metric": "clean.accuracy", "baseline": {"max_decrease": 0.0123456789}, "test": "bound", "why": "no worse"}
    policy = Policy.model_validate({"schema": "sharpaudit.policy/1", "rules": [rule]})
    (verdict,) = judge(cards[0], policy, today=date(2026, 6, 1), baseline=cards[1]).verdicts
    expected = (
        "clean.accuracy: 0.9235 [0.9123, 0.9346] (n = 10), baseline 0.9346, difference -0.01111 [-0.03013, +0.01373], "
        "must be at most 0.01235 below the baseline (no worse): inconclusive, "
    )
    assert ci.sentence(verdict).startswith(expected)
    assert (verdict.low, verdict.high) == (-0.0123456789, None)


def test_alerts_point_to_the_line_of_the_rule() -> None:
    found = judgement()
    verdicts = [verdict.model_copy(update={"line": 10 * verdict.rule}) for verdict in found.verdicts]
    moved = [found.model_copy(update={"verdicts": verdicts})]
    (run,) = json.loads(ci.sarif(moved, "p.yaml"))["runs"]
    lines = [result["locations"][0]["physicalLocation"]["region"]["startLine"] for result in run["results"]]
    assert lines == [20, 30, 60, 70]
    assert [issue["location"]["lines"]["begin"] for issue in json.loads(ci.gitlab(moved, "p.yaml"))] == lines
