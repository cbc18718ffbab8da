"""What is a probe? A function from a workbench to measurements, found by the name of its file.

    @probe(needs={Need.PREDICTIONS}, version=1)
    def accuracy(bench: Workbench, options: AccuracyOptions) -> Iterator[Finding]: ...

The file is the registry: `find("accuracy")` imports `sharpaudit.probes.accuracy` and takes the probe of that name. The module
docstring is what ``sharpaudit probes NAME`` prints; what it measures stands in the catalogue, `sharpaudit.card.measures`. Other
packages add theirs, with entries of their own, through the entry-point group ``sharpaudit.probes``: code of others, which runs
only where it is asked for by name, never takes the place of ours, and stands on the card with its package.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import pkgutil
import re
import typing
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from inspect import getdoc, signature
from typing import Any

from sharpaudit.card import Measured, Skipped, Table
from sharpaudit.card.measures import MEASURES, Measure, measured_by
from sharpaudit.errors import EnvironmentFailure, UnknownName, clean
from sharpaudit.metrics.measured import measured
from sharpaudit.metrics.terms import Terms
from sharpaudit.workbench import Need, NotApplicable, Workbench

__all__ = [
    "Finding",
    "NamedTable",
    "Need",
    "NotApplicable",
    "Passes",
    "Probe",
    "Terms",
    "Workbench",
    "Workload",
    "find",
    "measured",
    "names",
    "plugins",
    "probe",
]

ENTRY_POINTS = "sharpaudit.probes"


@dataclass(frozen=True)
class NamedTable:
    """A table and the name it has on the card."""

    name: str
    table: Table


Finding = Measured | Skipped | NamedTable | Terms
"""What a probe yields; `execute` stamps probe and version on numbers, and keeps terms beside the predictions."""


@dataclass(frozen=True)
class Workload:
    """What the cost of a probe depends on."""

    test: int
    train: int
    probe_set: int
    classes: int
    parameters: int
    formulas_only: bool = True
    """Whether all gradients' norms follow from the layers' inputs and outputs; without, some must be formed for every example."""
    piecewise_linear: bool = False
    """In every single weight, which makes the Hessian's trace that of the Gauss-Newton matrix."""
    whole_ggn: float = float("inf")
    """Gauss-Newton products that take as long as all of the matrix."""


@dataclass(frozen=True)
class Passes:
    """Examples a probe sends through the model, beyond the shared clean views."""

    forward: int = 0
    backward: int = 0
    hvp: int = 0
    """Hessian-vector products."""
    ggn: int = 0
    """Gauss-Newton-vector products."""

    @property
    def forward_equivalents(self) -> int:
        """One backward pass costs about two forward passes, a Hessian-vector product six, a Gauss-Newton product five."""
        return self.forward + 2 * self.backward + 6 * self.hvp + 5 * self.ggn


@dataclass(frozen=True)
class Probe:
    """A probe as declared in its file."""

    name: str
    function: Callable[[Workbench, Any], Iterator[Finding]]
    options: type
    needs: frozenset[Need]
    version: int
    entries: tuple[Measure, ...]
    """Of every name it may yield."""
    cost: Callable[[Workload, Any], Passes]
    distribution: str | None = None
    """The package and version it came from; None for ours."""

    def __call__(self, bench: Workbench, options: Any) -> Iterator[Finding]:
        """Run on a bench narrowed to what was declared."""
        return self.function(bench, options)

    @property
    def measures(self) -> tuple[str, ...]:
        """Every name it may yield; ``*`` stands for a qualifier."""
        return tuple(entry.name for entry in self.entries)

    def entry(self, name: str) -> Measure | None:
        """The entry of a name that it may yield; None for others."""
        return next((entry for entry in self.entries if fnmatch.fnmatchcase(name, entry.name)), None)

    def declares(self, name: str) -> bool:
        """Whether it may yield `name`."""
        return self.entry(name) is not None

    @property
    def documentation(self) -> str:
        """Why it matters, how it is computed, when not to trust it, sources."""
        return getdoc(import_module(self.function.__module__)) or ""

    def option_table(self) -> list[tuple[str, str, object]]:
        """(name, type, default) of each option."""
        hints = typing.get_type_hints(self.options)

        def kind(hint: Any) -> str:
            return getattr(hint, "__name__", re.sub(r"\w+\.", "", str(hint)).removesuffix(" | None"))

        return [(f.name, kind(hints[f.name]), f.default) for f in dataclasses.fields(self.options)]


