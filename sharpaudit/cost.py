"""How long will an audit take, and what of it fits into a given time?

The passes that a probe declares are turned into seconds by timing each kind of pass on a few images of this audit, with this
model on this machine. What is not passes (bootstraps, eigenproblems of small matrices) is left out: little of any audit whose
network is worth auditing, and most of the audit of a tiny one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from sharpaudit import corruptions
from sharpaudit.checkpoints import LoadedModel
from sharpaudit.curvature.objective import Objective
from sharpaudit.data import ImageSet
from sharpaudit.device import wait
from sharpaudit.plan import Step
from sharpaudit.prepare import Prepared
from sharpaudit.probes import Passes, Workload
from sharpaudit.request import BenchSettings
from sharpaudit.store import Parts
from sharpaudit.workbench import Need, Workbench

CURVATURE_IMAGES = 128
"""Most images in the trial of the curvature."""
CORRUPTED_PIXELS = 2**16
"""About as many in the trial of the corruptions: small images are corrupted many at a time, as in the audit."""
TRIAL_SECONDS = 2.0
"""About how long the trial of the dearest pass may take; a slow network is tried on fewer images."""


@dataclass(frozen=True)
class UnitCosts:
    """Seconds for one image."""

    forward: float
    """Through the network, without gradient, per-example columns included."""
    loss: float = 0.0
    """The same in the precision of the curvature computations."""
    backward: float = 0.0
    """A gradient, forward included."""
    hvp: float = 0.0
    """A Hessian-vector product, with what it costs to build again the graphs that are too many to keep."""
    ggn: float = 0.0
    """A Gauss-Newton-vector product on the same."""
    corruption: float = 0.0
    """One corruption, mean over all of them."""

    def seconds(self, step: Step, workload: Workload) -> float:
        """What the passes of `step` take, beyond the shared clean views."""
        passes, needs = step.cost(workload), step.probe.needs
        forward = self.loss if Need.OBJECTIVE in needs else self.forward
        if Need.CORRUPTED in needs:
            forward += self.corruption
        return passes.forward * forward + passes.backward * self.backward + passes.hvp * self.hvp + passes.ggn * self.ggn


def unit_costs(model: LoadedModel, test: ImageSet, settings: BenchSettings, precision: str, steps: Sequence[Step]) -> UnitCosts:
    """Time what `steps` need, each kind of pass on a few images; leaves `model` as it was."""
    needs = {need for step in steps for need in step.probe.needs}

    def trial(images: int, **changes: Any) -> Workbench:
        return Workbench(model, test.limited(min(images, len(test))), None, replace(settings, **changes))

    def predict(images: int) -> float:
        bench = trial(images)
        return _seconds(lambda: bench.predictions) / len(bench.predictions)

    batch = trial(1).batch_size
    predict(1)
    images = max(1, min(batch, int(TRIAL_SECONDS / max(predict(4), 1e-6))))
    forward = min(predict(images), predict(images))
    costs = UnitCosts(forward)
    if Need.OBJECTIVE in needs:
        images = max(1, min(CURVATURE_IMAGES, settings.probe_examples, int(TRIAL_SECONDS / (20 * forward))))
        bench = trial(images, probe_examples=images, precision=precision)
        costs = bench.within_memory(lambda: _with_curvature(costs, bench.objective, settings.probe_examples))
    if Need.CORRUPTED in needs:
        height, width, _ = test.shape
        wanted = min(batch, max(16, CORRUPTED_PIXELS // (height * width)))
        some = torch.tensor(test.images[0:wanted], device=settings.device)
        indices = torch.arange(len(some), device=settings.device)
        each = [_best(partial(corruptions.corrupt, some, name, 3, indices=indices, seed=0)) for name in corruptions.NAMES]
        costs = replace(costs, corruption=sum(each) / (len(each) * len(some)))
    return costs


def _with_curvature(costs: UnitCosts, objective: Objective, examples: int) -> UnitCosts:
    n, direction = objective.num_examples, torch.ones_like(objective.parameters)
    backward = _best(objective.gradient) / n
    again = backward * max(0.0, 1 - objective.shards.within.graph_bytes / (objective.shards.memory * examples / n))
    return replace(
        costs,
        loss=_best(objective.losses) / n,
        backward=backward,
        hvp=_best(lambda: objective.hvp(direction)) / n + again,
        ggn=_best(lambda: objective.ggn_product(direction)) / n + again,
    )


@dataclass(frozen=True)
class Cost:
    """What one probe sends through the model, and how long that will take."""

    probe: str
    passes: Passes
    seconds: float
    stored: bool = False
    """An earlier run has it already."""


def costs(prepared: Prepared, parts: Parts | None) -> list[Cost]:
    """The costs of the shared clean views and of each probe, in order; to be called inside the compute settings of the audit."""
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


def fitting(seconds: Sequence[float], budget: float) -> list[bool]:
    """Which of the works that take `seconds` to do within `budget`: the dearest are left out first."""
    kept = [True] * len(seconds)
    for place in sorted(range(len(seconds)), key=lambda i: -seconds[i]):
        if sum(s for s, keep in zip(seconds, kept, strict=True) if keep) <= budget:
            break
        kept[place] = False
    return kept


def too_long(seconds: float, left: float) -> str:
    """Why a work that takes `seconds` is left out where `left` remains for all of them."""
    if left <= 0:
        return "nothing is left of it after reading, timing and the predictions that all probes share"
    return f"it would take about {seconds:.0f} s" if seconds >= 1 else "it would take less than 1 s, and that was not left"


def _best(work: Callable[[], object]) -> float:
    """Seconds of `work`, the faster of two runs after one that warms up."""
    work()
    return min(_seconds(work), _seconds(work))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - started
