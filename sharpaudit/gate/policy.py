"""What does a release have to satisfy? A policy: data without expressions, code, or names of code.

A policy that could not fail, names an unknown metric, contradicts itself, or sets a limit that no value can meet is refused when
it is read, because a gate that is silently open is worse than none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import date
from importlib.metadata import entry_points
from itertools import permutations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    PrivateAttr,
    ValidationError,
    model_validator,
)

from sharpaudit import files, strict_yaml
from sharpaudit.card import codec
from sharpaudit.card.measures import MEASURES, OF_CORRUPTION, find
from sharpaudit.card.patterns import matches
from sharpaudit.errors import UnknownName, UsageError, clean, closest
from sharpaudit.metrics.corruption import FAMILY

SCHEMA = "sharpaudit.policy/1"
ACKNOWLEDGEMENT: Literal["scale-dependent"] = "scale-dependent"
DATA = "[0-9a-f]{64}"
"""The index hash of a card's images."""

MEANS = (*FAMILY, *(f"family/{each}" for each in dict.fromkeys(FAMILY.values())), *(f"*/{severity}" for severity in range(1, 6)))
CELLS = tuple(f"{name}/{severity}" for name in FAMILY for severity in range(1, 6))
"""All that can follow ``corruption.accuracy/``."""


def _date(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        return date.fromisoformat(value)
    if isinstance(value, date):
        return value
    raise ValueError("expected a date such as 2027-01-31")


def _words(text: str) -> str:
    if not any(c.isprintable() and not c.isspace() for c in text):
        raise ValueError("expected words, not blanks")
    return text


Text = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_words)]
Day = Annotated[date, BeforeValidator(_date)]


class Strict(BaseModel):
    """Frozen; unknown keys and converted types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Drift(Strict):
    """How far a number may move away from the baseline's."""

    max_decrease: FiniteFloat | None = Field(default=None, ge=0)
    max_increase: FiniteFloat | None = Field(default=None, ge=0)
    if_missing: Literal["fail", "skip"] = "fail"
    """What to do when the gate is run without a baseline: refuse (exit 3), or leave the rule out and say so."""

    @model_validator(mode="after")
    def _limits_something(self) -> Drift:
        if self.max_decrease is None and self.max_increase is None:
            raise ValueError("expected max_decrease or max_increase")
        return self


class Rule(Strict):
    """One requirement on one measurement, or on each that a pattern with ``*`` matches."""

    metric: Text
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    baseline: Drift | None = None
    test: Literal["point", "bound", "significant"] = "point"
    """``point``: the value itself. ``bound``: its whole interval must satisfy the limit. ``significant``: fails only where it is
    worse than the baseline allows beyond chance."""
    severity: Literal["fail", "warn", "info"] = "fail"
    why: Text | None = None
    acknowledge: Literal["scale-dependent"] | None = None

    @model_validator(mode="after")
    def _is_one_question(self) -> Rule:
        absolute = self.min is not None or self.max is not None
        if absolute == (self.baseline is not None):
            raise ValueError("expected either min and/or max, or baseline")
        if self.test == "significant" and self.baseline is None:
            raise ValueError("test: significant compares with a baseline; use test: bound for a fixed limit")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"no value is at least {self.min} and at most {self.max}")
        known = find(self.metric)
        if known and known.scale_dependent and self.acknowledge != ACKNOWLEDGEMENT:
            raise ValueError(
                "this number changes when layers are rescaled without changing the function; "
                f"to gate it all the same write acknowledge: {ACKNOWLEDGEMENT}"
            )
        return self


