"""May this checkpoint be released? A card held against a policy, one verdict a rule, an exit code that means one thing.

Reads stored cards: no model, no torch, under a second. A number that was not measured, did not converge or whose interval
straddles the limit is inconclusive, never passed; NaN never passes.

- `validation`: whether a card can be believed
- `policy`: the grammar; `card.measures` knows the metrics
- `evidence`: what card, baseline and stored predictions say about a metric
- `limits`: inside or outside, and how surely
- `verdicts`: one rule on one measurement
- `judgement`: verdicts, and what they come to
- `lint`, `starter`: a check of a policy, and a first one from a measured card
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from itertools import chain

from sharpaudit.card import SCHEMA, Card, codec
from sharpaudit.card.comparable import mismatches
from sharpaudit.card.patterns import matches
from sharpaudit.errors import CardError, clean
from sharpaudit.gate.evidence import Evidence
from sharpaudit.gate.judgement import Judgement, Verdict
from sharpaudit.gate.policy import Policy, require_known
from sharpaudit.gate.validation import require_credible
from sharpaudit.gate.verdicts import (
    clean_load,
    idleness,
    incompleteness,
    significance,
    suspicions,
    unproven,
    verdicts_of,
    waived,
)
from sharpaudit.metrics.predictions import Predictions
from sharpaudit.metrics.terms import terms_of, views_of
from sharpaudit.store import Run

__all__ = ["Judgement", "Policy", "Verdict", "judge", "judge_run"]

Views = Mapping[str, Predictions]

UNPROVEN = "no predictions lie beside the card: none of its numbers was computed again"
UNASKED = "nobody asked whether the set-up was right when this card was made"
IDLE_BASELINE = "a baseline was given and no rule of the policy is about one"


def judge_run(run: Run, policy: Policy, *, today: date, baseline: Run | None = None, allow_mismatch: bool = False) -> Judgement:
    """The verdicts on a run that may come from anywhere: what its card says is checked, as far as it can be, and then judged.

    Raises:
        CardError: the card, the baseline's or the predictions beside them cannot be right; or as `judge`.
        UnknownName: as `judge`.
    """
    views = _believed(run, policy)
    baseline_views = _believed(baseline, policy) if baseline else None
    judgement = judge(
        run.card,
        policy,
        today=today,
        views=views,
        baseline=baseline.card if baseline else None,
        baseline_views=baseline_views,
        allow_mismatch=allow_mismatch,
    )
    signers = [("the run", run), *([("the baseline", baseline)] if baseline else [])]
    notes = [f"{whose} is signed with {signed.signed_by}" for whose, signed in signers if signed.signed_by]
    return judgement.model_copy(update={"notes": [*judgement.notes, *notes, *([] if views else [UNPROVEN])]})


def _believed(run: Run, policy: Policy) -> Views:
    """The predictions of `run`, once its card is found to be credible."""
    try:
        views, terms = views_of(run.columns), terms_of(run.columns)
    except ValueError as error:
        raise CardError(f"the stored predictions are not readable: {clean(str(error))}", hint="measure again") from error
    judged = {
        m.name for m in run.card.measurements for rule in policy.rules if m.name == rule.metric or matches(rule.metric, m.name)
    }
    require_credible(run.card, views, terms, judged)
    return views


def judge(
    card: Card,
    policy: Policy,
    *,
    today: date,
    views: Views | None = None,
    baseline: Card | None = None,
    baseline_views: Views | None = None,
    allow_mismatch: bool = False,
) -> Judgement:
    """The verdict of each rule on `card`.

    Args:
        card: the candidate.
        policy: the rules.
        today: decides which waivers still hold.
        views: the candidate's stored predictions, by view; without them comparisons with the baseline are unpaired.
        baseline: the card that ``baseline`` rules compare with.
        baseline_views: its stored predictions.
        allow_mismatch: compare with a baseline of other data, seed, precision or probe versions, and list the differences.

    Raises:
        UnknownName: a rule names a metric that no probe measures.
        CardError: a rule needs a baseline and there is none, or it was measured on other data or in another way.
    """
    require_known(policy)
    _require_baseline(policy, baseline)
    if policy.data is not None and policy.data != card.data.index_hash:
        raise CardError(
            f"{clean(card.subject.file)} was measured on other images than the policy is about: "
            f"index {clean(card.data.index_hash, 16)}, not {policy.data[:15]}…",
            hint="measure it on those, or change `data` in the policy",
        )
    differing = mismatches(card, baseline, strict=True) if baseline else []
    if differing and not allow_mismatch:
        raise CardError(
            f"the baseline was not measured like this card: {'; '.join(clean(str(m)) for m in differing)}",
            hint="measure the baseline again, or pass --allow-mismatch",
        )
    paired = views is not None and baseline_views is not None and not differing
    evidence = Evidence(card, views or {} if paired else {}, baseline, baseline_views or {} if paired else {})
    found = [verdicts_of(number, rule, evidence, policy) for number, rule in enumerate(policy.rules, 1)]
    verdicts = [waived(verdict, policy, today) for verdict in significance(list(chain.from_iterable(found)), policy)]
    verdicts += idleness(verdicts)
    if policy.require_clean_load:
        verdicts.append(clean_load(card))
    if policy.require_predictions:
        verdicts += unproven([(card, views), *([(baseline, baseline_views)] if baseline is not None else [])])
    verdicts += [*incompleteness(card, policy), *suspicions(card, policy)]
    if baseline is not None and policy.compares:
        verdicts += suspicions(baseline, policy, "of the baseline, ")
    return Judgement(
        subject=clean(card.subject.file),
        card_digest=_digest(card),
        policy_digest=policy.digest,
        baseline=clean(baseline.subject.file) if baseline else None,
        baseline_digest=_digest(baseline) if baseline else None,
        verdicts=verdicts,
        notes=[
            *_notes(card, policy, baseline),
            *(f"compared in spite of {clean(str(mismatch))}" for mismatch in differing),
        ],
    )


def _require_baseline(policy: Policy, baseline: Card | None) -> None:
    for number, rule in enumerate(policy.rules, 1):
        if baseline is None and rule.baseline is not None and rule.baseline.if_missing == "fail":
            raise CardError(
                f"rule {number} ({clean(rule.metric)}) compares with a baseline and none was given",
                hint="sharpaudit measure makes one of the released checkpoint; pass it with --baseline",
            )


def _notes(card: Card, policy: Policy, baseline: Card | None) -> list[str]:
    """What a reader should know beside the verdicts."""
    return [
        *([f"{clean(card.schema_)} is newer than {SCHEMA}: what it added was not read"] if codec.is_newer(card) else []),
        *([UNASKED] if card.setup is None else []),
        *([IDLE_BASELINE] if baseline is not None and not policy.compares else []),
        *(
            ["the baseline is the candidate itself: no rule about a difference can fail"]
            if baseline is not None and baseline.subject.sha256 == card.subject.sha256
            else []
        ),
    ]


def _digest(card: Card) -> str | None:
    """None for a card that could not have been stored, because it holds NaN."""
    try:
        return codec.digest(card)
    except ValueError:
        return None
