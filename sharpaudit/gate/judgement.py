"""What does a gate say? One verdict a rule, and what follows from all of them."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, FiniteFloat

from sharpaudit.card import Interval, Record
from sharpaudit.errors import ExitCode

SCHEMA = "sharpaudit.judgement/1.1"

Status = Literal["passed", "failed", "inconclusive", "waived", "skipped"]


class Verdict(Record):
    """What one rule comes to on one measurement."""

    rule: int
    """Position in the policy, from 1; 0 for a requirement that is no rule (a clean load, a sound set-up)."""
    metric: str
    severity: Literal["fail", "warn", "info"]
    test: Literal["point", "bound", "significant"]
    status: Status
    limit: str
    """In words: ``at least 0.92``, ``at most 0.01 below the baseline``."""
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    """What the value, or its difference from the baseline, must not fall below or rise above."""
    value: FiniteFloat | None = None
    ci: Interval | None = None
    n: int | None = None
    margin: FiniteFloat | None = None
    """Distance to the nearest limit, positive on the good side."""
    baseline: FiniteFloat | None = None
    difference: FiniteFloat | None = None
    """Value − baseline."""
    difference_ci: Interval | None = None
    p_value: FiniteFloat | None = None
    """Of no violation; for ``test: significant``."""
    p_adjusted: FiniteFloat | None = None
    provisional: bool = False
    """Failed, but might pass once the undecided rules that share its correction are measured."""
    line: int = 1
    """Of the policy's file, where the rule stands."""
    reason: str
    """Why it came out like this, in a sentence."""
    why: str | None = None
    """The policy's own words on the rule."""

    @property
    def casts_doubt(self) -> bool:
        """Whether it says that no number of the card need be about the checkpoint."""
        suspect = self.metric.startswith("setup.") and self.status == "inconclusive"
        return self.rule == 0 and (suspect or (self.metric == "subject.clean_load" and self.status == "failed"))


class Judgement(Record):
    """A card held against a policy."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    subject: str
    card_digest: str | None
    policy_digest: str
    baseline: str | None = None
    """The file name of the baseline's checkpoint."""
    baseline_digest: str | None = None
    verdicts: list[Verdict]
    notes: list[str]

    model_config = ConfigDict(
        frozen=True, extra="allow", allow_inf_nan=False, validate_by_name=True, validate_by_alias=True, serialize_by_alias=True
    )

    @property
    def exit_code(self) -> ExitCode:
        """Only verdicts of severity ``fail`` count.

        A rule that failed for certain decides, whatever is undecided beside it: nothing measured later could pass that release.
        But a suspect set-up or an unclean load casts doubt on failures too, and leaves what is undecided inconclusive.
        """
        counted = [verdict for verdict in self.verdicts if verdict.severity == "fail"]
        failed = [verdict for verdict in counted if verdict.status == "failed"]
        certain = any(not verdict.provisional for verdict in failed) and not any(verdict.casts_doubt for verdict in counted)
        undecided = any(verdict.status == "inconclusive" for verdict in counted)
        if undecided and not certain:
            return ExitCode.INCONCLUSIVE
        return ExitCode.GATE_FAILED if failed else ExitCode.DONE
