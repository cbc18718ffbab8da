"""Comparisons on paper: what stands where, that it fits, and that foreign text changes nothing but text."""

import re
from collections.abc import Sequence

import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len

from sharpaudit.comparison import Comparison, compare
from sharpaudit.report.comparison import document, html, markdown, terminal
from sharpaudit.report.document import Sheet
from tests.comparison.cases import audit
from tests.report.cards import PAYLOADS
from tests.report.test_html import Structure

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def compared(strengths: Sequence[float], conditions: Sequence[str] = ()) -> Comparison:
    audits = [
        audit(i, s, flatness={"flatness.fisher_rao": 3 + i, "sharpness.lambda_max": None if i else 40})
        for i, s in enumerate(strengths)
    ]
    named = {a.card.subject.file: c for a, c in zip(audits, conditions, strict=False)}
    return compare([a.card for a in audits], [a.views for a in audits], conditions=named or None)


@pytest.fixture(scope="module")
def pair() -> Comparison:
    return compared([1.0, 4.0])


@pytest.fixture(scope="module")
def fleet() -> Comparison:
    return compared([1.0, 1.5, 2.0, 2.5, 3.0, 3.5], ["a", "a", "a", "b", "b", "b"])


def hostile(comparison: Comparison, payload: str) -> Comparison:
    """The same comparison with `payload` in every foreign place."""
    models = [m.model_copy(update={"label": f"{payload}{i}", "condition": payload}) for i, m in enumerate(comparison.models)]
    update: dict[str, object] = {"models": models, "data": payload, "reading": [payload, payload]}
    if found := comparison.pair:
        first = found.differences[0].model_copy(update={"name": payload, "unit": payload, "reason": payload, "ci": None})
        names = {"label": payload, "prediction_a": payload, "prediction_b": payload}
        changes = {
            "differences": [first, *found.differences],
            "views": [found.views[0].model_copy(update={"view": payload}), *found.views],
            "changed": [change.model_copy(update=names) for change in found.changed],
        }
        update["pair"] = found.model_copy(update=changes)
    if many := comparison.fleet:
        board = [row.model_copy(update={"label": m.label}) for row, m in zip(many.leaderboard, models, strict=True)]
        update["fleet"] = many.model_copy(update={"leaderboard": board})
    return comparison.model_copy(update=update)


def sheets(comparison: Comparison) -> dict[str, list[tuple[str, ...]]]:
    """The rows of each section."""
    found = {section.title: section.blocks for section in document(comparison).sections}
    return {title: [tuple(map(str, row)) for row in sheet.rows] for title, (sheet,) in found.items() if isinstance(sheet, Sheet)}


def test_pair_sets_flatness_and_safety_side_by_side(pair: Comparison) -> None:
    found = sheets(pair)
    assert list(found) == [
        "Flatness, unmoved by rescaling",
        "Safety",
        "Flatness read against safety",
        "Disagreement",
        "Flips by view",
        "Examples that changed most",
        "Other numbers",
    ]
    (row,) = found["Flatness, unmoved by rescaling"]
    assert row[:3] == ("Fisher-Rao norm", "3.00", "4.00")
    assert row[3].startswith("+1.000 [0.950, 1.050]")
    assert row[5] == "sharper"
    accuracy = next(row for row in found["Safety"] if row[0] == "Accuracy")
    assert accuracy[5] == "better"
    (reading,) = found["Flatness read against safety"]
    assert (reading[0], reading[2], reading[3]) == ("Fisher-Rao norm", "–", "sharper")
    assert "Accuracy" in reading[1]


def test_flips_are_counted_as_in_the_document(pair: Comparison) -> None:
    assert pair.pair
    rows = sheets(pair)["Flips by view"]
    clean = next(view for view in pair.pair.views if view.view == "clean")
    row = next(row for row in rows if row[0] == "clean")
    assert row[2:] == (str(clean.negative_flips), str(clean.positive_flips), str(clean.n))


def test_a_missing_interval_is_explained(pair: Comparison) -> None:
    assert pair.pair
    bare = [row.model_copy(update={"ci": None, "reason": "too few"}) for row in pair.pair.differences]
    changed = pair.model_copy(update={"pair": pair.pair.model_copy(update={"differences": bare})})
    assert "No interval for Fisher-Rao norm: too few." in terminal(changed).replace("\n", " ")


