"""The mark beside each flatness measure is what rescaling did to it on that network."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from rich.cells import cell_len

from sharpaudit.card import Card, Scalar, Table
from sharpaudit.card.invariance import COLUMNS, TABLE
from sharpaudit.errors import CardError
from sharpaudit.report import outline
from sharpaudit.report.html import html
from sharpaudit.report.markdown import markdown
from sharpaudit.report.terminal import terminal

ROWS: list[list[Scalar]] = [
    ["flatness.fisher_rao", 3.4, 3.4, 1.0, 1.0, "invariant", ""],
    ["flatness.relative_trace", 2.1, 2.1, 1.0, 18.0, "invariant for whole layers", ""],
    ["sharpness.lambda_max", 1.8, 33.6, 18.7, None, "not invariant", ""],
    ["sharpness.random", None, None, None, None, "not tested", "costs more"],
]

LEGEND = (
    "≡ stays when layers are rescaled without changing the function; ≅ stays when whole layers are, and moves with single units; "
    "≢ moves (tried on this network; no mark: not tried)."
)


@pytest.fixture
def tried(full: Card) -> Card:
    return full.model_copy(update={"tables": full.tables | {TABLE: Table(columns=list(COLUMNS), rows=ROWS)}})


def test_marks(tried: Card, full: Card) -> None:
    assert outline.marks(tried) == {"flatness.fisher_rao": "≡", "flatness.relative_trace": "≅", "sharpness.lambda_max": "≢"}
    assert outline.marks(full) == {}
    assert outline.flatness_note(tried).endswith(LEGEND)
    assert "≡" not in outline.flatness_note(full)


@pytest.mark.parametrize("write", [terminal, markdown, lambda card: html([card])], ids=["terminal", "markdown", "html"])
def test_every_form_shows_them(write: Callable[[Card], str], tried: Card, full: Card) -> None:
    text = re.sub(r"<[^>]+>|\s+", " ", write(tried))
    assert re.search(r"Fisher-Rao norm +≡", text) and re.search(r"Largest curvature λ max +≢", text)
    assert not re.search(r"Random sharpness +[≡≅≢]", text)
    assert "tried on this network" in text
    assert "≡" not in write(full)


def test_the_page_has_the_table(tried: Card) -> None:
    page = html([tried])
    assert "4 measures before and after rescaling" in page
    assert '<td class="num" data-v="33.6">33.6</td>' in page and "costs more" in page


def test_the_terminal_keeps_its_width(tried: Card) -> None:
    assert max(map(cell_len, terminal(tried).splitlines())) <= 80


def test_a_false_table_is_an_error_of_the_card(full: Card) -> None:
    false = full.model_copy(update={"tables": {TABLE: Table(columns=list(COLUMNS), rows=[["x", "y", 1, 1, 1, "z", ""]])}})
    with pytest.raises(CardError, match="table 'reparametrisation' of the card, row 0 before"):
        html([false])
