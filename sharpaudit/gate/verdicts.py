"""What does one rule come to on one measurement?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal

from sharpaudit.card import Card, Measured, Measurement
from sharpaudit.errors import clean
from sharpaudit.gate.evidence import Evidence, reason_for_absence
from sharpaudit.gate.judgement import Status, Verdict
from sharpaudit.gate.limits import Limits, examples_needed, in_words, limits, rescaled, usable, violation_p_value
from sharpaudit.gate.policy import Policy, Rule
from sharpaudit.stats import Estimate, holm


@dataclass(frozen=True)
class _Case:
    """One rule on one metric, and what is known so far."""

    number: int
    rule: Rule
    metric: str
    policy: Policy
    facts: Mapping[str, Any]

    def knowing(self, **facts: Any) -> _Case:
        return replace(self, facts={**self.facts, **facts})

    def verdict(self, status: Status, reason: str, **facts: Any) -> Verdict:
        rule, within = self.rule, limits(self.rule)
        return Verdict(
            rule=self.number,
            metric=self.metric,
            severity=rule.severity,
            test=rule.test,
            status=status,
            limit=in_words(rule),
            low=within.low,
            high=within.high,
            line=self.policy.line(self.number),
            reason=clean(reason, 1000),
            why=rule.why,
            **{**self.facts, **facts},
        )

    def unknown(self, reason: str, on: Literal["fail", "warn"]) -> Verdict:
        """Inconclusive; where the policy only warns about it, the verdict no longer counts."""
        found = self.verdict("inconclusive", reason)
        return found.model_copy(update={"severity": "warn"}) if on == "warn" and self.rule.severity == "fail" else found


def verdicts_of(number: int, rule: Rule, evidence: Evidence, policy: Policy) -> list[Verdict]:
    """The verdicts of rule `number`: one, or one for each measurement that its pattern matches."""
    if rule.baseline is not None and evidence.baseline is None:
        return [_Case(number, rule, rule.metric, policy, {}).verdict("skipped", "no baseline was given")]
    return [_judged(_Case(number, rule, m.name, policy, {}), m, evidence) for m in evidence.named(rule.metric)]


def significance(verdicts: Sequence[Verdict], policy: Policy) -> list[Verdict]:
    """Settle the rules with ``test: significant`` together: Holm over all of them, then fail what is still significant.

    A rule that is undecided now would enter the correction once it is measured; what might pass then fails provisionally.
    """
    raw = [v.p_value for v in verdicts if v.p_value is not None]
    undecided = sum(v.test == "significant" and v.status == "inconclusive" for v in verdicts)
    many = policy.defaults.multiplicity == "holm"
    now = iter(holm(raw) if many else raw)
    later = iter(holm([*raw, *[1.0] * undecided]) if many else raw)
    level = 1 - policy.defaults.confidence
    return [_settled(v, float(next(now)), float(next(later)), level) if v.p_value is not None else v for v in verdicts]


def waived(verdict: Verdict, policy: Policy, today: date) -> Verdict:
    """The verdict with the policy's waivers applied: a failure that is waived today, or a word on the waiver that ran out."""
    waivers = [w for w in policy.waivers if verdict.rule and w.rule == policy.rules[verdict.rule - 1].metric]
    if verdict.status not in ("failed", "inconclusive") or not waivers:
        return verdict
    last = max(waivers, key=lambda waiver: waiver.expires)
    if today <= last.expires:
        words = f"waived until {last.expires} by {clean(last.owner)} ({clean(last.reason)}); {verdict.status}: {verdict.reason}"
        return verdict.model_copy(update={"status": "waived", "reason": words})
    return verdict.model_copy(update={"reason": f"{verdict.reason}; the waiver by {clean(last.owner)} expired on {last.expires}"})


def clean_load(card: Card) -> Verdict:
    """Whether the checkpoint loaded without user code and without objects that were set aside on request."""
    subject = card.subject
    reasons = [
        *(["code in the file was set aside on request"] if not subject.clean_load else []),
        *(["the architecture came from user code"] if subject.ran_user_code else []),
        *(["the images came from user code"] if card.data.ran_user_code else []),
    ]
    reason = "; ".join(reasons) or "loaded from inert tensors alone"
    return _of_policy("subject.clean_load", "failed" if reasons else "passed", "a clean load", reason)


def _of_policy(metric: str, status: Status, limit: str, reason: str, severity: Literal["fail", "warn"] = "fail") -> Verdict:
    """A verdict about a requirement that is no rule."""
    return Verdict(rule=0, metric=metric, severity=severity, test="point", status=status, limit=limit, reason=clean(reason, 1000))


