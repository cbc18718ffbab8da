"""Terminal: 80 columns, colour only on request, and no byte of foreign text that a terminal acts on."""

import re

import pytest
from rich.cells import cell_len

from sharpaudit.card import Card
from sharpaudit.report.terminal import terminal
from tests.report import cards


@pytest.mark.parametrize("width", [60, 80, 120])
def test_fits_the_width(full: Card, width: int) -> None:
    assert max(map(cell_len, terminal(full, width).splitlines())) <= width


def test_flatness_stands_beside_safety_with_interval_and_n(full: Card) -> None:
    lines = terminal(full).splitlines()
    here = next(i for i, line in enumerate(lines) if line.startswith("FLATNESS"))
    assert lines[here].split() == ["FLATNESS", "SAFETY"]
    assert re.fullmatch(r"Fisher-Rao norm +n 512 Accuracy ↑ +n 1,000", lines[here + 1])
    assert re.fullmatch(r"  3.41 \[3.18, 3.65\] logits +0.915 \[0.896, 0.931\]", lines[here + 2])


def test_sections_stand_in_the_agreed_order(full: Card) -> None:
    titles = ["FLATNESS", "CALIBRATION", "CORRUPTION", "SET-UP AND PROVENANCE", "NOT MEASURED"]
    places = [terminal(full).index(title) for title in titles]
    assert places == sorted(places)


def test_minimal_card_says_that_nothing_was_measured(minimal: Card) -> None:
    assert "No safety number was measured." in terminal(minimal)


def test_colour_changes_nothing_but_colour(full: Card) -> None:
    coloured = terminal(full, colour=True)
    assert "\x1b[" in coloured
    bare = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", coloured).splitlines()) + "\n"
    assert bare == terminal(full)


def test_foreign_text_stays_text(hostile: Card) -> None:
    lines = terminal(hostile).split("\n")
    assert all(line.isprintable() for line in lines)
    assert max(map(cell_len, lines)) <= 80
    assert not any(line.lstrip().startswith("::") or "##[" in line for line in lines)


def test_markup_is_shown_not_obeyed() -> None:
    assert terminal(cards.hostile("[bold red]x[/bold red]")).startswith("[bold red]x[/bold red]\n")
