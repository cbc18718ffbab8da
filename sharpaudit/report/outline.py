"""What does a report say, and in which order? One outline of the card, drawn by every renderer.

Text that came from outside (file names, class names, reasons) is still raw here: each renderer encodes it for its own sink.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sharpaudit.card import Card, Failed, Measured, Skipped
from sharpaudit.card.invariance import verdicts
from sharpaudit.card.measures import OF_A_CLASS, OF_CORRUPTION, listed, matches
from sharpaudit.card.reading import worst_class
from sharpaudit.compare.records import Difference
from sharpaudit.report import wording

FLATNESS, SAFETY, CALIBRATION = listed("flatness"), listed("safety"), listed("calibration")
"""The columns of a card. Flatness: one number for each idea of it, functions first; variants stand in the full list."""

TABLED = (OF_A_CLASS, OF_CORRUPTION)
"""What has tables of its own."""

FEW = 6
"""How many names of one kind are spelled out."""


def numbers(card: Card, names: Iterable[str]) -> list[Measured]:
    """The measurements among `names` for which a number was obtained, in that order; of forms, one of each kind."""
    by_name = {m.name: m for m in card.measurements if isinstance(m, Measured)}
    found: list[Measured] = []
    for name in names:
        if "*" in name:
            found += _plainest([m for key, m in by_name.items() if matches(name, key)])
        elif name in by_name:
            found.append(by_name[name])
    return found


def _plainest(family: Iterable[Measured]) -> list[Measured]:
    """One for each first qualifier, a norm or an attack: rather adaptive, with the logits as they are, and first on the card."""
    chosen: dict[str, Measured] = {}
    for m in sorted(family, key=lambda m: ("/normalised/" in m.name, "/adaptive/" not in m.name)):
        chosen.setdefault(m.name.split("/")[1], m)
    return list(chosen.values())


def others(card: Card, said: Iterable[str]) -> list[Measured]:
    """All numbers but those already `said`, and but single classes and single corruptions, which have tables of their own."""
    known = set(said)
    return [m for m in card.measurements if isinstance(m, Measured) and m.name not in known and not m.name.startswith(TABLED)]


def marks(card: Card) -> dict[str, str]:
    """The mark of each flatness measure that was tried under rescaling."""
    found = verdicts(card.measurements, card.tables)
    return {name: wording.MARKS[verdict] for name, verdict in found.items() if verdict in wording.MARKS}


def remarks(card: Card) -> dict[str, str]:
    """What stands behind a number beside its unit: which class is the worst."""
    worst = worst_class(card.measurements)
    return {"clean.worst_class_accuracy": f"({worst})"} if worst else {}


def bare(rows: Iterable[Measured | Difference]) -> list[str]:
    """Why numbers have no interval: one sentence a reason, with the measures it concerns."""
    grouped: dict[str, list[str]] = {}
    for row in rows:
        if row.ci is None and row.reason:
            grouped.setdefault(row.reason, []).append(wording.title(row.name))
    return [f"No interval for {', '.join(dict.fromkeys(titles))}: {reason}." for reason, titles in grouped.items()]


def flatness_note(card: Card) -> str:
    """What to know when reading the flatness column: that it grades nothing, and what its marks mean."""
    meanings = {
        "≡": "stays when layers are rescaled without changing the function",
        "≅": "stays when whole layers are, and moves with single units",
        "≢": "moves",
    }
    given = marks(card)
    shown = {given.get(m.name) for m in numbers(card, FLATNESS)}
    legend = "; ".join(f"{mark} {meaning}" for mark, meaning in meanings.items() if mark in shown)
    tried = f" {legend} (tried on this network; no mark: not tried)." if legend else ""
    return wording.NO_GOOD_DIRECTION + tried


@dataclass(frozen=True)
class Gap:
    """Numbers that are missing for one reason."""

    status: str
    names: list[str]
    reason: str

    @property
    def what(self) -> str:
        """The names, or a few of them and how many more."""
        more = len(self.names) - FEW
        return ", ".join(self.names) if more <= 1 else f"{', '.join(self.names[:FEW])} and {more} more"


def gaps(card: Card) -> list[Gap]:
    """What was not measured and why, failures first, one entry for each reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    missing = [m for m in card.measurements if isinstance(m, Skipped | Failed)]
    for m in missing:
        grouped.setdefault((m.status, m.reason), []).append(m.name)
    for probe in sorted(card.probes.keys() - {m.probe for m in missing}):
        run = card.probes[probe]
        if run.status != "measured":
            grouped.setdefault((run.status, run.reason or "no reason was given"), []).append(probe)
    found = [Gap(status, names, reason) for (status, reason), names in grouped.items()]
    return sorted(found, key=lambda gap: gap.status == "skipped")


def summary(card: Card) -> str:
    """The card in one sentence, made of measured numbers only."""
    parts = []
    if accuracy := card.measured("clean.accuracy"):
        right, n = wording.count(round(accuracy.value * accuracy.n)), wording.count(accuracy.n)
        parts.append(f"right on {right} of {n} images, accuracy {wording.estimate(accuracy)}")
    if ece := card.measured("calibration.ece"):
        floor = card.measured("calibration.ece_floor")
        chance = f" (chance alone gives {wording.number(floor.value, ece.ci)})" if floor else ""
        parts.append(f"calibration error {wording.estimate(ece)}{chance}")
    if corrupted := card.measured("corruption.accuracy"):
        parts.append(f"{wording.estimate(corrupted)} under corruption")
    text = "; ".join(parts) or "no safety number was measured"
    return text[0].upper() + text[1:] + "."
