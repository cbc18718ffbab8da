"""Does sharper go with safer? Each flatness measure of a pair is read against each safety metric, and neither decides alone."""

from __future__ import annotations

from collections.abc import Sequence

from sharpaudit.card.invariance import is_invariant
from sharpaudit.card.measures import role
from sharpaudit.comparison.records import Difference, Quadrant, QuadrantName, Verdict

WORDS: dict[tuple[Verdict | None, Verdict | None], QuadrantName] = {
    ("sharper", "better"): "sharper and safer",
    ("sharper", "worse"): "sharper and less safe",
    ("flatter", "better"): "flatter and safer",
    ("flatter", "worse"): "flatter and less safe",
    ("identical", "identical"): "identical",
}


def quadrants(differences: Sequence[Difference]) -> list[Quadrant]:
    """One reading for each pair of a flatness measure and a safety metric; undecided unless both sides are decided."""
    return [
        Quadrant(
            flatness=flatness.name,
            safety=safety.name,
            quadrant=WORDS.get((flatness.verdict, safety.verdict), "undecided"),
            invariant=is_invariant(flatness.name, flatness.rescaling),
        )
        for flatness in differences
        if role(flatness) == "flatness"
        for safety in differences
        if role(safety) == "safety"
    ]