def test_an_equivalence_says_within_what(pair: Comparison) -> None:
    assert pair.pair
    alike = [row.model_copy(update={"verdict": "equivalent within margin", "margin": 0.01}) for row in pair.pair.differences]
    changed = pair.model_copy(update={"pair": pair.pair.model_copy(update={"differences": alike})})
    for text in (markdown(changed), terminal(changed), html(changed)):
        assert "equivalent within ±0.01" in text and "within margin" not in text


def test_an_interval_of_draws_alone_is_marked_everywhere(pair: Comparison) -> None:
    assert pair.pair is not None
    assert "‡" not in markdown(pair)
    drawn = [
        row.model_copy(update={"over": "draws" if row.name.startswith("flatness.") else row.over})
        for row in pair.pair.differences
    ]
    marked = pair.model_copy(update={"pair": pair.pair.model_copy(update={"differences": drawn})})
    for text in (markdown(marked), terminal(marked), html(marked)):
        assert text.count("]‡") == 1
        assert "‡: the interval is of the random draws alone" in " ".join(text.split())
    assert '"over":"draws"' in marked.model_dump_json()


def test_fleet_has_board_matrices_and_correlations(fleet: Comparison) -> None:
    found = sheets(fleet)
    assert list(found) == ["Leaderboard", "Disagreement", "Error consistency", "Flatness against safety, rank correlations"]
    assert fleet.fleet and fleet.fleet.disagreement
    assert found["Disagreement"][0][2] == f"{fleet.fleet.disagreement[0][1]:.2f}"
    best = found["Leaderboard"][0]
    assert best[0] == f"6. {fleet.models[5].label}"
    assert best[1] == "b"
    assert best[-1] == "–"
    correlation = next(row for row in found["Flatness against safety, rank correlations"] if row[1] == "Accuracy")
    assert re.match(r"1(\.0+)? \[", correlation[2]) or correlation[2] == "1"


def test_page_draws_the_matrices(fleet: Comparison) -> None:
    assert html(fleet).count("<svg") == 2


@pytest.mark.parametrize("width", [60, 80])
def test_fits_the_width(pair: Comparison, fleet: Comparison, width: int) -> None:
    for each in (pair, fleet):
        assert max(map(cell_len, terminal(each, width).splitlines())) <= width


def test_a_minus_is_no_hyphen() -> None:
    worse = compared([4.0, 1.0])
    assert re.search(r"a difference of −\d", worse.reading[0])
    assert not re.search(r"(?<!\w)-\d", " ".join(worse.reading))


def test_reading_comes_before_the_tables(pair: Comparison) -> None:
    for text in (markdown(pair), terminal(pair).replace("FLATNESS", "Flatness")):
        assert text.index("B is right on") < text.index("Flatness")


class Outlines:
    """The structure of a document in every format, and its lines."""

    def __init__(self, document: Comparison) -> None:
        written = markdown(document)
        blocks = PARSER.parse(written)
        self.blocks = [token.type for token in blocks]
        self.inline_html = {c.content for token in blocks for c in token.children or [] if c.type == "html_inline"}
        self.tags = Structure(html(document)).tags
        self.screen = terminal(document).split("\n")
        self.lines = [*self.screen, *written.split("\n")]


@pytest.fixture(scope="module")
def plain(pair: Comparison, fleet: Comparison) -> list[Outlines]:
    return [Outlines(hostile(document, "plain")) for document in (pair, fleet)]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: ascii(payload[:24]))
def test_foreign_text_changes_no_structure(pair: Comparison, fleet: Comparison, plain: list[Outlines], payload: str) -> None:
    for each, expected in zip((pair, fleet), plain, strict=True):
        found = Outlines(hostile(each, payload))
        assert (found.blocks, found.tags) == (expected.blocks, expected.tags)
        assert found.inline_html <= {"<code>", "</code>", "<!-- -->"}
        assert all(line.isprintable() for line in found.screen)
        assert max(map(cell_len, found.screen)) <= 80
        assert not any(line.lstrip().startswith("::") or "##[" in line for line in found.lines)