def probe(
    *,
    needs: Collection[Need],
    version: int,
    measures: Sequence[Measure | str] = (),
    cost: Callable[[Workload, Any], Passes] | None = None,
) -> Callable[[Callable[[Workbench, Any], Iterator[Finding]]], Probe]:
    """Declare the decorated function a probe; it bears the name of its file.

    Args:
        needs: what it may ask of the workbench.
        version: one more whenever its numbers change.
        measures: entries of a plug-in, or their names alone; ours have theirs in the catalogue.
        cost: the examples it sends through the model; else none beyond the shared clean views.
    """

    def declare(function: Callable[[Workbench, Any], Iterator[Finding]]) -> Probe:
        options = typing.get_type_hints(function)[list(signature(function).parameters)[1]]
        return Probe(
            name=function.__name__,
            function=function,
            options=options,
            needs=frozenset(needs),
            version=version,
            entries=tuple(each if isinstance(each, Measure) else Measure(each) for each in measures)
            or measured_by(function.__name__),
            cost=cost or (lambda workload, options: Passes()),
        )

    return declare


def names() -> list[str]:
    """The bundled probes: one per file of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def plugins() -> dict[str, str]:
    """The probes that other packages announce, each with its distribution and version; nothing of theirs is imported."""
    return {entry.name: _distribution(entry) for entry in _entries() if entry.name not in names()}


def find(name: str) -> Probe:
    """The probe called `name`; for one of another package this runs that package's code.

    Raises:
        UnknownName: there is none; the message lists those there are.
        EnvironmentFailure: a package announces it and does not deliver.
    """
    if name in names():
        found = getattr(import_module(f"{__name__}.{name}"), name)
        assert isinstance(found, Probe), f"{name} is not declared with @probe"
        return found
    entries = [entry for entry in _entries() if entry.name == name]
    if not entries:
        raise UnknownName("probe", name, [*names(), *plugins()])
    packages = sorted(_distribution(entry) for entry in entries)
    if len(packages) > 1:
        raise EnvironmentFailure(f"probe '{clean(name)}' is in {' and in '.join(packages)}", hint="uninstall all but one")
    return _foreign(entries[0], packages[0])


def _foreign(entry: EntryPoint, package: str) -> Probe:
    try:
        found = entry.load()
    except Exception as error:  # whatever the code of others does while it is imported
        reason = clean(f"{type(error).__name__}: {error}")
        raise EnvironmentFailure(f"probe '{clean(entry.name)}' of {package} cannot be loaded: {reason}") from error
    if not isinstance(found, Probe) or found.name != entry.name:
        raise EnvironmentFailure(f"'{clean(entry.name)}' of {package} is no probe of that name", hint="declare it with @probe")
    for name in found.measures:
        for ours in MEASURES:
            if fnmatch.fnmatchcase(name, ours.name) or fnmatch.fnmatchcase(ours.name, name):
                what = f"takes the name {clean(name)}, which '{ours.probe}' measures"
                raise EnvironmentFailure(f"probe '{clean(entry.name)}' of {package} {what}")
        if not name.startswith(f"{entry.name}."):
            what = f"measures {clean(name)}, whose name does not begin with '{clean(entry.name)}.'"
            raise EnvironmentFailure(f"probe '{clean(entry.name)}' of {package} {what}")
    return dataclasses.replace(found, distribution=package)


def _entries() -> list[EntryPoint]:
    return sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: (entry.name, _distribution(entry)))


def _distribution(entry: EntryPoint) -> str:
    return clean(f"{entry.dist.name} {entry.dist.version}") if entry.dist else "an unnamed package"