class Defaults(Strict):
    """What holds for every rule."""

    on_missing: Literal["fail", "warn"] = "fail"
    """A number that was not measured: inconclusive (exit 6), or only a warning."""
    on_inconclusive: Literal["fail", "warn"] = "fail"
    """An interval that straddles the limit, or an iteration that did not converge: inconclusive (exit 6), or only a warning."""
    on_suspect_setup: Literal["fail", "warn"] = "fail"
    """A card or baseline whose set-up check flagged something: inconclusive (exit 6), or only a warning."""
    confidence: FiniteFloat = Field(default=0.95, ge=0.5, lt=1)
    multiplicity: Literal["holm", "none"] = "holm"
    """Correction over all rules with ``test: significant``."""


class Waiver(Strict):
    """A rule that may be broken until a day, with someone who answers for it."""

    rule: Text
    """The metric of the rule, as written there."""
    reason: Text
    owner: Text
    expires: Day
    """The last day on which it holds."""


class Policy(Strict):
    """The rules of a gate."""

    schema_: Literal["sharpaudit.policy/1"] = Field(alias="schema")
    rules: list[Rule] = Field(max_length=1000)
    defaults: Defaults = Defaults()
    waivers: list[Waiver] = Field(default=[], max_length=1000)
    data: str | None = Field(default=None, pattern=f"^{DATA}$")
    """The `data.index_hash` of the cards that it is about: these test images, in this order. None: of any."""
    require_clean_load: bool = False
    """Whether the checkpoint must have loaded without user code and without objects that were set aside on request."""
    require_predictions: bool = False
    """Whether the predictions must lie beside the cards, so that what follows from them is computed again."""
    _lines: list[int] = PrivateAttr(default=[])

    @property
    def compares(self) -> bool:
        """Whether any rule is about a baseline."""
        return any(rule.baseline or rule.metric.startswith("disagreement.") for rule in self.rules)

    def line(self, rule: int) -> int:
        """The line of the file on which rule number `rule` begins; the first one for what is no rule, or was in no file."""
        return self._lines[rule - 1] if 0 < rule <= len(self._lines) else 1

    @property
    def digest(self) -> str:
        """SHA-256 of what the policy says, whatever its layout and comments."""
        return hashlib.sha256(codec.dumps(self.model_dump(mode="json")).encode()).hexdigest()