def idleness(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """An inconclusive verdict where there are rules, none came to a decision, and none says so: such a gate would be open."""
    says_so = any(verdict.status == "inconclusive" and verdict.severity == "fail" for verdict in verdicts)
    if not verdicts or says_so or any(verdict.status not in ("inconclusive", "skipped") for verdict in verdicts):
        return []
    return [_of_policy("policy.decides", "inconclusive", "a decision", "nothing was judged: no rule came to a decision")]


def unproven(judged: Sequence[tuple[Card, Mapping[str, object] | None]]) -> list[Verdict]:
    """An inconclusive verdict for every card that no predictions stand behind, so that none of it was computed again."""
    return [
        _of_policy("card.predictions", "inconclusive", "predictions", f"{clean(card.subject.file)} came without its predictions")
        for card, views in judged
        if not views
    ]


def incompleteness(card: Card, policy: Policy) -> list[Verdict]:
    """An inconclusive verdict for a card whose audit was interrupted or ran out of time."""
    if not card.incomplete:
        return []
    missing = ", ".join(clean(probe) for probe in card.incomplete)
    return [
        _of_policy(
            "card.complete",
            "inconclusive",
            "a complete card",
            f"not measured: {missing}; the `sharpaudit measure` command that made the card continues it",
            policy.defaults.on_missing,
        )
    ]


def suspicions(card: Card, policy: Policy, whose: str = "") -> list[Verdict]:
    """An inconclusive verdict for every flag of the set-up check: such numbers may describe the set-up, not the checkpoint."""
    return [
        _of_policy(
            f"setup.{clean(check.name)}",
            "inconclusive",
            "a sound set-up",
            f"{whose}the set-up is suspect: {check.message}",
            policy.defaults.on_suspect_setup,
        )
        for check in (card.setup.flagged if card.setup else [])
    ]


def _judged(case: _Case, m: Measurement, evidence: Evidence) -> Verdict:
    defaults, within = case.policy.defaults, limits(case.rule)
    if not isinstance(m, Measured):
        return case.unknown(reason_for_absence(m), defaults.on_missing)
    case = case.knowing(n=m.n)
    if not math.isfinite(m.value):
        return case.verdict("failed", "the value is not finite, and NaN never passes")
    ci = usable(m.ci)
    case = case.knowing(value=m.value, ci=ci)
    if m.converged is False:
        return case.unknown("the iteration did not converge", defaults.on_inconclusive)
    if case.rule.baseline is None:
        return _settle(case.knowing(margin=within.margin(m.value)), within, Estimate(m.value, ci, m.reason), m.n)
    found = evidence.difference(m, defaults.confidence)
    if isinstance(found, str):
        return case.unknown(found, defaults.on_missing)
    case = case.knowing(
        baseline=evidence.baseline_value(m.name),
        difference=found.value,
        difference_ci=found.ci,
        margin=within.margin(found.value),
    )
    return _settle(case, within, found, m.n)


def _settle(case: _Case, within: Limits, found: Estimate, n: int) -> Verdict:
    """The verdict on a finite, converged value (or difference), with or without an interval."""
    defaults = case.policy.defaults
    if case.rule.test == "point":
        return case.verdict("passed", "inside") if within.hold(found.value) else case.verdict("failed", "outside")
    if found.ci is None:
        return case.unknown(f"no interval to judge by: {clean(found.reason or 'none given')}", defaults.on_inconclusive)
    if case.rule.test == "significant":
        return case.verdict("passed", "", p_value=violation_p_value(within, found.value, found.ci))
    ci = rescaled(found.ci, found.value, defaults.confidence)
    percent = f"{100 * defaults.confidence:g}%"
    if within.surely_hold(ci):
        return case.verdict("passed", f"the whole {percent} interval is inside")
    if within.surely_broken(ci):
        return case.verdict("failed", f"the whole {percent} interval is outside")
    needed = examples_needed(within, found.value, ci, n)
    more = f"; about {needed:,} examples would decide it if the value stayed" if needed else ""
    return case.unknown(f"the {percent} interval straddles the limit{more}", defaults.on_inconclusive)


def _settled(verdict: Verdict, p_adjusted: float, p_later: float, level: float) -> Verdict:
    failed = p_adjusted <= level
    words = "worse than the baseline allows, beyond chance" if failed else "not shown to be worse than the baseline allows"
    return verdict.model_copy(
        update={
            "p_adjusted": p_adjusted,
            "status": "failed" if failed else "passed",
            "provisional": failed and p_later > level,
            "reason": f"{words} (p = {p_adjusted:.2g} after correction)",
        }
    )
