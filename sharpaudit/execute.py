"""Run the plan: each step becomes an outcome, whatever happens to it.

One probe's failure is that probe's outcome; the others run on. When memory runs out, the probe runs again with half as much
on the device at once, which changes no number beyond rounding. Only what stops every probe alike (an interrupt, a full disk, a
defect in the plan) leaves this module. Where a folder is given, finished probes are kept in it, and found there again.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sharpaudit.card import Failed, Measured, Measurement, Outcome, Skipped
from sharpaudit.errors import SharpauditError, clean
from sharpaudit.plan import Step
from sharpaudit.probes import Finding, NamedTable, Probe, Terms
from sharpaudit.store import Columns, Parts
from sharpaudit.workbench import NotApplicable, UndeclaredNeed, Workbench

log = logging.getLogger(__name__)


class TimeIsUp(Exception):
    """Raised by a progress callback: the time that the audit was given has passed."""


@dataclass(frozen=True)
class Finished:
    """What came of one step, what is kept beside the card for it, and whether it was found in an earlier run or left out."""

    outcome: Outcome
    columns: Columns
    """Of the views it read, and the terms of its numbers."""
    reused: bool = False
    left_out: bool = False


def execute(
    steps: Sequence[Step],
    bench: Workbench,
    parts: Parts | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Iterator[Finished]:
    """Run `steps` in order on `bench`, or find them in `parts`; `on_step` is told of each before it runs.

    Failures are not kept, so that a later run tries again. Once the time is up, what is left is skipped with that reason.
    """
    late = False
    for step in steps:
        found = parts.find(step.probe.name, step.probe.version, step.settings()) if parts else None
        if found and found[0].distribution == step.probe.distribution:
            yield Finished(*found, reused=True)
            continue
        try:
            if late:
                raise TimeIsUp
            on_step(step)
            finished = finish(step, bench)
        except TimeIsUp:
            late = True
            yield left_out(step, "the time for the audit was up")
            continue
        if parts and finished.outcome.status != "failed":
            parts.keep(finished.outcome, finished.columns)
        yield finished


def run(step: Step, bench: Workbench) -> Outcome:
    """The outcome of one step, as `finish` finds it."""
    return finish(step, bench).outcome


def finish(step: Step, bench: Workbench) -> Finished:
    """The outcome of one step, with the columns it read and the terms of its numbers.

    Raises:
        UndeclaredNeed: the probe touched something it does not declare; that is a defect, not an outcome.
        TimeIsUp: the bench's progress callback said so.
    """
    probe = step.probe
    narrowed = bench.narrowed(probe.name, probe.needs)
    before, started = Counter(bench.passes), time.monotonic()
    status: Literal["measured", "skipped", "failed"] = "measured"
    reason: str | None = None
    found: list[Finding] = []

    def measure() -> None:
        found.clear()
        for item in probe(narrowed, step.options):
            if not isinstance(item, NamedTable) and not probe.declares(item.name):
                raise ValueError(f"it yields {item.name}, which it does not declare")
            found.append(item)

    try:
        narrowed.within_memory(measure)
    except (UndeclaredNeed, TimeIsUp):
        raise
    except NotApplicable as refusal:
        status, reason = "skipped", str(refusal)
    except Exception as error:
        log.exception("probe %s failed", probe.name)
        text = error.message if isinstance(error, SharpauditError) else f"{type(error).__name__}: {error}"
        status, reason = "failed", clean(text, limit=500)
    measurements = [
        item.model_copy(update=_stamp(step) | _entry(probe, item)) for item in found if isinstance(item, Measured | Skipped)
    ]
    outcome = Outcome(
        **_stamp(step),
        status=status,
        reason=reason,
        options=step.settings(),
        distribution=probe.distribution,
        measurements=[*measurements, *_missing(step, {m.name for m in measurements}, status, reason)],
        tables={item.name: item.table for item in found if isinstance(item, NamedTable)},
        views=sorted(view for view in narrowed.viewed if view in bench.views),
        passes=dict(sorted((Counter(bench.passes) - before).items())),
        seconds=time.monotonic() - started,
    )
    columns = {view: bench.views[view].columns() for view in outcome.views if view in bench.views}
    return Finished(outcome, columns | {item.name: item.columns() for item in found if isinstance(item, Terms)})


def left_out(step: Step, reason: str) -> Finished:
    """What stands on the card for a step that was planned and did not run."""
    missing = list(_missing(step, set(), "skipped", reason))
    outcome = Outcome(
        **_stamp(step),
        status="skipped",
        reason=reason,
        options=step.settings(),
        distribution=step.probe.distribution,
        measurements=missing,
    )
    return Finished(outcome, {}, left_out=True)


def _stamp(step: Step) -> dict[str, Any]:
    return {"probe": step.probe.name, "version": step.probe.version}


def _entry(probe: Probe, item: Measured | Skipped) -> dict[str, Any]:
    """What a plug-in says of its number; of the others the catalogue knows."""
    entry = probe.entry(item.name)
    return {"declared": entry.declared} if entry and probe.distribution and isinstance(item, Measured) else {}


def _missing(step: Step, seen: set[str], status: str, reason: str | None) -> Iterator[Measurement]:
    """What the probe declares and did not deliver, each with the reason, so that a gate finds it and does not pass."""
    for name in step.probe.measures:
        if status != "measured" and name not in seen and not name.endswith("/*"):
            kind = Skipped if status == "skipped" else Failed
            yield kind(name=name, reason=reason or "", probe=step.probe.name, version=step.probe.version)
