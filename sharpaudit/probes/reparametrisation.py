"""Which flatness measures speak of the function that was learned, and which of the weights that happen to write it down?

Why it matters
    Dinh et al. (2017) made any ReLU minimum as sharp as they liked without changing the function: multiply one layer, divide the
    next. A measure that moves under that says nothing about two networks side by side. Which do is known for plain networks;
    here it is tried on this one.

How it is computed
    Pairs of layers between which scale can be traded (through ReLU and pooling, behind the scale and shift of a normalisation, or
    with the running statistics of BatchNorm) are found in the graph of a forward pass. All of them are rescaled by `alpha` in
    float64, once layer by layer and once with a factor of its own for each unit, and the logits are compared: nothing is claimed
    unless they agree to 1e-6. Then every probe that measures sharpness or flatness runs again on a few images of the probe set,
    before and after, with few draws. The table holds both readings, their ratio and the verdict; what moves by less than 1e-6 is
    invariant. `reparametrisation.moved` counts the measures that moved.

When not to trust it
    The readings in the table are of a few images: only their ratio means anything. An iteration that did not converge decides
    nothing unless the change exceeds its error. Invariance to rescaling is not invariance to every reparametrisation. Networks
    in which nothing can be rescaled (every layer between GELUs, sums or ReLU6) are not tested.

Sources
    Dinh, Pascanu, Bengio and Bengio 2017 (arXiv 1703.04933); Petzka et al. 2021 (units); Kwon et al. 2021 (adaptive sharpness).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sharpaudit import probes
from sharpaudit.card import Measured, Scalar, Skipped, Table
from sharpaudit.card.invariance import COLUMNS, TABLE, Verdict
from sharpaudit.card.measures import GEOMETRY
from sharpaudit.curvature.network.copies import copied
from sharpaudit.curvature.reparametrisation import rescale
from sharpaudit.errors import SharpauditError, UsageError
from sharpaudit.probes import Finding, NamedTable, Need, NotApplicable, Passes, Probe, Workbench, Workload, measured, probe
from sharpaudit.stats import Estimate

FEW: Mapping[str, Mapping[str, Any]] = {
    "average_case": {"draws": 4},
    "first_order": {"iterations": 3},
    "keskar": {"iterations": 3},
    "pac_bayes": {"draws": 4, "steps": 6},
    "slices": {"points": 5},
    "worst_case": {"iterations": 3},
    "perturbation": {"draws": 4, "paper_draws": 2},
    "spectrum": {
        "max_iterations": 15,
        "trace_probes": 4,
        "density_starts": 2,
        "density_steps": 6,
        "soft_rank_starts": 2,
        "soft_rank_steps": 16,
    },
}
"""Settings with which probes run here; the others run with their defaults, where those are cheap enough."""

UNMOVED = 1e-6
"""Largest relative change that rounding explains: float64 leaves 1e-9 of it or less in what is invariant."""

ROUNDING = 1e-12
"""Changes below this are rounding, however small the measure."""

VERIFIED = 4
"""Images on which the logits are compared."""

NETWORKS = 3
"""As it is, rescaled by layers, rescaled by units."""

Readings = dict[str, Measured | Skipped]


@dataclass(frozen=True, kw_only=True)
class ReparametrisationOptions:
    """Settings of the reparametrisation probe."""

    alpha: float = 10.0
    """The factor."""
    examples: int = 8
    """Images of the probe set on which the measures are taken before and after."""
    passes: int = 600
    """Most forward passes of those images that a probe may cost to be tried; dearer ones are not tested."""

    def __post_init__(self) -> None:
        """Validate the options."""
        if not 1 < self.alpha <= 1e6:
            raise UsageError(f"reparametrisation.alpha: expected a factor above 1 and up to a million, got {self.alpha}")
        if self.examples < 2:
            raise UsageError(f"reparametrisation.examples: expected at least 2, got {self.examples}")


def cost(workload: Workload, options: ReparametrisationOptions) -> Passes:
    """Every probe that is tried, on three networks, and the verification of two; a float64 pass counts as two."""
    few = _few(workload, options)
    each = [found.cost(few, _settings(found)) for found in _tried(few, options)]
    return Passes(
        forward=2 * NETWORKS * (2 * few.test + sum(passes.forward for passes in each)),
        backward=2 * NETWORKS * (few.test + sum(passes.backward for passes in each)),
        hvp=2 * NETWORKS * sum(passes.hvp for passes in each),
        ggn=2 * NETWORKS * sum(passes.ggn for passes in each),
    )


@probe(
    needs={Need.OBJECTIVE},
    version=1,
    cost=cost,
)
def reparametrisation(bench: Workbench, options: ReparametrisationOptions) -> Iterator[Finding]:
    """Yield how much was rescaled, how far the logits and how many measures moved, and the table of all of them."""
    objective = bench.objective
    few = _few(Workload(0, 0, objective.num_examples, objective.num_classes, objective.num_parameters), options)
    layers = rescale(objective.module, objective.inputs[:VERIFIED], options.alpha, "layers")
    units = rescale(objective.module, objective.inputs[:VERIFIED], options.alpha, "units")
    if layers is None or units is None:
        raise NotApplicable("nothing in the network can be rescaled without changing its function")
    tried = _tried(few, options)
    before = _readings(bench, objective.module, few.test, tried, bench.progress(0.0, 1 / NETWORKS))
    after = _readings(bench, layers.module, few.test, tried, bench.progress(1 / NETWORKS, 2 / NETWORKS))
    doubtful = [
        found for found in tried if any(found.declares(name) and _unmoved(before[name], after.get(name)) for name in before)
    ]
    by_unit = _readings(bench, units.module, few.test, doubtful, bench.progress(2 / NETWORKS, 1.0))
    rows = [_row(name, before[name], after.get(name), by_unit.get(name)) for name in sorted(before)]
    rows += [_dear(name, options) for found in _geometric() if found not in tried for name in sorted(found.measures)]
    yield NamedTable(TABLE, Table(columns=list(COLUMNS), rows=rows))
    for name, value, n, reason in (
        ("pairs", len(layers.pairs), len(layers.pairs), "a count"),
        ("logit_change", max(layers.change, units.change), len(objective.inputs[:VERIFIED]), "a largest rounding error"),
        ("moved", *_count(rows), "a count"),
    ):
        settings = {"alpha": options.alpha, "examples": few.test}
        yield measured(f"reparametrisation.{name}", Estimate(value, None, reason), n, METHODS[name], settings)


METHODS = {
    "pairs": "layers or norms whose scale was traded, each once; found in the graph of a forward pass",
    "logit_change": "largest change of a logit over the largest logit, float64, after rescaling by layers and by units",
    "moved": "measures that changed by more than 1e-6 and their own numerical error when layers were rescaled; n were decided",
}


def _geometric() -> list[Probe]:
    """The probes that measure sharpness or flatness."""
    found = [probes.find(name) for name in probes.names() if name != "reparametrisation"]
    return [each for each in found if any(name.startswith(GEOMETRY) for name in each.measures)]


def _tried(few: Workload, options: ReparametrisationOptions) -> list[Probe]:
    """Those that are cheap enough here."""
    limit = options.passes * few.test
    return [found for found in _geometric() if found.cost(few, _settings(found)).forward_equivalents <= limit]


def _settings(found: Probe) -> Any:
    return found.options(**FEW.get(found.name, {}))


def _few(workload: Workload, options: ReparametrisationOptions) -> Workload:
    """The work left when a few images of the probe set are all the data there is."""
    n = min(options.examples, workload.probe_set)
    return replace(workload, test=n, train=0, probe_set=n)


def _readings(
    bench: Workbench, module: nn.Module, n: int, tried: Sequence[Probe], on_progress: Callable[[float], None]
) -> Readings:
    """What the probes say of `module` on `n` images of the probe set, by name."""
    readings: Readings = {}
    with bench.beside(_Exact(copied(module, torch.float64)), n) as small:
        for number, found in enumerate(tried):
            on_progress(number / len(tried))
            try:
                findings = list(found(small.narrowed(found.name, found.needs), _settings(found)))
            except (NotApplicable, SharpauditError) as refusal:
                reason = getattr(refusal, "message", str(refusal))
                findings = [Skipped(name=name, reason=reason) for name in found.measures]
            readings |= {f.name: f for f in findings if isinstance(f, Measured | Skipped) and f.name.startswith(GEOMETRY)}
    return readings


class _Exact(nn.Module):
    """A float64 network that takes images of any precision."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images.to(torch.float64))
        return logits


