"""What a policy may say, how it is read, and the words of each refusal."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sharpaudit import probes
from sharpaudit.card import Interval, Measured, Skipped
from sharpaudit.card.measures import find
from sharpaudit.card.patterns import matches
from sharpaudit.errors import CardError, ExitCode, UnknownName, UsageError
from sharpaudit.gate import judge
from sharpaudit.gate.lint import doubts
from sharpaudit.gate.policy import Policy, parse, read
from sharpaudit.gate.starter import starting_policy
from tests.benches import bench
from tests.comparison.cases import audit, measured

TODAY = date(2026, 6, 1)
SAMPLES = Path(__file__).parents[2] / "sample_configs"


def policy(rules: str, rest: str = "") -> Policy:
    return parse(f"schema: sharpaudit.policy/1\nrules:\n{rules}\n{rest}".encode(), source="p.yaml")


def test_the_documented_policy_is_read() -> None:
    found = policy(
        "  - {metric: clean.accuracy, min: 0.92, test: bound, why: release floor}\n"
        "  - {metric: corruption.accuracy, baseline: {max_decrease: 0.01}, test: significant}\n"
        "  - {metric: corruption.accuracy/*/5, min: 0.40, severity: warn}\n",
        "defaults: {on_missing: fail, on_inconclusive: fail, confidence: 0.95, multiplicity: holm}\n"
        "waivers:\n  - {rule: corruption.accuracy, reason: known, owner: robustness, expires: 2027-01-31}\n",
    )
    assert found.rules[0].min == 0.92 and found.rules[0].test == "bound"
    assert found.rules[1].baseline is not None and found.rules[1].baseline.max_decrease == 0.01
    assert found.waivers[0].expires == date(2027, 1, 31)
    assert (
        found.digest
        == policy(
            "  - {metric: clean.accuracy, test: bound, min: 0.92, why: release floor}\n"
            "  - {metric: corruption.accuracy, baseline: {max_decrease: 1e-2}, test: significant}\n"
            "  - {metric: corruption.accuracy/*/5, min: 0.4, severity: warn}\n",
            "waivers: [{rule: corruption.accuracy, reason: known, owner: robustness, expires: 2027-01-31}]",
        ).digest
    )


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("  []", "no rule can fail"),  # P01
        ("  - {metric: clean.accuracy, min: 0.9, severity: info}", "no rule can fail"),
        ("  - {metric: clean.accuracy, min: .nan}", "'.nan' is read differently by different readers, or is not finite"),  # P04
        ("  - {metric: clean.accuracy, min: -.inf}", "'-.inf' is read differently by different readers"),
        ("  - {metric: clean.nll, max: 1e999}", "'1e999' is not a finite number"),
        ("  - {metric: clean.accuracy, min: '0.9'}", "rules.1.min: Input should be a valid number, got '0.9'"),
        ("  - {metric: clean.accuracy, min: high}", "rules.1.min: Input should be a valid number, got 'high'"),
        ("  - {metric: clean.accuracy, min: true}", "rules.1.min: Input should be a valid number, got True"),
        ("  - {metric: clean.accuracy, min: 92}", "rule 1 (clean.accuracy): min 92 lies outside 0 to 1"),
        ("  - {metric: clean.nll, max: -1}", "rule 1 (clean.nll): max -1 lies outside 0 to inf"),
        ("  - {metric: clean.accuracy, min: 0.9, max: 0.8}", "no value is at least 0.9 and at most 0.8"),  # P06
        (
            "  - {metric: clean.accuracy, max: 0.8}\n  - {metric: clean.accuracy, min: 0.9}",
            "rules 2 and 1 contradict each other: clean.accuracy at least 0.9 and at most 0.8",
        ),
        ("  - {metric: clean.accuracy}", "expected either min and/or max, or baseline"),
        ("  - {metric: clean.accuracy, min: 0.9, baseline: {max_decrease: 0}}", "expected either min and/or max, or baseline"),
        ("  - {metric: clean.accuracy, min: 0.9, test: significant}", "test: significant compares with a baseline"),
        ("  - {metric: clean.accuracy, baseline: {if_missing: skip}}", "expected max_decrease or max_increase"),
        ("  - {metric: clean.accuracy, baseline: {max_decrease: -0.1}}", "greater than or equal to 0, got -0.1"),
        ("  - {metric: clean.accuracy, minn: 0.9}", "unknown key 'rules.1.minn'; did you mean 'min'?"),
        ("  - {metric: clean.accuracy, zzz: 0.9}", "unknown key 'rules.1.zzz'; known: metric, min, max, baseline"),
        ("  - {metric: sharpness.trace, max: 5}", "write acknowledge: scale-dependent"),
        ("  - {min: 0.9}", "rules.1.metric: Field required"),
    ],
)
def test_rules_that_cannot_mean_what_they_say(rules: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        policy(rules)
    assert refused.value.exit_code == ExitCode.USAGE and words in refused.value.message
    assert refused.value.path == "p.yaml" and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("waivers: [{rule: clean.accuracy, owner: me, expires: 2027-01-31}]", "waivers.1.reason: Field required"),  # P10
        (
            "waivers: [{rule: clean.accuracy, reason: '', owner: me, expires: 2027-01-31}]",
            "waivers.1.reason: String should",
        ),
        ("waivers: [{rule: clean.acuracy, reason: r, owner: me, expires: 2027-01-31}]", "did you mean 'clean.accuracy'?"),
        ("waivers: [{rule: clean.accuracy, reason: r, owner: me, expires: 20270131}]", "expected a date such as 2027-01-31"),
        ("waivers: [{rule: clean.accuracy, reason: r, owner: me, expires: 2027-02-30}]", "waivers.1.expires: day"),
        ("defaults: {on_missing: pass}", "defaults.on_missing: Input should be 'fail' or 'warn', got 'pass'"),
        ("defaults: {confidence: 1}", "defaults.confidence: Input should be less than 1, got 1"),
        ("default: {}", "unknown key 'default'; did you mean 'defaults'?"),
        ("on: push", "unknown key 'on'; known: schema, rules, defaults, waivers, data"),
        ("require_clean_load: yes", "require_clean_load: Input should be a valid boolean, got 'yes'"),
    ],
)
def test_the_rest_of_a_policy(rest: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        policy("  - {metric: clean.accuracy, min: 0.9}", rest)
    assert words in refused.value.message


def test_an_empty_file_and_other_schemas() -> None:
    for text, words in [
        (b"", "no rule can fail: the policy is empty"),
        (b"# nothing\n", "no rule can fail: the policy is empty"),
        (b"- a\n- b\n", "no rule can fail: the policy is empty"),
        (b"schema: sharpaudit.policy/2\nrules: []\n", "schema: Input should be 'sharpaudit.policy/1', got 'sharpaudit.policy/2'"),
        (b"rules: []\n", "schema: Field required"),
        (b"schema: sharpaudit.policy/1\n", "no rule can fail: there are no rules"),
    ]:
        with pytest.raises(UsageError) as refused:
            parse(text, source="p.yaml")
        assert words in refused.value.message


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the policy: No such file or directory"):
        read(tmp_path / "missing.yaml")


def test_unknown_metrics_name_the_nearest() -> None:
    with pytest.raises(UnknownName) as refused:
        policy("  - {metric: clean.acuracy, min: 0.9}")
    assert refused.value.message == "unknown metric 'clean.acuracy'; did you mean 'clean.accuracy'?"
    assert refused.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("of", ["fgo", "fgo/3", "fog/6", "fog/0", "family/nois", "*/9", "fog/3/1", "family/noise/2"])
def test_no_rule_is_about_a_corruption_that_there_is_not(of: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown (corruption|metric)"):
        policy(f"  - {{metric: 'corruption.accuracy/{of}', min: 0.5}}")


def test_every_number_of_the_corruption_probe_can_be_gated() -> None:
    probe, on = probes.find("corruption"), bench()
    findings = probe(on.narrowed(probe.name, probe.needs), probe.options(samples=4))
    names = [m.name for m in findings if isinstance(m, Measured | Skipped)]
    assert len(names) > 120
    for name in (*names, "corruption.accuracy/*", "corruption.accuracy/*_blur/3", "corruption.accuracy/fog/*"):
        policy(f"  - {{metric: '{name}', min: 0.5}}")


def test_the_catalogue_knows_the_families() -> None:
    for name in (
        "corruption.accuracy/fog/3",
        "corruption.accuracy/*/5",
        "clean.accuracy/class/dog/puppy",
        "sharpness.worst/linf/adaptive/0.001",
    ):
        assert find(name) is not None, name
    for name in ("clean", "clean.accuracy/", "corruption.accuracy/a/b/c", "cleanXaccuracy", "clean.accuracy\n"):
        assert find(name) is None, name


def test_patterns() -> None:
    assert matches("corruption.accuracy/*", "corruption.accuracy/fog")
    assert not matches("corruption.accuracy/*", "corruption.accuracy/fog/3")
    assert matches("corruption.accuracy/*/3", "corruption.accuracy/fog/3")
    assert matches("clean.accuracy/class/*", "clean.accuracy/class/a/b")
    assert not matches("clean.accuracy", "cleanXaccuracy")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{metric: clean.accuracy, max: 0.9}", "higher is better here, and the rule only limits it from above"),  # P05
        ("{metric: calibration.ece, min: 0.1}", "lower is better here, and the rule only limits it from below"),
        ("{metric: calibration.ece, max: 0.1}", "ECE is biased upward"),
        ("{metric: clean.accuracy, min: 0.9}", "test: point ignores the uncertainty"),
        ("{metric: sharpness.trace, max: 5, acknowledge: scale-dependent}", "sharpness has no better direction"),
        ("{metric: sharpness.sam, max: 5}", "it changes when layers are rescaled"),
    ],
)
def test_doubts(rule: str, words: str) -> None:
    assert any(words in doubt for doubt in doubts(policy(f"  - {rule}"), today=TODAY))


def test_doubts_about_the_rest() -> None:
    found = doubts(
        policy(
            "  - {metric: clean.accuracy, baseline: {max_decrease: 0}, test: significant}\n"
            "  - {metric: clean.nll, baseline: {max_increase: 0}, test: significant}",
            "defaults: {on_missing: warn, on_inconclusive: warn, multiplicity: none}\n"
            "waivers: [{rule: clean.nll, reason: r, owner: o, expires: 2026-05-31}]",
        ),
        today=TODAY,
    )
    assert [doubt.partition(" ")[0] for doubt in found] == ["on_missing:", "on_inconclusive:", "multiplicity:", "the"]
    assert found[-1] == "the waiver of clean.nll expired on 2026-05-31"
    assert doubts(policy("  - {metric: clean.accuracy, min: 0.9, test: bound}"), today=TODAY) == []


def test_a_starting_policy_passes_its_own_card() -> None:
    card = audit(1).card
    hostile = card.model_copy(update={"subject": card.subject.model_copy(update={"file": "x\nrules: []\n\x1b[31m"})})
    for each in (card, hostile, card.model_copy(update={"measurements": []})):
        text = starting_policy(each, compare=False)
        found = parse(text.encode(), source="init")
        if each.measurements:
            assert judge(each, found, today=TODAY).exit_code == ExitCode.DONE
            assert {rule.metric for rule in found.rules} == {
                "clean.accuracy",
                "clean.nll",
                "corruption.accuracy",
            }
            assert all(rule.test == "bound" for rule in found.rules) and found.require_clean_load
            assert doubts(found, today=TODAY) == []
            compared = parse(starting_policy(each).encode(), source="with a baseline")
            assert len(compared.rules) == 6 and compared.rules[:3] == found.rules
            assert judge(each, compared, today=TODAY, baseline=each).exit_code == ExitCode.DONE
            with pytest.raises(CardError, match="compares with a baseline and none was given"):
                judge(each, compared, today=TODAY)
            assert [rule.metric for rule in compared.rules if rule.baseline] == [
                "clean.accuracy",
                "clean.nll",
                "corruption.accuracy",
            ]
            assert doubts(compared, today=TODAY) == []
    touched = card.model_copy(update={"subject": card.subject.model_copy(update={"clean_load": False})})
    assert not parse(starting_policy(touched).encode(), source="init").require_clean_load


def test_a_starting_policy_has_no_rule_that_cannot_fail() -> None:
    wide = [
        measured("clean.accuracy", 0.1, Interval(low=0.02, high=0.3, method="wilson")),
        measured("calibration.ece_debiased", 0.6, Interval(low=0.1, high=0.9, method="t"), direction="lower"),
        measured("clean.nll", 0.3, Interval(low=0.25, high=0.35, method="bca"), direction="lower"),
    ]
    text = starting_policy(audit(1).card.model_copy(update={"measurements": wide}), compare=False)
    assert [rule.metric for rule in parse(text.encode(), source="init").rules] == ["clean.nll"]


def test_starting_limits_are_rounded_away_from_the_value() -> None:
    found = [
        measured("clean.accuracy", 0.9, Interval(low=0.8816, high=0.92, method="wilson")),
        measured("clean.nll", 0.3, Interval(low=0.25, high=0.3512, method="bca")),
    ]
    policy = parse(starting_policy(audit(1).card.model_copy(update={"measurements": found})).encode(), source="init")
    assert (policy.rules[0].min, policy.rules[1].max) == (0.863, 0.403), "twice as far as the interval reaches"


@pytest.mark.parametrize("name", ["release.yaml", "nightly.yaml"])
def test_sample_policies_are_sound(name: str) -> None:
    found = read(SAMPLES / name)
    assert all(find(rule.metric) for rule in found.rules)
    assert not [doubt for doubt in doubts(found, today=TODAY) if "better" in doubt]


@pytest.mark.parametrize("blank", ["' '", '"\\t\\n"', '"\\u00a0"', '"\\u200b"', '"\\u2060 \\ufeff"'])
@pytest.mark.parametrize("key", ["reason", "owner"])
def test_a_waiver_is_answered_for_in_words(key: str, blank: str) -> None:
    waiver = {"rule": "clean.accuracy", "reason": "known", "owner": "team", "expires": "2026-07-01"} | {key: blank}
    shown = ", ".join(f"{name}: {value}" for name, value in waiver.items())
    with pytest.raises(UsageError, match="expected words, not blanks") as refused:
        policy("  - {metric: clean.accuracy, min: 0.9}", f"waivers: [{{{shown}}}]")
    assert refused.value.exit_code == ExitCode.USAGE


def test_rules_know_their_line() -> None:
    text = b"""# a policy
schema: sharpaudit.policy/1
rules:

  - metric: clean.accuracy
    min: 0.9
  # a comment
  - {metric: clean.nll, max: 0.5}
  -
    metric: clean.brier
    max: 0.5
"""
    found = parse(text, source="p.yaml")
    assert [found.line(rule) for rule in (0, 1, 2, 3, 4)] == [1, 5, 8, 10, 1]
    assert [v.line for v in judge(audit(1).card, found, today=TODAY).verdicts] == [5, 8, 10]
    assert found.digest == parse(text.replace(b"# a policy\n", b""), source="moved").digest, "where it stands is not what it says"
