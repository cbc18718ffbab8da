"""Does a policy say what its author means? Doubts that do not stop a gate, for `policy check`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from sharpaudit.card.invariance import is_invariant
from sharpaudit.card.measures import GEOMETRY, find
from sharpaudit.errors import clean
from sharpaudit.gate.policy import Policy, Rule


def doubts(policy: Policy, *, today: date) -> list[str]:
    """One sentence a doubt, in the order of the rules."""
    return [
        *(f"rule {number} ({clean(rule.metric)}): {doubt}" for number, rule in enumerate(policy.rules, 1) for doubt in _of(rule)),
        *_of_defaults(policy),
        *_of_waivers(policy, today),
    ]


def _of(rule: Rule) -> Iterator[str]:
    known = find(rule.metric)
    if known is None:
        yield "a plug-in measures this, and nothing is known of its range or its better direction"
        return
    down = rule.baseline.max_decrease if rule.baseline else rule.min
    up = rule.baseline.max_increase if rule.baseline else rule.max
    if known.direction == "higher" and down is None:
        yield "higher is better here, and the rule only limits it from above"
    if known.direction == "lower" and up is None:
        yield "lower is better here, and the rule only limits it from below"
    if known.direction == "none" and rule.metric.startswith(GEOMETRY):
        yield "sharpness has no better direction: a limit on it states a wish about geometry, not about safety"
    if rule.metric.startswith(GEOMETRY) and not known.scale_dependent and not is_invariant(rule.metric):
        yield "it changes when layers are rescaled without changing the function"
    if rule.metric == "calibration.ece" and rule.baseline is None:
        yield "ECE is biased upward by an amount that depends on n: calibration.ece_debiased takes its floor away"
    if rule.test == "point" and rule.severity == "fail":
        yield "test: point ignores the uncertainty of the value; test: bound asks the whole interval"


def _of_defaults(policy: Policy) -> Iterator[str]:
    if policy.defaults.on_missing == "warn":
        yield "on_missing: warn lets a checkpoint pass whose numbers were never measured"
    if policy.defaults.on_inconclusive == "warn":
        yield "on_inconclusive: warn lets a checkpoint pass that the data cannot judge"
    if policy.defaults.on_suspect_setup == "warn":
        yield "on_suspect_setup: warn lets a checkpoint pass that was perhaps never fed what it was trained on"
    if policy.defaults.multiplicity == "none" and sum(rule.test == "significant" for rule in policy.rules) > 1:
        yield "multiplicity: none raises a false alarm more often than the confidence says when several rules are significant"


def _of_waivers(policy: Policy, today: date) -> Iterator[str]:
    for waiver in policy.waivers:
        if waiver.expires < today:
            yield f"the waiver of {clean(waiver.rule)} expired on {waiver.expires}"
