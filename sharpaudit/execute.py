"""Run the plan: each step becomes an outcome, whatever happens to it.

One probe's failure is that probe's outcome; the others run on. Only what stops every probe alike (an interrupt, a defect in the
plan) leaves this module.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sharpaudit.card import Failed, Measured, Measurement, Skipped
from sharpaudit.errors import SharpauditError, clean
from sharpaudit.plan import Step
from sharpaudit.probes import NamedTable
from sharpaudit.workbench import NotApplicable, UndeclaredNeed, Workbench

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What came of one step."""

    step: Step
    status: Literal["measured", "skipped", "failed"]
    reason: str | None
    measurements: tuple[Measurement, ...]
    tables: tuple[NamedTable, ...]
    passes: dict[str, int]
    """Examples sent through the model while it ran, by kind of pass, shared views included where it was first to need them."""
    seconds: float


def execute(steps: Sequence[Step], bench: Workbench, on_step: Callable[[Step], None] = lambda step: None) -> Iterator[Outcome]:
    """Run `steps` in order on `bench`; `on_step` is told of each before it starts."""
    for step in steps:
        on_step(step)
        yield run(step, bench)


def run(step: Step, bench: Workbench) -> Outcome:
    """The outcome of one step.

    Raises:
        UndeclaredNeed: the probe touched something it does not declare; that is a defect, not an outcome.
    """
    probe = step.probe
    before, started = Counter(bench.passes), time.monotonic()
    status: Literal["measured", "skipped", "failed"] = "measured"
    reason: str | None = None
    found: list[Measured | Skipped | NamedTable] = []
    try:
        found.extend(probe(bench.narrowed(probe.name, probe.needs), step.options))
    except UndeclaredNeed:
        raise
    except NotApplicable as refusal:
        status, reason = "skipped", str(refusal)
    except Exception as error:
        log.exception("probe %s failed", probe.name)
        text = error.message if isinstance(error, SharpauditError) else f"{type(error).__name__}: {error}"
        status, reason = "failed", clean(text, limit=500)
    measurements = [item.model_copy(update=_stamp(step)) for item in found if not isinstance(item, NamedTable)]
    return Outcome(
        step=step,
        status=status,
        reason=reason,
        measurements=(*measurements, *_missing(step, {m.name for m in measurements}, status, reason)),
        tables=tuple(item for item in found if isinstance(item, NamedTable)),
        passes=dict(sorted((Counter(bench.passes) - before).items())),
        seconds=time.monotonic() - started,
    )


def _stamp(step: Step) -> dict[str, str | int]:
    return {"probe": step.probe.name, "version": step.probe.version}


def _missing(step: Step, seen: set[str], status: str, reason: str | None) -> Iterator[Measurement]:
    """What the probe declares and did not deliver, each with the reason, so that a gate finds it and does not pass."""
    for name in step.probe.measures:
        if status != "measured" and name not in seen and not name.endswith("/*"):
            kind = Skipped if status == "skipped" else Failed
            yield kind(name=name, reason=reason or "", probe=step.probe.name, version=step.probe.version)
