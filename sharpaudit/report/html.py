"""Cards as one self-contained page: works from ``file://``, loads nothing, prints, and follows light and dark.

The page forbids everything but its own style and script, which it names by hash. Whatever a template prints is first made
printable (`wording.foreign`) and then escaped by jinja2; only our drawings, style and script are let through as markup.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sharpaudit.card import Card, Measured, codec
from sharpaudit.card.measures import listed, role
from sharpaudit.report import figures, fleet_figures, outline, wording
from sharpaudit.report.document import Document, Name

MOST_DRAWN = 12
"""More cards than this on one page are listed and compared, not drawn."""

FEWEST_POINTS = 3

LONGEST = 4000
"""Longest piece of text that is shown whole."""

OVERVIEW = listed("overview")
"""Columns of the overview of several cards, whose scatter sets flatness across and safety upward."""


@dataclass(frozen=True)
class Guide:
    """How to read the numbers of a probe: the text of its module."""

    question: str
    parts: list[tuple[str, str]]
    """Headings (why it matters, how it is computed, when not to trust it, sources) and what stands below them."""


def html(cards: Sequence[Card], notes: Mapping[str, str] = MappingProxyType({})) -> str:
    """The page for one card, or for many side by side.

    Args:
        cards: at least one; above `MOST_DRAWN` the page lists and compares them without drawings.
        notes: docstrings of probe modules by probe name; they become the boxes on how to read the numbers.
    """
    drawn = len(cards) <= MOST_DRAWN
    documents = [outline.document(card, page=drawn) for card in cards]
    return render(
        "report.html.j2",
        cards=cards,
        documents=documents if drawn else [replace(d, sections=outline.set_up(c)) for c, d in zip(cards, documents, strict=True)],
        columns=[name for name in OVERVIEW if any(card.measured(name) for card in cards)],
        digest=codec.digest,
        guides={name: guide(text) for name, text in notes.items()},
        scatter=_scatter(cards),
        numbers=_numbers(cards) if len(cards) > 1 else {},
    )


def comparison(document: Document, schema: str, digests: Sequence[str]) -> str:
    """The page for a comparison, made by `schema` from checkpoints with these digests."""
    return render("comparison.html.j2", document=document, schema=schema, digests=digests, guides={})


def render(template: str, **context: Any) -> str:
    """One of our templates with the page's style and script, and with `context`."""
    environment = Environment(
        loader=PackageLoader("sharpaudit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"short": wording.foreign, "svg": Markup}
    resources = files("sharpaudit.report") / "templates"
    return environment.get_template(template).render(
        context,
        draw={name: getattr(figures, name) for name in ("reliability", "corruption", "classes", "spectrum", "loss_slice")},
        fleet_figures=fleet_figures,
        foreign=lambda piece: isinstance(piece, Name),
        hash=_hash,
        kind=lambda block: type(block).__name__,
        outline=outline,
        script=Markup((resources / "script.js").read_text(encoding="utf-8")),
        style=Markup((resources / "style.css").read_text(encoding="utf-8")),
        wording=wording,
    )


def guide(docstring: str) -> Guide:
    """A probe's docstring, taken apart: its question, then what is indented below each heading."""
    question, _, rest = docstring.strip().partition("\n")
    parts: list[tuple[str, list[str]]] = []
    for line in rest.splitlines():
        if line.strip() and not line.startswith(" "):
            parts.append((line.strip(), []))
        elif line.strip() and parts:
            parts[-1][1].append(line.strip())
    return Guide(question, [(heading, re.sub(r"`|\*(?=\w)|(?<=\w)\*", "", " ".join(lines))) for heading, lines in parts])


def _printable(value: Any) -> Any:
    """What stands in a template's ``{{ }}``: markup of ours as it is, everything else as one printable line."""
    return value if hasattr(value, "__html__") else wording.foreign(str(value), LONGEST)


def _hash(text: str) -> Markup:
    """The source expression that lets exactly this inline style or script through."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(f"'sha256-{digest}'")


def _scatter(cards: Sequence[Card]) -> Markup | None:
    """Flatness against safety over the cards; None where fewer than three have both."""

    def axes(names: Sequence[str]) -> list[fleet_figures.Axis]:
        found = [fleet_figures.Axis(wording.title(name), [card.measured(name) for card in cards]) for name in names]
        return [axis for axis in found if sum(m is not None for m in axis.measured) >= FEWEST_POINTS]

    across, upward = (axes([name for name in OVERVIEW if role(name) == side]) for side in ("flatness", "safety"))
    return Markup(fleet_figures.scatter(across, upward, salt="scatter")) if across and upward else None


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
