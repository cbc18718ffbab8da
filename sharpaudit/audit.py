"""A checkpoint goes in, a card comes out: the few lines to read first are `measure` and `run`."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sharpaudit.card import Card, DataRecord, ProbeRun, SetupCheck, Timing
from sharpaudit.card.reading import reading
from sharpaudit.cost import Cost, costs, fitting, too_long
from sharpaudit.data import num_shared
from sharpaudit.device import compute_settings, environment, peak_memory_mib
from sharpaudit.errors import DataError
from sharpaudit.execute import Finished, TimeIsUp, execute, left_out
from sharpaudit.plan import Step, total
from sharpaudit.prepare import Prepared, Progress, prepare
from sharpaudit.request import Request
from sharpaudit.setup_check import check_setup, taken_for_granted
from sharpaudit.store import Parts, Run
from sharpaudit.workbench import Need, Workbench

__all__ = ["Cost", "Prepared", "Progress", "Request", "Stopped", "measure", "plan_costs", "prepare", "run"]


class Stopped(BaseException):
    """An interrupt or another request to end arrived during the audit, the cause; `run` holds what was finished by then."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run


def measure(request: Request, on_progress: Progress = lambda doing, fraction: None) -> Run:
    """The audit of one checkpoint: its card, and the per-example columns behind it.

    Raises:
        SharpauditError: the subclass says whether the request, the checkpoint, the data or the machine is at fault.
    """
    started = time.monotonic()
    prepared = prepare(request, on_progress)
    return run(prepared, on_progress, max_seconds=request.max_time - (time.monotonic() - started))


def run(
    prepared: Prepared,
    on_progress: Progress = lambda doing, fraction: None,
    folder: Path | None = None,
    *,
    reuse: bool = True,
    max_seconds: float = math.inf,
) -> Run:
    """The audit, made ready by `prepare`.

    Args:
        prepared: what to do.
        on_progress: told how far the audit is.
        folder: a run folder; finished probes are kept in it.
        reuse: do not run again what `folder` holds.
        max_seconds: leave out probes that would not end in time, the dearest first; `Card.incomplete` names them.

    Raises:
        SharpauditError: as `measure`.
        Stopped: the audit was asked to end; it carries the card of what was finished.
    """
    started = time.monotonic(), datetime.now(UTC)
    progress = _Progress(on_progress, prepared, started[0] + max_seconds)
    bench = prepared.bench(progress.within_step)
    finished: list[Finished] = []
    with compute_settings(prepared.threads):
        on_progress("checking the set-up", 0.0)
        begun = _beginning(prepared, bench) | {"setup": _setup(prepared)}
        parts = Parts(folder, _identity(begun, bench), reuse=reuse) if folder else None
        steps = prepared.steps
        if max_seconds < math.inf:
            on_progress("timing", 0.0)
            steps, late = _in_time(prepared, costs(prepared, parts), started[0] + max_seconds - time.monotonic())
            finished += late
        try:
            for item in execute(steps, bench, parts, progress.step):
                finished.append(item)
        except BaseException as stop:
            if isinstance(stop, Exception):
                raise
            ran = {item.outcome.probe for item in finished}
            finished += [left_out(step, "the audit was interrupted") for step in steps if step.probe.name not in ran]
            raise Stopped(_run(begun, finished, started, bench)) from stop
        on_progress("writing the card", 1.0)
        _require_unchanged(prepared, parts)
        return _run(begun, finished, started, bench)


def plan_costs(prepared: Prepared, folder: Path | None = None) -> list[Cost]:
    """The costs of the shared clean views and of each probe, in order, timed on two batches: what ``--dry-run`` prints."""
    bench = prepared.bench()
    with compute_settings(prepared.threads):
        parts = Parts(folder, _identity(_beginning(prepared, bench), bench)) if folder else None
        return costs(prepared, parts)


def _in_time(prepared: Prepared, costs: Sequence[Cost], seconds: float) -> tuple[list[Step], list[Finished]]:
    """The steps that will end within `seconds`, and the others as what stands on the card for them."""
    views, *probes = costs
    left = seconds - views.seconds
    kept = fitting([cost.seconds for cost in probes], left)
    late = [
        left_out(step, f"left out to keep within the time allowed: {too_long(cost.seconds, left)}")
        for step, cost, keep in zip(prepared.steps, probes, kept, strict=True)
        if not keep
    ]
    return [step for step, keep in zip(prepared.steps, kept, strict=True) if keep], late


