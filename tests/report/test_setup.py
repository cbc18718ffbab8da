"""Every card and comparison says first that a set-up is suspect, and what else was asked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sharpaudit.card import Card, Check, SetupCheck, codec
from sharpaudit.comparison import compare
from sharpaudit.report.html import fragment, html
from sharpaudit.report.markdown import markdown
from sharpaudit.report.terminal import terminal
from tests.comparison.cases import audit
from tests.report import cards

SETUP = SetupCheck(
    n=512,
    forward=5312,
    checks=[
        Check(name="labels", status="flagged", message="the labels look permuted", evidence={"label_of_output": [1, 0]}),
        Check(name="guessing", status="passed", message="right on 93%"),
        Check(name="batch_norm", status="not applicable", message="the network has no BatchNorm layer"),
    ],
)


def page(card: Card) -> str:
    return html([card])


@pytest.mark.parametrize("render", [terminal, markdown, page, fragment])
def test_what_is_suspect_stands_before_any_number(render: Callable[[Card], str], full: Card) -> None:
    doubtful = full.model_copy(update={"setup": SETUP, "incomplete": ["spectrum", "slices"]})
    text = " ".join(render(doubtful).split())
    places = [
        text.index("This card is incomplete: spectrum, slices were not measured."),
        text.index("Set-up suspect, labels"),
        text.index("Not converged, and not to be relied on: Worst-case, linf adaptive 0.002."),
        text.index("Right on 915 of 1,000 images"),
    ]
    assert places == sorted(places)


def test_of_several_checkpoints_the_suspect_ones_are_marked(full: Card, minimal: Card) -> None:
    text = html([full.model_copy(update={"setup": SETUP}), full.model_copy(update={"incomplete": ["spectrum"]}), minimal])
    assert text.count(' failed">set-up suspect</td>') == text.count(' failed">incomplete</td>') == 1
    assert text.count("read the cautions first") == text.count("Before you trust these numbers") == 2


@pytest.mark.parametrize("render", [terminal, markdown, page])
def test_a_flag_is_a_caution_and_the_questions_are_listed(render: Callable[[Card], str], full: Card) -> None:
    text = " ".join(render(full.model_copy(update={"setup": SETUP})).split())
    assert "Set-up suspect, labels: the labels look permuted" in text
    assert "512 images, 5,312 forward passes: flagged labels; passed guessing; not applicable" in text
    assert "Set-up suspect" not in render(full) and "Set-up check" not in render(full)


def test_the_page_tells_every_answer(full: Card) -> None:
    text = page(full.model_copy(update={"setup": SETUP}))
    assert "What a sample of 512 images says about the set-up" in text
    assert "the network has no BatchNorm layer" in text


@pytest.mark.parametrize("payload", cards.PAYLOADS[:8])
def test_foreign_text_in_a_message_stays_text(payload: str, full: Card) -> None:
    hostile = SetupCheck(n=1, forward=1, checks=[Check(name="labels", status="flagged", message=payload)])
    card = full.model_copy(update={"setup": hostile})
    assert "<script>alert" not in page(card) and "\x1b" not in terminal(card)


def test_the_evidence_survives_the_file(full: Card) -> None:
    card = full.model_copy(update={"setup": SETUP})
    assert codec.decode(codec.encode(card), source="test").setup == SETUP


def test_a_comparison_begins_with_it() -> None:
    first, second = audit(0), audit(1)
    suspect = first.card.model_copy(update={"setup": SETUP})
    found = compare([suspect, second.card], [first.views, second.views])
    assert found.models[0].suspicions == ["labels"]
    assert found.reading[0].startswith(f"The set-up of {suspect.subject.file} (labels) is suspect")
    three = compare([suspect, second.card, audit(2).card], [{}, {}, {}])
    assert "is suspect" in three.reading[0]
