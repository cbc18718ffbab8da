"""What does a comparison of many keep of each run? Its numbers and the classes it predicted, so that a thousand fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Card, Declared, Measured
from sharpaudit.card.comparable import mismatches
from sharpaudit.card.measures import role
from sharpaudit.errors import CardError, clean
from sharpaudit.metrics.predictions import Predictions

Classes = NDArray[np.unsignedinteger]
Labels = NDArray[np.int64]

FEW = 5
"""Mismatches that one message lists."""


@dataclass(frozen=True)
class Member:
    """One of the models compared."""

    file: str
    sha256: str
    architecture: str
    suspicions: list[str]
    """What the set-up check of its card flagged."""
    values: Mapping[str, float]
    """Its flatness and safety, by measurement."""
    declared: Mapping[str, Declared]
    """What plug-ins say of their numbers."""
    prediction: Classes | None
    """The class of each clean example; None where the run does not keep it."""

    @classmethod
    def of(cls, card: Card, views: Mapping[str, Predictions]) -> Member:
        """What is kept of a run."""
        clean_view = views.get("clean")
        return cls(
            file=card.subject.file,
            sha256=card.subject.sha256,
            architecture=card.subject.architecture,
            suspicions=[check.name for check in card.setup.flagged] if card.setup else [],
            values={m.name: m.value for m in card.measurements if isinstance(m, Measured) and role(m) != "neither"},
            declared={m.name: m.declared for m in card.measurements if isinstance(m, Measured) and m.declared},
            prediction=None if clean_view is None else clean_view.prediction.astype(np.min_scalar_type(len(card.data.classes))),
        )


@dataclass(frozen=True)
class Members:
    """Audits of the same data."""

    first: Card
    """What all of them have in common stands here."""
    members: list[Member]
    labels: Labels | None
    """Of the clean examples; None where no run keeps its predictions."""


def members(runs: Iterable[tuple[Card, Mapping[str, Predictions]]]) -> Members:
    """What is kept of each of `runs`, which are taken and let go one by one.

    Raises:
        CardError: fewer than two, or they are not of the same data, seed, versions and examples.
    """
    first: Card | None = None
    labels: Labels | None = None
    found: list[Member] = []
    differing: list[str] = []
    for card, views in runs:
        first = first or card
        differing += [f"{clean(card.subject.file)}: {clean(str(m))}" for m in mismatches(first, card)]
        if "clean" in views:
            labels = views["clean"].labels if labels is None else labels
            if not np.array_equal(labels, views["clean"].labels):
                raise CardError(
                    f"the stored predictions do not fit together: {clean(card.subject.file)} saw other examples",
                    hint="measure again",
                )
        found.append(Member.of(card, views))
    if first is None or len(found) < 2:
        raise CardError(f"a comparison needs at least two cards, got {len(found)}")
    if differing:
        more = f"; and {len(differing) - FEW} more" if len(differing) > FEW else ""
        raise CardError(
            f"these audits cannot be compared with {clean(first.subject.file)}: {'; '.join(differing[:FEW])}{more}",
            hint="measure all of them on the same data with the same seed and version",
        )
    return Members(first, found, labels)