def _row(
    name: str, before: Measured | Skipped, after: Measured | Skipped | None, by_unit: Measured | Skipped | None
) -> list[Scalar]:
    """A line of the table."""
    for reading in (before, after):
        if not isinstance(reading, Measured):
            return [name, None, None, None, None, "not tested", reading.reason if reading else "missing after rescaling"]
    assert isinstance(before, Measured) and isinstance(after, Measured)
    whole, unit = _unmoved(before, after), _unmoved(before, by_unit)
    verdict: Verdict
    reason = ""
    if whole is None or (whole and unit is None):
        verdict, reason = "not tested", "the change is within the error of an iteration that did not converge"
    elif not whole:
        verdict = "not invariant"
    else:
        verdict = "invariant" if unit else "invariant for whole layers"
    return [name, before.value, after.value, _ratio(before, after), _ratio(before, by_unit), verdict, reason]


def _dear(name: str, options: ReparametrisationOptions) -> list[Scalar]:
    return [name, None, None, None, None, "not tested", f"costs more than {options.passes} forward passes an image"]


def _unmoved(before: Measured | Skipped, after: Measured | Skipped | None) -> bool | None:
    """Whether a measure stayed; None where its own error leaves that open."""
    if not isinstance(before, Measured) or not isinstance(after, Measured):
        return None
    change, size = abs(after.value - before.value), max(abs(after.value), abs(before.value))
    error = sum((m.residual or 0.0) * abs(m.value) for m in (before, after))
    if change <= max(UNMOVED * size, ROUNDING):
        return True
    return False if change > UNMOVED * size + error else None


def _ratio(before: Measured, after: Measured | Skipped | None) -> float | None:
    return after.value / before.value if isinstance(after, Measured) and before.value else None


def _count(rows: Sequence[Sequence[Scalar]]) -> tuple[int, int]:
    """How many measures moved, of how many that were decided."""
    found = [row[COLUMNS.index("verdict")] for row in rows]
    return found.count("not invariant"), len(found) - found.count("not tested")