class _Progress:
    """Turns steps and fractions of views into one fraction of the whole plan, weighted by cost; ends the audit in time."""

    def __init__(self, report: Progress, prepared: Prepared, deadline: float) -> None:
        self._report = report
        self._deadline = deadline
        self._workload = prepared.workload
        self._total = max(1, total(prepared.steps, prepared.workload).forward_equivalents)
        self._behind = 0
        self._current: Step | None = None

    def step(self, step: Step) -> None:
        self._behind += self._cost()
        self._current = step
        self._report(step.probe.name, min(1.0, self._behind / self._total))

    def within_step(self, fraction: float) -> None:
        if time.monotonic() > self._deadline:
            raise TimeIsUp
        if self._current is not None:
            self._report(self._current.probe.name, min(1.0, (self._behind + fraction * self._cost()) / self._total))

    def _cost(self) -> int:
        if self._current is None:
            return 0
        shared = self._workload.test + self._workload.train if self._behind == 0 else 0
        return shared + self._current.cost(self._workload).forward_equivalents


def _beginning(prepared: Prepared, bench: Workbench) -> dict[str, Any]:
    """The fields of the card that are settled before the first probe runs."""
    request = prepared.request
    curved = any({Need.OBJECTIVE, Need.FEATURES} & step.probe.needs for step in prepared.steps)
    corrupting = any(Need.CORRUPTED in step.probe.needs for step in prepared.steps)
    return {
        "subject": prepared.model.subject,
        "data": _tested_on(prepared),
        "train_data": prepared.train.record() if prepared.train is not None else None,
        "probe_set": bench.probe_set if curved else None,
        "corruptions": bench.corruption_source if corrupting else None,
        "environment": environment(prepared.settings.device),
        "config": dict(request.settings),
        "seed": request.bench.seed,
    }


def _require_unchanged(prepared: Prepared, parts: Parts | None) -> None:
    """Refuse images that changed meanwhile, and forget what was found out about them."""
    try:
        for images in (prepared.test, prepared.train):
            if images is not None:
                images.require_unchanged()
    except DataError:
        if parts is not None:
            parts.forget()
        raise


def _tested_on(prepared: Prepared) -> DataRecord:
    """The test images, with a warning where training images are among them."""
    record = prepared.test.record()
    shared = num_shared(prepared.train, prepared.test) if prepared.train else 0
    if not shared:
        return record
    words = f"{shared:,} of the {record.n:,} test images are training images too, byte for byte: accuracy on them is no test"
    return record.model_copy(update={"warnings": [*record.warnings, words]})


def _setup(prepared: Prepared) -> SetupCheck | None:
    """What a few images say about the set-up; it decides no finding, so it is no part of the audit's identity."""
    if not prepared.request.setup_check:
        return None
    model, settings = prepared.model, prepared.settings
    subject, request = model.subject, prepared.request
    found = check_setup(model.predictor, subject.preprocessing, prepared.test, device=settings.device, seed=request.bench.seed)
    asked = request.architecture is not None or subject.origins.get("image_size") in ("flags", "metadata", "config.json")
    loaded = taken_for_granted(model.doubts, prepared.test.shape[:2], subject.preprocessing, asked=asked)
    return found.model_copy(update={"checks": [*found.checks, *loaded]})


def _identity(begun: Mapping[str, Any], bench: Workbench) -> dict[str, Any]:
    """What decides the findings of every probe, whichever of them are run; not its name, who signed it or origins of settings."""
    decides = {"subject", "data", "train_data", "environment"}
    identity = {name: value and value.model_dump(mode="json") for name, value in begun.items() if name in decides}
    return {
        **identity,
        "subject": {**identity["subject"], "file": None, "signature": None},
        "probe_set": bench.probe_set.model_dump(mode="json"),
        "corruptions": bench.corruption_source.model_dump(mode="json"),
        "seed": begun["seed"],
    }


def _run(begun: Mapping[str, Any], finished: Sequence[Finished], started: tuple[float, datetime], bench: Workbench) -> Run:
    """The card and the columns, from what the audit began with and what came of each probe."""
    outcomes = [item.outcome for item in finished]
    measurements = sorted((m for outcome in outcomes for m in outcome.measurements), key=lambda m: m.name)
    missing = [item.outcome.probe for item in finished if item.left_out]
    tables = {name: table for outcome in outcomes for name, table in outcome.tables.items()}
    card = Card(
        **begun,
        probes={
            outcome.probe: ProbeRun(
                status=outcome.status,
                version=outcome.version,
                reason=outcome.reason,
                options=outcome.options,
                distribution=outcome.distribution,
            )
            for outcome in outcomes
        },
        measurements=measurements,
        tables=tables,
        incomplete=missing,
        reading=reading(measurements, tables),
        timing=Timing(
            started=started[1].isoformat(timespec="seconds"),
            seconds=time.monotonic() - started[0],
            probe_seconds={outcome.probe: outcome.seconds for outcome in outcomes},
            passes={outcome.probe: outcome.passes for outcome in outcomes},
            reused=[item.outcome.probe for item in finished if item.reused],
            peak_memory_mib=peak_memory_mib(bench.settings.device),
            batch_size=bench.batch_size,
        ),
    )
    return Run.sealed(card, {view: named for item in finished for view, named in item.columns.items()})
