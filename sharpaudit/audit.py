"""A checkpoint goes in, a card comes out: the few lines to read first are `measure` and `run`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sharpaudit.card import Card, ProbeRun, Setting, SetupCheck, Timing
from sharpaudit.card.reading import reading
from sharpaudit.checkpoints import Limits, LoadedModel, PreprocessingOverrides, load
from sharpaudit.cost import fitting, unit_costs
from sharpaudit.data import ImageSet, Reading, open_images, to_input
from sharpaudit.data.corrupted import CorruptedSet
from sharpaudit.data.paired import clean_spec, is_stored, open_paired
from sharpaudit.decision import by_clean_loss
from sharpaudit.device import available_device, compute_settings, environment, peak_memory_mib, useful_threads
from sharpaudit.execute import Finished, TimeIsUp, execute, left_out
from sharpaudit.plan import Step, plan, total
from sharpaudit.probes import Passes, Workload
from sharpaudit.setup_check import check_setup
from sharpaudit.store import Parts, Run
from sharpaudit.workbench import BenchSettings, Need, Workbench

Progress = Callable[[str, float], None]
"""Told what is being done and the fraction of the whole audit that is behind us."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything that decides an audit."""

    checkpoint: Path
    data: str
    train_data: str | None = None
    architecture: str | None = None
    weights: str = "auto"
    preprocessing: PreprocessingOverrides = field(default_factory=PreprocessingOverrides)
    num_classes: int | None = None
    """Outputs the network must have; None reads it from the weights."""
    limits: Limits = field(default_factory=Limits)
    """Budgets of the checkpoint readers."""
    reading: Reading = field(default_factory=Reading)
    """Budgets and choices of the image readers."""
    probes: str = "standard"
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    limit: int | None = None
    """Use only the first this many test images."""
    synthesise: bool = False
    """Corrupt the test images ourselves although `data` names a set whose corruptions are published."""
    allow_partial: bool = False
    """Go on without the cells that a published set lacks."""
    setup_check: bool = True
    """Ask first, of a few images, whether the network is fed what it was trained on."""
    bench: BenchSettings = field(default_factory=BenchSettings)
    search: tuple[Path, ...] = ()
    """Folders in which data sets are looked up by name."""
    allow_code: bool = False
    allow_inert: bool = False
    allow_nonfinite: bool = False
    allow_missing: tuple[str, ...] = ()
    """Patterns of tensors that the checkpoint may lack."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """The configuration as the card shows it, each value with its origin."""


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
    return run(prepare(request, on_progress), on_progress)


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
        return _run(begun, finished, started, bench)


@dataclass(frozen=True)
class Prepared:
    """An audit that is ready to run: everything that can be refused has been looked at."""

    request: Request
    steps: list[Step]
    model: LoadedModel
    test: ImageSet
    train: ImageSet | None
    settings: BenchSettings
    corrupted: CorruptedSet | None = None
    """Stored corrupted images of the test set; None where they are made as they are needed."""

    def bench(self, on_progress: Callable[[float], None] = lambda fraction: None) -> Workbench:
        """A new workbench."""
        return Workbench(self.model, self.test, self.train, self.settings, on_progress, self.corrupted)

    @property
    def threads(self) -> int:
        """How many threads the network is worth."""
        example = to_input(torch.tensor(self.test.images[0:1]), self.model.subject.preprocessing)
        return useful_threads(self.model.module, example, min(self.settings.batch_size, len(self.test)))

    @property
    def workload(self) -> Workload:
        """What the costs of the steps depend on."""
        return Workload(
            test=len(self.test.labels),
            train=0 if self.train is None else len(self.train.labels),
            probe_set=min(self.settings.probe_examples, len((self.train or self.test).labels)),
            classes=self.model.subject.num_classes,
            parameters=self.model.subject.num_parameters,
        )


def prepare(request: Request, on_progress: Progress = lambda doing, fraction: None) -> Prepared:
    """The plan, the device, the model and the data of an audit; bad options die before the checkpoint is opened."""
    steps = plan(request.probes, request.options)
    settings = replace(request.bench, device=available_device(request.bench.device))
    on_progress("reading the checkpoint", 0.0)
    model = load(
        request.checkpoint,
        architecture=request.architecture,
        weights=request.weights,
        overrides=request.preprocessing,
        num_classes=request.num_classes,
        limits=request.limits,
        allow_code=request.allow_code,
        allow_inert=request.allow_inert,
        allow_nonfinite=request.allow_nonfinite,
        allow_missing=request.allow_missing,
        decide=by_clean_loss(lambda m: _open_test(request, m)[0], request.bench.seed),
    )
    on_progress("reading the data", 0.0)
    test, corrupted = _open_test(request, model)
    train = _open(request.train_data, request, model, limit=None) if request.train_data else None
    return Prepared(request, steps, model, test, train, settings, corrupted)


@dataclass(frozen=True)
class Cost:
    """What one probe sends through the model, and how long that will take."""

    probe: str
    passes: Passes
    seconds: float
    stored: bool = False
    """An earlier run has it already."""


def plan_costs(prepared: Prepared, folder: Path | None = None) -> list[Cost]:
    """The costs of the shared clean views and of each probe, in order, timed on two batches: what ``--dry-run`` prints."""
    bench = prepared.bench()
    with compute_settings(prepared.threads):
        parts = Parts(folder, _identity(_beginning(prepared, bench), bench)) if folder else None
        return costs(prepared, parts)


def costs(prepared: Prepared, parts: Parts | None) -> list[Cost]:
    """As `plan_costs`, inside the compute settings of the audit."""
    stored = [bool(parts and parts.find(step.probe.name, step.probe.version, step.settings())) for step in prepared.steps]
    todo = [step for step, done in zip(prepared.steps, stored, strict=True) if not done]
    units = unit_costs(prepared.model, prepared.test, prepared.settings, prepared.bench().precision, todo)
    workload = prepared.workload
    views = Passes(forward=workload.test + workload.train)
    return [
        Cost("shared clean views", views, views.forward * units.forward if todo else 0.0, not todo),
        *(
            Cost(step.probe.name, step.cost(workload), 0.0 if done else units.seconds(step, workload), done)
            for step, done in zip(prepared.steps, stored, strict=True)
        ),
    ]


def _in_time(prepared: Prepared, costs: Sequence[Cost], seconds: float) -> tuple[list[Step], list[Finished]]:
    """The steps that will end within `seconds`, and the others as what stands on the card for them."""
    views, *probes = costs
    kept = fitting([cost.seconds for cost in probes], seconds - views.seconds)
    late = [
        left_out(step, f"left out to keep within the time allowed: it would take about {cost.seconds:.0f} s")
        for step, cost, keep in zip(prepared.steps, probes, kept, strict=True)
        if not keep
    ]
    return [step for step, keep in zip(prepared.steps, kept, strict=True) if keep], late


def _open_test(request: Request, model: LoadedModel) -> tuple[ImageSet, CorruptedSet | None]:
    """The clean test images and, where a stored set was asked for, its corrupted versions of them."""
    if not is_stored(request.data, synthesise=request.synthesise):
        return _open(clean_spec(request.data), request, model, limit=request.limit), None
    images, corrupted = open_paired(
        request.data,
        limit=request.limit,
        allow_partial=request.allow_partial,
        preprocessing=model.subject.preprocessing,
        search=request.search,
        reading=request.reading,
    )
    return _fitted(images, model), corrupted


def _open(spec: str, request: Request, model: LoadedModel, *, limit: int | None) -> ImageSet:
    images = open_images(
        spec, limit=limit, preprocessing=model.subject.preprocessing, search=request.search, reading=request.reading
    )
    return _fitted(images, model)


def _fitted(images: ImageSet, model: LoadedModel) -> ImageSet:
    """The images as the network will see them: as many classes as it has outputs, and a note on what is adapted."""
    named = images.classes_declared
    images = images.matched_to(model.subject.num_classes)
    notes = [*images.notes, *_adaptations(images, model.subject.preprocessing.input_size)]
    if not named and model.classes and len(set(model.classes)) == len(model.classes):
        images = replace(images, classes=model.classes)
        notes.append(f"names of the classes from the checkpoint's {model.classes_origin}")
    return replace(images, notes=tuple(notes))


def _adaptations(images: ImageSet, input_size: Sequence[int]) -> list[str]:
    """What stands between the stored images and the network's input, for the notes on the card."""
    height, width, channels = images.shape
    notes = []
    if channels != input_size[0]:
        notes.append(f"{channels} channels become {input_size[0]}, as the network takes them")
    if [height, width] != [*input_size[1:]]:
        notes.append(f"images of {height}×{width} are resized to the network's {input_size[1]}×{input_size[2]}")
    return notes


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
        "data": prepared.test.record(),
        "train_data": prepared.train.record() if prepared.train is not None else None,
        "probe_set": bench.probe_set if curved else None,
        "corruptions": bench.corruption_source if corrupting else None,
        "environment": environment(prepared.settings.device),
        "config": dict(request.settings),
        "seed": request.bench.seed,
    }


