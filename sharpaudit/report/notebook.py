"""How does a card look in a notebook? One fragment of markup: no script, no link, nothing loaded, every foreign text escaped."""

from __future__ import annotations

from itertools import zip_longest

from sharpaudit.card import Card
from sharpaudit.report import outline, provenance
from sharpaudit.report.html import render


def fragment(card: Card) -> str:
    """The card in short, for ``_repr_html_``: the verdict, the reading, and flatness beside safety."""
    sides = zip_longest(outline.numbers(card, outline.FLATNESS), outline.numbers(card, outline.SAFETY))
    return render("notebook.html.j2", card=card, provenance=provenance, sides=list(sides))
