"""How does a number become a measurement? With the unit and the better direction of its entry in the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sharpaudit.card import Measured, Scalar
from sharpaudit.card.measures import Measure, find
from sharpaudit.stats import Estimate

NONE: Mapping[str, Scalar] = MappingProxyType({})


def measured(
    what: str | Measure,
    found: Estimate,
    n: int,
    method: str,
    options: Mapping[str, Scalar] = NONE,
    *,
    unit: str | None = None,
    converged: bool | None = None,
    iterations: int | None = None,
    residual: float | None = None,
) -> Measured:
    """The measurement that `what` names.

    Args:
        what: a name of the catalogue, with its qualifiers, or a plug-in's own entry.
        found: value, and interval or the reason for none.
        n: examples behind it, or draws where `method` says so.
        method: how it was obtained, in a few words.
        options: settings that change the value.
        unit: instead of the catalogue's, where a setting changes it.
        converged: for iterative numbers, whether the stopping rule was met.
        iterations: how many were spent.
        residual: of an eigenvalue, or as `method` says.
    """
    entry = find(what) if isinstance(what, str) else what
    assert entry is not None, f"{what} is not in the catalogue"
    return Measured(
        name=what if isinstance(what, str) else entry.name,
        value=found.value,
        unit=unit or entry.scale.unit,
        direction=entry.direction,
        n=n,
        ci=found.ci,
        reason=None if found.ci else found.reason,
        method=method,
        options=dict(options),
        converged=converged,
        iterations=iterations,
        residual=residual,
    )
