"""What will be run, with which options, at what cost? Decided, and refused, before the checkpoint is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from sharpaudit import probes
from sharpaudit.errors import UnknownName, UsageError, clean
from sharpaudit.probes import Passes, Probe, Workload
from sharpaudit.workbench import Need

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "quick": {
        "accuracy": {},
        "calibration": {},
        "fisher_rao": {},
        "relative_flatness": {},
        "perturbation": {"draws": 40},
    },
    "standard": {
        "accuracy": {},
        "calibration": {},
        "fisher_rao": {},
        "relative_flatness": {},
        "perturbation": {},
        "average_case": {},
        "worst_case": {"iterations": 13},
        "spectrum": {},
        "reparametrisation": {},
        "corruption": {"severities": (1, 3, 5)},
    },
    "deep": {
        "average_case": {
            "l2": (0.05, 0.1, 0.2, 0.4),
            "l2_adaptive": (0.05, 0.1, 0.2, 0.4),
            "linf": (0.1, 0.2, 0.4, 0.8),
            "linf_adaptive": (0.1, 0.2, 0.4, 0.8),
        },
        "worst_case": {
            "l2": (0.25, 0.5),
            "l2_adaptive": (0.5, 1.0),
            "linf": (5e-4, 1e-3),
            "linf_adaptive": (1e-3, 2e-3),
            "normalised": True,
        },
        "spectrum": {
            "max_iterations": 300,
            "trace_probes": 200,
            "density_starts": 10,
            "density_steps": 80,
            "soft_rank_starts": 10,
            "soft_rank_steps": 80,
            "sums_tolerance": 0.01,
        },
        "information": {"soft_rank_starts": 10, "soft_rank_steps": 80, "sums_tolerance": 0.01},
        "corruption": {"samples": 1_000_000_000},
    },
}
"""Probes of each preset and the options that differ from the probes' own defaults; ``deep`` runs every other probe too."""


@dataclass(frozen=True)
class Step:
    """One probe and the options it will run with."""

    probe: Probe
    options: Any

    def cost(self, workload: Workload) -> Passes:
        """What the probe sends through the model, beyond the shared clean views."""
        return self.probe.cost(workload, self.options)

    def settings(self) -> dict[str, Any]:
        """The options as JSON types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.options).items()}


def plan(selection: str, options: Mapping[str, Mapping[str, Any]] | None = None) -> list[Step]:
    """The steps for `selection`, a preset or probe names separated by commas, in an order that serves shared needs first.

    Args:
        selection: presets and probes, for example ``standard`` or ``quick,spectrum``; plug-ins only by their names.
        options: probe → option → value; values may be text, as on a command line.

    Raises:
        UnknownName: a probe or an option that does not exist.
        UsageError: a value of the wrong type, a probe named twice, options for a probe that is not run.
    """
    options = options or {}
    chosen = _chosen(selection)
    idle = sorted(set(options) - set(chosen))
    if idle:
        probes.find(idle[0])
        raise UsageError(f"options were given for '{idle[0]}', which is not run", hint=f"probes run: {', '.join(chosen)}")
    steps = [_step(probes.find(name), {**preset, **options.get(name, {})}) for name, preset in chosen.items()]
    return sorted(steps, key=lambda step: (Need.OBJECTIVE in step.probe.needs, Need.CORRUPTED in step.probe.needs))


def _chosen(selection: str) -> dict[str, Mapping[str, Any]]:
    """Every probe that is asked for, with the options that its preset gives it."""
    words = [word.strip() for word in selection.split(",")]
    if not all(words):
        raise UsageError("no probe was named", hint=f"presets: {', '.join(PRESETS)}; probes: {', '.join(probes.names())}")
    repeated = next((word for word in words if words.count(word) > 1), None)
    if repeated:
        raise UsageError(f"probe '{repeated}' is named twice")
    known = [*PRESETS, *probes.names(), *probes.plugins()]
    chosen: dict[str, Mapping[str, Any]] = {}
    for word in words:
        if word not in known:
            raise UnknownName("probe or preset", word, known)
        if word == "deep":
            chosen |= {name: {} for name in probes.names()}
        chosen |= PRESETS.get(word, {word: chosen.get(word, {})})
    return chosen


def _step(probe: Probe, options: Mapping[str, Any]) -> Step:
    known = [field.name for field in fields(probe.options)]
    for name in options:
        if name not in known:
            raise UnknownName(f"option of probe '{probe.name}'", name, known)
    several = {name for name, hint in get_type_hints(probe.options).items() if get_origin(hint) is tuple}
    given = {name: [*filter(None, v.split(","))] if name in several and isinstance(v, str) else v for name, v in options.items()}
    try:
        return Step(probe, TypeAdapter(probe.options).validate_python(given))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([probe.name, *(str(part) for part in first["loc"])])
        raise UsageError(f"{where}: {clean(first['msg'])}, got {clean(repr(first['input']))}") from error


def total(steps: Sequence[Step], workload: Workload) -> Passes:
    """The whole plan: the shared clean views once, and each probe's own passes."""
    costs = [step.cost(workload) for step in steps]
    return Passes(
        forward=workload.test + workload.train + sum(cost.forward for cost in costs),
        backward=sum(cost.backward for cost in costs),
        hvp=sum(cost.hvp for cost in costs),
        ggn=sum(cost.ggn for cost in costs),
    )