def read(path: Path) -> Policy:
    """The policy in the file `path`.

    Raises:
        UsageError: as `parse`, or the file cannot be read.
    """
    try:
        data = files.read(path, most=strict_yaml.MAX_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read the policy: {error.strerror}", path=str(path)) from error
    return parse(data, source=str(path))


def parse(data: bytes, *, source: str) -> Policy:
    """The policy in YAML text; `source` names it in messages.

    Raises:
        UnsafeInput: YAML with tags or aliases.
        UsageError: not YAML that we accept, not a policy, or one that cannot mean what it says; `UnknownName` as `require_known`.
    """
    document = strict_yaml.load(data, source=source)
    if not isinstance(document, dict):
        raise UsageError("no rule can fail: the policy is empty", path=source, hint="sharpaudit policy init writes one")
    try:
        policy = Policy.model_validate(document)
    except ValidationError as error:
        raise UsageError(_complaint(error, document), path=source, hint="sharpaudit schema policy") from error
    require_known(policy)
    _require_sense(policy, source)
    policy._lines = strict_yaml.item_lines(data, "rules")
    return policy


def require_known(policy: Policy) -> None:
    """Refuse metrics that neither a probe of this version nor an installed plug-in measures.

    Raises:
        UnknownName: with the nearest known name.
    """
    for rule in policy.rules:
        corruption = rule.metric.removeprefix(OF_CORRUPTION)
        if corruption != rule.metric and not any(matches(corruption, each) for each in (*MEANS, *CELLS)):
            raise UnknownName("corruption", corruption, MEANS)
    strange = [rule.metric for rule in policy.rules if find(rule.metric) is None]
    foreign = plugins() if strange else frozenset()
    for metric in strange:
        if metric.partition(".")[0] not in foreign:
            raise UnknownName("metric", metric, [*(known.name for known in MEASURES), *(f"{plugin}.*" for plugin in foreign)])


def plugins() -> frozenset[str]:
    """The names of installed plug-ins, which are the families of what they measure; nothing of theirs is imported."""
    return frozenset(entry.name for entry in entry_points(group="sharpaudit.probes"))


def _require_sense(policy: Policy, source: str) -> None:
    if not any(rule.severity == "fail" for rule in policy.rules) and not policy.require_clean_load:
        raise UsageError("no rule can fail", path=source, hint="give at least one rule the severity 'fail'")
    for number, rule in enumerate(policy.rules, 1):
        for key, limit in (("min", rule.min), ("max", rule.max)):
            known = find(rule.metric)
            if limit is not None and known and not known.scale.low <= limit <= known.scale.high:
                possible = f"{known.scale.low:g} to {known.scale.high:g}"
                raise UsageError(
                    f"rule {number} ({clean(rule.metric)}): {key} {limit:g} lies outside {possible}",
                    path=source,
                    hint="fractions are written as 0.92, not as 92" if known.scale.high == 1 else None,
                )
        if rule.severity == "fail" and _cannot_fail(rule):
            raise UsageError(
                f"rule {number} ({clean(rule.metric)}) cannot fail: no value lies beyond its limits",
                path=source,
                hint="tighten it, or give it severity: info",
            )
    _require_no_contradiction(policy, source)
    metrics = [rule.metric for rule in policy.rules]
    for waiver in policy.waivers:
        if waiver.rule not in metrics:
            close = closest(waiver.rule, metrics, limit=1)
            raise UsageError(
                f"a waiver names '{clean(waiver.rule)}', which no rule is about"
                + (f"; did you mean '{close[0]}'?" if close else ""),
                path=source,
            )


def _cannot_fail(rule: Rule) -> bool:
    """Whether every value that the measure can have, or every difference of two, is within the limits."""
    known = find(rule.metric)
    if known is None:
        return False
    low, high = known.scale.low, known.scale.high
    if rule.baseline is None:
        return (rule.min is None or rule.min <= low) and (rule.max is None or rule.max >= high)
    return all(each is None or each >= high - low for each in (rule.baseline.max_decrease, rule.baseline.max_increase))


def _require_no_contradiction(policy: Policy, source: str) -> None:
    """Refuse two failing rules on one metric that no value satisfies together."""
    failing = [(number, rule) for number, rule in enumerate(policy.rules, 1) if rule.severity == "fail"]
    for (i, lower), (j, upper) in permutations(failing, 2):
        if lower.metric == upper.metric and lower.min is not None and upper.max is not None and lower.min > upper.max:
            limits = f"{clean(lower.metric)} at least {lower.min:g} and at most {upper.max:g}"
            raise UsageError(f"rules {i} and {j} contradict each other: {limits}", path=source)


def _complaint(error: ValidationError, document: dict[str, Any]) -> str:
    """The first thing that is wrong, in one line."""
    first = error.errors()[0]
    place = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = _keys_at(first["loc"][:-1])
        close = closest(str(first["loc"][-1]), known, limit=1)
        return f"unknown key '{clean(place)}'" + (f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(known)}")
    if not document.get("rules") and first["loc"] == ("rules",):
        return "no rule can fail: there are no rules"
    got = first["input"]
    shown = "" if isinstance(got, dict | list) or first["type"] == "missing" else f", got {clean(repr(got))}"
    return f"{clean(place)}: {first['msg'].removeprefix('Value error, ')}{shown}"


def _keys_at(location: Sequence[str | int]) -> list[str]:
    """The keys a policy may have at `location`."""
    words = [part for part in location if isinstance(part, str)]
    parts: dict[str, type[Strict]] = {"rules": Rule, "defaults": Defaults, "waivers": Waiver, "baseline": Drift}
    model = parts.get(words[-1], Policy) if words else Policy
    return [field.alias or name for name, field in model.model_fields.items()]
