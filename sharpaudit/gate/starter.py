"""What policy would this card just pass? A first one, from measured intervals, for whoever answers for the release to edit."""

from __future__ import annotations

import math
import re

from sharpaudit.card import Card, Measured
from sharpaudit.card.measures import find
from sharpaudit.errors import clean
from sharpaudit.gate.policy import DATA
from sharpaudit.gate.verdicts import clean_load

GATED = (
    "clean.accuracy",
    "clean.nll",
    "calibration.ece_debiased",
    "corruption.accuracy",
    "corruption.accuracy/*/5",
)
"""What a first policy limits, where the card has it."""

COMPARED = {"clean.accuracy": 0.01, "clean.nll": 0.02, "corruption.accuracy": 0.01}
"""What it can also compare with a baseline, once there is one, and how much worse than that is too much."""


def starting_policy(card: Card, *, compare: bool = True) -> str:
    """YAML of a policy that `card` passes: limits lie twice as far from its values as its intervals reach.

    So the whole interval of a checkpoint as good as this one usually lies within them. Rules about a baseline are comments where
    `compare` is False.
    """
    images = card.data.index_hash
    measured = [m for name in GATED if (m := card.measured(name)) is not None and m.direction != "none"]
    rules = [rule for rule in map(_rule, measured) if rule is not None]
    compared = [m for m in map(card.measured, COMPARED) if m is not None]
    return "\n".join(
        [
            f"# Limits from the intervals measured on {clean(card.subject.file)}, n = {card.data.n}.",
            "# Each limit lies twice as far from the measured value as its interval reaches, so that the whole interval of a",
            "# checkpoint as good as this one usually satisfies it; one that straddles a limit is inconclusive. What a baseline",
            "# may lose is a convention: 0.01 of accuracy, 0.02 nats. Tighten what matters, then run `sharpaudit policy check`.",
            "schema: sharpaudit.policy/1",
            *([f'data: "{images}"  # these test images, in this order'] if re.fullmatch(DATA, images) else []),
            *(["require_clean_load: true"] if clean_load(card).status == "passed" else []),
            *(["require_predictions: true"] if card.predictions else []),
            "rules:",
            *(rules or ["  - {metric: clean.accuracy, min: 0.9, test: bound}"]),
            *(["  # These need --baseline RUN; without it nothing is judged:"] if compared and compare else []),
            *(["# For a gate with --baseline RUN:"] if compared and not compare else []),
            *(_drift(m, "" if compare else "#") for m in compared),
            "defaults: {on_missing: fail, on_inconclusive: fail, confidence: 0.95, multiplicity: holm}",
            "",
        ]
    )


def _rule(m: Measured) -> str | None:
    """None where the interval is so wide that no value could break the limit."""
    far = (m.ci.low if m.direction == "higher" else m.ci.high) if m.ci else m.value
    key, rounded = ("min", math.floor) if m.direction == "higher" else ("max", math.ceil)
    limit = rounded((2 * far - m.value) * 1000) / 1000
    known = find(m.name)
    if known is not None and not known.scale.low < limit < known.scale.high:
        return None
    test = "\n    test: bound" if m.ci else ""
    return f"  - metric: {m.name}\n    {key}: {limit:.3f}{test}\n    why: measured {m.value:.4g}"


def _drift(m: Measured, mark: str) -> str:
    key = "max_decrease" if m.direction == "higher" else "max_increase"
    lines = (
        f"  - metric: {m.name}",
        f"    baseline: {{{key}: {COMPARED[m.name]}}}",
        "    test: significant",
        "    why: no worse than the release",
    )
    return "\n".join(mark + line for line in lines)
