"""What is a probe? A function from a workbench to measurements, found by the name of its file.

    @probe(needs={Need.PREDICTIONS}, version=1, measures=["clean.accuracy"], cost=no_passes)
    def accuracy(bench: Workbench, options: AccuracyOptions) -> Iterator[Finding]: ...

The file is the registry: `find("accuracy")` imports `sharpaudit.probes.accuracy` and takes the probe of that name; packages add
theirs through the entry-point group ``sharpaudit.probes``. The module docstring is what ``sharpaudit probes NAME`` prints.
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
from importlib.metadata import entry_points
from inspect import getdoc, signature
from typing import Any

from sharpaudit.card import Measured, Skipped, Table
from sharpaudit.errors import UnknownName
from sharpaudit.workbench import Need, NotApplicable, Workbench

__all__ = ["Finding", "NamedTable", "Need", "NotApplicable", "Passes", "Probe", "Workbench", "Workload", "find", "names", "probe"]

ENTRY_POINTS = "sharpaudit.probes"


@dataclass(frozen=True)
class NamedTable:
    """A table and the name it has on the card."""

    name: str
    table: Table


Finding = Measured | Skipped | NamedTable
"""What a probe yields; `execute` stamps probe and version on it."""


@dataclass(frozen=True)
class Workload:
    """What the cost of a probe depends on."""

    test: int
    train: int
    probe_set: int
    classes: int
    parameters: int


@dataclass(frozen=True)
class Passes:
    """Examples a probe sends through the model, beyond the shared clean views."""

    forward: int = 0
    backward: int = 0
    hvp: int = 0

    @property
    def forward_equivalents(self) -> int:
        """One backward pass costs about two forward passes, a Hessian-vector product about six."""
        return self.forward + 2 * self.backward + 6 * self.hvp


@dataclass(frozen=True)
class Probe:
    """A probe as declared in its file."""

    name: str
    function: Callable[[Workbench, Any], Iterator[Finding]]
    options: type
    needs: frozenset[Need]
    version: int
    measures: tuple[str, ...]
    """Every name it may yield; ``*`` stands for a qualifier."""
    cost: Callable[[Workload, Any], Passes]

    def __call__(self, bench: Workbench, options: Any) -> Iterator[Finding]:
        """Run on a bench narrowed to what was declared."""
        return self.function(bench, options)

    def declares(self, name: str) -> bool:
        """Whether `name` is one of the names in `measures`."""
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in self.measures)

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
    *, needs: Collection[Need], version: int, measures: Sequence[str], cost: Callable[[Workload, Any], Passes] | None = None
) -> Callable[[Callable[[Workbench, Any], Iterator[Finding]]], Probe]:
    """Declare the decorated function a probe; it bears the name of its file."""

    def declare(function: Callable[[Workbench, Any], Iterator[Finding]]) -> Probe:
        options = typing.get_type_hints(function)[list(signature(function).parameters)[1]]
        return Probe(
            name=function.__name__,
            function=function,
            options=options,
            needs=frozenset(needs),
            version=version,
            measures=tuple(measures),
            cost=cost or (lambda workload, options: Passes()),
        )

    return declare


def names() -> list[str]:
    """The probes there are: one per file of this package, and those of installed plug-ins."""
    ours = [module.name for module in pkgutil.iter_modules(__path__)]
    return sorted({*ours, *(entry.name for entry in entry_points(group=ENTRY_POINTS))})


def find(name: str) -> Probe:
    """The probe called `name`.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name not in names():
        raise UnknownName("probe", name, names())
    plugins = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    found = plugins[name].load() if name in plugins else getattr(import_module(f"{__name__}.{name}"), name)
    assert isinstance(found, Probe), f"{name} is not declared with @probe"
    return found