def _setup(prepared: Prepared) -> SetupCheck | None:
    """What a few images say about the set-up; it decides no finding, so it is no part of the audit's identity."""
    if not prepared.request.setup_check:
        return None
    model, settings = prepared.model, prepared.settings
    return check_setup(
        model.module, model.subject.preprocessing, prepared.test, device=settings.device, seed=prepared.request.bench.seed
    )


def _identity(begun: Mapping[str, Any], bench: Workbench) -> dict[str, Any]:
    """What decides the findings of every probe, whichever of them are run; the file's name and origins of settings do not."""
    decides = {"subject", "data", "train_data", "environment"}
    identity = {name: value and value.model_dump(mode="json") for name, value in begun.items() if name in decides}
    return {
        **identity,
        "subject": {**identity["subject"], "file": None},
        "probe_set": bench.probe_set.model_dump(mode="json"),
        "corruptions": bench.corruption_source.model_dump(mode="json"),
        "seed": begun["seed"],
    }


def _run(begun: Mapping[str, Any], finished: Sequence[Finished], started: tuple[float, datetime], bench: Workbench) -> Run:
    """The card and the columns, from what the audit began with and what came of each probe."""
    outcomes = [item.outcome for item in finished]
    measurements = sorted((m for outcome in outcomes for m in outcome.measurements), key=lambda m: m.name)
    missing = [item.outcome.probe for item in finished if item.left_out]
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
        tables={name: table for outcome in outcomes for name, table in outcome.tables.items()},
        incomplete=missing,
        reading=[*_incompleteness(missing), *reading(measurements)],
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
    return Run(card, {view: named for item in finished for view, named in item.columns.items()})


def _incompleteness(missing: Sequence[str]) -> list[str]:
    """The sentence that a card begins with when probes were left out."""
    if not missing:
        return []
    were = "was" if len(missing) == 1 else "were"
    return [f"This card is incomplete: {', '.join(missing)} {were} not measured. The same command, given again, continues."]
