"""Reports as one self-contained page: works from ``file://``, loads nothing, prints, and follows light and dark.

The page forbids everything but its own style and script, which it names by hash. Whatever a template prints is first made
printable (`wording.foreign`) and then escaped by jinja2; only our drawings, style and script are let through as markup.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sharpaudit.card import Card, Measured, codec, in_html
from sharpaudit.report import figures, fleet_figures, outline, overview, wording
from sharpaudit.report.document import Document, Name

T = TypeVar("T")

FEW = 3
"""Digests in the last line of a page."""

LONGEST = 4000
"""Longest piece of text that is shown whole."""

DRAWINGS: Mapping[str, Callable[..., str]] = {
    "reliability": figures.reliability,
    "corruption": figures.corruption,
    "classes": figures.classes,
    "spectrum": figures.spectrum,
    "loss_slice": figures.loss_slice,
    "scatter": fleet_figures.scatter,
}
"""What draws a `Figure`, by its name."""


@dataclass(frozen=True)
class Guide:
    """How to read the numbers of a probe: the text of its module."""

    question: str
    parts: list[tuple[str, str]]
    """Headings (why it matters, how it is computed, when not to trust it, sources) and what stands below them."""


def html(cards: Sequence[Card], notes: Mapping[str, str] = MappingProxyType({})) -> str:
    """The page for one card, or for many side by side.

    Args:
        cards: at least one; `overview` says how many are drawn in full.
        notes: docstrings of probe modules by probe name; they become the boxes on how to read the numbers.
    """
    document = outline.document(cards[0], page=True) if len(cards) == 1 else overview.document(cards)
    return draw(document, source(cards[0].schema_, cards, codec.digest), notes)


def draw(document: Document, made_from: str, notes: Mapping[str, str] = MappingProxyType({})) -> str:
    """A report as one page, with a last line on what it was `made_from`."""
    guides = {name: guide(text) for name, text in notes.items()}
    return _rendered("page.html.j2", document=document, made_from=made_from, guides=guides)


def source(schema: str, records: Sequence[T], digest: Callable[[T], str] = str) -> str:
    """What a page was made from: the digests of a few records and how many more there are."""
    more = f" and {len(records) - FEW} more" if len(records) > FEW else ""
    return f"Made from {', '.join(map(digest, records[:FEW]))}{more}, as {schema}."


@in_html.register
def fragment(card: Card) -> str:
    """The card in short, for a cell of a notebook: no script, no link, nothing loaded."""
    return _rendered("notebook.html.j2", document=outline.document(card))


def _rendered(template: str, **context: Any) -> str:
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
        draw=DRAWINGS,
        matrix=fleet_figures.matrix,
        is_foreign=lambda piece: isinstance(piece, Name),
        is_measured=lambda cell: isinstance(cell, Measured),
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
