"""The page: complete, one file, the same twice, and foreign text changes nothing but text."""

import base64
import hashlib
import re
import subprocess
import sys
from collections.abc import Sequence
from html.parser import HTMLParser

import pytest

from sharpaudit.card import Card, Scalar, Table
from sharpaudit.report import html as module
from sharpaudit.report.html import guide, html
from sharpaudit.report.overview import MOST_DRAWN
from tests.report import cards

DOCSTRING = """Is it right?

Why it matters
    Because `x` is
    so.

When not to trust it
    *Never* trust 2 * 3.
"""
NOTES = {"calibration": DOCSTRING}


class Structure(HTMLParser):
    """What a browser would see of a page: tags with their attribute names, the text, and every address."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.addresses: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "action", "srcset", "data", "xlink:href")
        ]

    def handle_comment(self, data: str) -> None:
        self.tags.append(("comment", ()))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def one() -> str:
    return html([cards.full()], NOTES)


@pytest.fixture(scope="module")
def many() -> str:
    return html(cards.fleet(MOST_DRAWN + 1))


def test_sections_stand_in_the_agreed_order(one: str) -> None:
    assert re.findall(r"<h2>(.+?)</h2>", one) == [
        "Flatness beside safety",
        "Calibration",
        "Corruption",
        "Per class",
        "Curvature",
        "Every number",
        "Set-up and provenance",
    ]
    assert one.index("Right on 915 of 1,000 images") < one.index("The function is right on") < one.index("Flatness beside safety")


def test_every_number_stands_with_interval_and_n(one: str, full: Card) -> None:
    text = re.sub(r"\s+", " ", " ".join(Structure(one).text))
    assert "Fisher-Rao norm logits 3.41 [3.18, 3.65] 512" in text
    assert "not converged" in text
    assert "No interval for Largest curvature λ max, Smallest curvature λ min" in text
    for m in full.measurements:
        if m.status == "measured" and not m.name.startswith(("clean.accuracy/class/", "corruption.accuracy/")):
            assert m.name in one


def test_what_is_missing_is_said(one: str) -> None:
    text = " ".join(" ".join(Structure(one).text).split())
    assert "failed sharpness.logdet_damped : broke down after 3 of 80 steps" in text
    assert "skipped disagreement.negative_flips, disagreement.rate : needs a peer" in text


def test_minimal_card_is_a_page(minimal: Card) -> None:
    page = html([minimal])
    assert "No safety number was measured." in page
    assert "<h2>Corruption</h2>" not in page


def test_loads_nothing_and_allows_only_its_own_style_and_script(one: str, many: str) -> None:
    for page in (one, many):
        assert all(address.startswith("#") for address in Structure(page).addresses)
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
        assert policy
        for tag, directive in (("style", "style-src"), ("script", "script-src")):
            (inline,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
            digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
            assert f"{directive} 'sha256-{digest}'" in policy[1]
        assert policy[1].startswith("default-src 'none'; ")
        names = {name for _, attributes in Structure(page).tags for name in attributes}
        assert not {name for name in names if name == "style" or name.startswith("on")}


def test_the_same_twice(one: str) -> None:
    assert html([cards.full()], NOTES) == one


def test_ids_are_unique_when_several_cards_are_drawn() -> None:
    page = html(cards.fleet(2))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#)([\w-]+)', page)) <= set(ids)


def test_foreign_text_changes_no_structure() -> None:
    """All payloads, one a card, on a page without drawings; beside it the same page with harmless names."""
    hostile = html([cards.hostile(payload) for payload in cards.PAYLOADS])
    plain = html([cards.hostile(f"plain{i}") for i in range(len(cards.PAYLOADS))])
    assert Structure(hostile).tags == Structure(plain).tags
    _assert_inert(hostile)


WRITABLE = [payload for payload in cards.PAYLOADS if "\ud800" not in payload]
"""No card that holds half a character can be stored, so none reaches the digest at the foot of the page."""


@pytest.mark.parametrize("half", [WRITABLE[::2], WRITABLE[1::2]], ids=["even", "odd"])
def test_foreign_text_changes_no_structure_of_drawings(half: Sequence[str], full: Card) -> None:
    """All payloads as classes and as corruptions of one card that is drawn."""

    def card(names: Sequence[str]) -> Card:
        classes: list[list[Scalar]] = [[name, 100, 0.5, 0.4, 0.6] for name in names]
        corruption: list[list[Scalar]] = [[name, name, 1, 100, 0.5, 0.1, 0.1, 0.1] for name in names]
        tables = full.tables | {
            "class": Table(columns=full.tables["class"].columns, rows=classes),
            "corruption": Table(columns=full.tables["corruption"].columns, rows=corruption),
        }
        return full.model_copy(update={"tables": tables})

    hostile, plain = html([card(half)]), html([card([f"plain{i}" for i in range(len(half))])])
    assert Structure(hostile).tags == Structure(plain).tags
    _assert_inert(hostile)


def _assert_inert(page: str) -> None:
    assert all(address.startswith("#") for address in Structure(page).addresses)
    assert all(line.isprintable() for line in page.split("\n"))
    assert "##[" not in page
    assert not any(line.lstrip().startswith("::") for line in page.splitlines())


def test_sizes(one: str) -> None:
    assert len(one.encode()) < 300_000
    assert len(html(cards.fleet(100)).encode()) < 2_000_000


def test_many_classes_are_cut_to_fit(full: Card) -> None:
    rows: list[list[Scalar]] = [[f"class {i}", 10, 1 - i / 10_000, 0.0, 1.0] for i in range(10_000)]
    card = full.model_copy(update={"tables": full.tables | {"class": Table(columns=full.tables["class"].columns, rows=rows)}})
    page = html([card])
    assert "10,000 classes; cut to fit: the 100 least accurate are shown" in page
    assert "class 9999" in page
    assert "class 9899" not in page
    assert len(page.encode()) < 300_000


@pytest.mark.slow
def test_five_hundred_checkpoints_fit() -> None:
    assert len(html(cards.fleet(500)).encode()) < 5_000_000


def test_many_cards_are_listed_not_drawn(many: str) -> None:
    assert many.count("<figure>") == 1, "all of them in one scatter"
    assert many.count("<article>") == MOST_DRAWN + 1


def test_flatness_is_set_against_safety_over_several_cards(many: str) -> None:
    assert many.count("<svg") == 1
    assert "Safety against flatness" in many
    assert "Safety against flatness" not in html([cards.minimal(), cards.minimal()])


def test_guides_come_from_the_docstrings_of_probes(one: str) -> None:
    read = guide(DOCSTRING)
    assert read.question == "Is it right?"
    assert read.parts == [("Why it matters", "Because x is so."), ("When not to trust it", "Never trust 2 * 3.")]
    assert "<dt>When not to trust it</dt><dd>Never trust 2 * 3.</dd>" in one


def test_importing_draws_nothing() -> None:
    code = f"import sys, {module.__name__}; assert not {{'matplotlib', 'scipy', 'pandas', 'torch'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)
