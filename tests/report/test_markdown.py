"""Markdown: order, completeness, and that foreign text changes nothing but text."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from sharpaudit.card import Card
from sharpaudit.report.markdown import markdown, prose, quote
from tests.report import cards

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens(text: str) -> list[Token]:
    return [inner for token in PARSER.parse(text) for inner in (token, *(token.children or []))]


def blocks(text: str) -> list[str]:
    return [token.type for token in PARSER.parse(text)]


def test_sections_stand_in_the_agreed_order(full: Card) -> None:
    headings = re.findall(r"^(.+)\n(?:===|---)$", markdown(full), flags=re.MULTILINE)
    assert headings == [
        "sharpaudit: `resnet20-cifar10.safetensors`",
        "Flatness beside safety",
        "Calibration",
        "Corruption",
        "Set-up and provenance",
        "Not measured",
    ]


def test_flatness_stands_beside_safety_with_interval_and_n(full: Card) -> None:
    line = next(line for line in markdown(full).splitlines() if line.startswith("| Fisher-Rao norm"))
    assert line == "| Fisher-Rao norm | 3.41 [3.18, 3.65] logits | 512 | Accuracy ↑ | 0.915 [0.896, 0.931] | 1,000 |"


def test_minimal_card_says_that_nothing_was_measured(minimal: Card) -> None:
    text = markdown(minimal)
    assert "No safety number was measured." in text
    assert "Flatness beside safety" not in text


PLAIN = markdown(cards.hostile("plain"))


def test_foreign_text_changes_no_structure(hostile: Card) -> None:
    text = markdown(hostile)
    assert blocks(text) == blocks(PLAIN)
    inline = tokens(text)
    assert {t.content for t in inline if t.type == "html_inline"} <= {"<code>", "</code>", "<!-- -->"}
    assert {t.type for t in inline if t.nesting} == {t.type for t in tokens(PLAIN) if t.nesting}
    assert not any(line.startswith(("::", "##")) or "##[" in line for line in text.splitlines())
    assert len(text) < 60_000, "a GitHub comment holds 65,536 characters"


def test_names_survive_as_they_are() -> None:
    for payload in cards.PAYLOADS:
        if not payload.isprintable() or "::" in payload or "##" in payload or len(payload) > 120:
            continue
        shown = "".join(t.content for t in tokens(quote(payload)) if t.type in ("text", "code_inline", "text_special"))
        assert shown == (payload.strip() or "(empty)")


def test_sentences_survive_as_they_are() -> None:
    for payload in cards.PAYLOADS:
        if not payload.isprintable() or "::" in payload or "##" in payload or len(payload) > 120:
            continue
        shown = "".join(t.content for t in tokens(prose(payload)) if t.type in ("text", "text_special"))
        assert shown.strip() == payload.strip()


def test_mentions_issues_and_addresses_are_broken() -> None:
    text = prose("@everyone #1 GH-1 http://evil.test www.evil.test a@evil.test octo/repo#2 :+1: [1, 2](x) [3, 4] fine: yes")
    assert not re.search(r"@\w|#\d(?!\d*;)|GH-|://|www\.|:\+1:|\]\(", text)
    assert text.endswith("[3, 4] fine: yes")
