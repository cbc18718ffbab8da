"""What does the page of several cards say? An overview, safety against flatness, any two of them compared, and each in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sharpaudit.card import Card, Measured
from sharpaudit.card.measures import listed, role
from sharpaudit.report import outline, wording
from sharpaudit.report.document import Cards, Cell, Choice, Document, Figure, Name, Section, Sheet
from sharpaudit.report.fleet_figures import Axis

MOST_DRAWN = 12
"""More cards than this on one page are listed and compared, not drawn."""

FEWEST_POINTS = 3

COLUMNS = listed("overview")
"""Of the overview; its scatter sets flatness across and safety upward."""


def document(cards: Sequence[Card]) -> Document:
    """What every renderer of several cards draws; only a page has room for more than the overview."""
    drawn = len(cards) <= MOST_DRAWN
    each = [outline.document(card, page=drawn) for card in cards]
    if not drawn:
        each = [replace(whole, sections=outline.set_up(card)) for whole, card in zip(each, cards, strict=True)]
    sections = [_overview(cards), _scatter(cards), _choice(cards), Section("Each checkpoint", [Cards(each)])]
    return Document(
        kind="report cards",
        title=[f"{wording.count(len(cards))} checkpoints, flatness beside safety"],
        meta=[],
        reading=[],
        sections=[section for section in sections if section.blocks],
    )


def _overview(cards: Sequence[Card]) -> Section:
    names = [name for name in COLUMNS if any(card.measured(name) for card in cards)]
    doubts = [outline.doubt(card) for card in cards]
    rows: list[list[Cell]] = [
        [Name(f"{number}. {card.subject.file}"), *([doubt] if any(doubts) else []), *map(card.measured, names)]
        for number, (card, doubt) in enumerate(zip(cards, doubts, strict=True), 1)
    ]
    header = ("checkpoint", *(["suspect"] if any(doubts) else []), *map(wording.title, names))
    align = "l" * (len(header) - len(names)) + "r" * len(names)
    return Section("Overview", [Sheet(header, rows, align)], wording.NO_GOOD_DIRECTION)


def _scatter(cards: Sequence[Card]) -> Section:
    """Flatness against safety; empty where fewer than three cards have both."""

    def axes(names: Sequence[str]) -> list[Axis]:
        found = [Axis(wording.title(name), [card.measured(name) for card in cards]) for name in names]
        return [axis for axis in found if sum(m is not None for m in axis.measured) >= FEWEST_POINTS]

    across, upward = (axes([name for name in COLUMNS if role(name) == side]) for side in ("flatness", "safety"))
    caption = (
        "Each point is a checkpoint with its 95% intervals, numbered as in the overview. τ is Kendall's rank correlation "
        "over all of them; within one training recipe it can have the opposite sign."
    )
    blocks = [Figure("scatter", (across, upward), caption)] if across and upward else []
    return Section("Does sharper go with safer?", blocks)


def _choice(cards: Sequence[Card]) -> Section:
    note = (
        "Differences are B − A. Their intervals take the two cards for independent samples; the paired intervals of "
        "sharpaudit compare are narrower where both saw the same images."
    )
    return Section("Two checkpoints compared", [Choice([Name(card.subject.file) for card in cards], _numbers(cards))], note)


def _numbers(cards: Sequence[Card]) -> dict[str, Any]:
    """All numbers of all cards for the choice of two: names once, then for each card value, ends of the interval and wording."""
    found = [{m.name: m for m in outline.others(card, [])} for card in cards]
    first: dict[str, Measured] = {}
    for numbers in found:
        first = numbers | first
    order = (*outline.SAFETY, *outline.FLATNESS, *outline.CALIBRATION)
    names = sorted(first, key=lambda name: (order.index(name) if name in order else len(order), name))
    return {
        "names": [
            [wording.foreign(name), wording.title(name), first[name].direction, wording.unit(first[name])] for name in names
        ],
        "cards": [
            {"data": card.data.index_hash, "numbers": [_compact(numbers.get(name)) for name in names]}
            for card, numbers in zip(cards, found, strict=True)
        ],
    }


def _compact(measured: Measured | None) -> list[float | str | None] | None:
    if measured is None:
        return None
    ends = [measured.ci.low, measured.ci.high] if measured.ci else [None, None]
    return [measured.value, *ends, wording.estimate(measured)]
