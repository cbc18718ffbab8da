"""What a report holds, and what it does with a card whose tables do not fit."""

import re
from collections.abc import Callable

import pytest

from sharpaudit.card import Card, CorruptionSource, ProbeRun, Scalar, Table
from sharpaudit.errors import CardError
from sharpaudit.report import grids, outline, overview, provenance, tables, wording
from sharpaudit.report.document import Beside, Document, Gap, Numbers
from sharpaudit.report.html import draw as draw_page
from sharpaudit.report.html import html
from sharpaudit.report.markdown import draw as draw_markdown
from sharpaudit.report.markdown import markdown
from sharpaudit.report.terminal import draw as draw_terminal
from sharpaudit.report.terminal import terminal
from tests.report import cards


def html_of(card: Card) -> str:
    return html([card]).partition("<body>")[2]


def page_of(document: Document) -> str:
    return draw_page(document, "").partition("<body>")[2].partition("Two checkpoints compared")[0]


def test_numbers_keep_the_asked_order_and_expand_qualifiers(full: Card) -> None:
    names = [m.name for m in outline.numbers(full, ("clean.nll", "sharpness.worst/*", "clean.accuracy", "disagreement.rate"))]
    assert names == ["clean.nll", "sharpness.worst/linf/adaptive/0.002", "clean.accuracy"]


@pytest.mark.parametrize("draw", [html_of, markdown, terminal])
def test_every_renderer_draws_the_whole_document(full: Card, draw: Callable[[Card], str]) -> None:
    said = " ".join(re.sub(r"<[^>]*>", "", draw(full)).split()).upper()
    found = outline.document(full)
    titles = [section.title.split(" beside")[0] for section in found.sections]
    for text in (found.verdict, *found.title, *titles, *(gap.what for gap in outline.gaps(full))):
        assert text.upper() in said, text
    columns = [block for section in found.sections for block in section.blocks if isinstance(block, Beside | Numbers)]
    for column in columns:
        for numbers in (column.flatness, column.safety) if isinstance(column, Beside) else (column,):
            for m in numbers.measured:
                assert wording.title(m.name).upper() in said and wording.said(m.value, m.ci).value in said, m.name


@pytest.mark.parametrize("draw", [page_of, draw_markdown, draw_terminal], ids=["html", "markdown", "terminal"])
def test_every_renderer_draws_the_overview_of_several_cards(draw: Callable[[Document], str]) -> None:
    several = cards.fleet(3)
    said = " ".join(re.sub(r"<[^>]*>", " ", draw(overview.document(several))).split())
    for card in several:
        assert card.subject.file in said
        for name in overview.COLUMNS:
            assert (m := card.measured(name)) and wording.title(name) in said and wording.value(m) in said, name


@pytest.mark.parametrize(
    ("measured", "shown"),
    [
        (["l2/0.1", "l2/adaptive/0.1", "l2/adaptive/normalised/0.1"], ["l2/adaptive/0.1"]),
        (["l2/0.1", "l2/0.2", "l2/normalised/0.1"], ["l2/0.1"]),
        (["l2/adaptive/0.5", "linf/adaptive/0.002", "linf/adaptive/0.004"], ["l2/adaptive/0.5", "linf/adaptive/0.002"]),
    ],
)
def test_of_a_family_one_number_of_each_kind_is_shown(minimal: Card, measured: list[str], shown: list[str]) -> None:
    measurements = [cards.number(f"sharpness.worst/{form}", 1.0) for form in measured]
    card = minimal.model_copy(update={"measurements": measurements})
    assert [m.name for m in outline.numbers(card, outline.FLATNESS)] == [f"sharpness.worst/{form}" for form in shown]


def test_marks_of_a_family_are_explained_below_the_column(minimal: Card) -> None:
    row: list[Scalar] = ["sharpness.worst/l2/0.1", 1.0, 2.0, 2.0, 2.0, "not invariant", ""]
    columns = ["measure", "before", "after", "ratio", "ratio_by_unit", "verdict", "reason"]
    tried = {"reparametrisation": Table(columns=columns, rows=[row])}
    card = minimal.model_copy(update={"measurements": [cards.number("sharpness.worst/l2/0.1", 1.0)], "tables": tried})
    assert "≢ moves (tried on this network" in outline.flatness_note(card)


def test_every_number_is_listed_somewhere(full: Card) -> None:
    said = {*outline.FLATNESS, *outline.SAFETY, *outline.CALIBRATION}
    rest = {m.name for m in outline.others(full, said)}
    in_tables = {m.name for m in full.measurements if m.name.startswith(("clean.accuracy/class/", "corruption.accuracy/"))}
    short = {m.name for m in outline.numbers(full, (*outline.FLATNESS, *outline.SAFETY, *outline.CALIBRATION))}
    measured = {m.name for m in full.measurements if m.status == "measured"}
    assert rest | in_tables | short >= measured


def test_grid_has_a_row_for_each_corruption_and_a_cell_for_each_severity(full: Card) -> None:
    grid = grids.corruption(full)
    assert grid is not None
    assert grid.severities == [1, 2, 3, 4, 5]
    assert [family for family, _ in grid.families()] == ["noise", "blur", "weather", "digital"]
    first = full.tables["corruption"].records()[:5]
    assert grid.rows[0].accuracy == [r["accuracy"] for r in first]
    note = grids.note(grid)
    assert "n = 1,000 images a cell, 95% interval of a cell at most ± 0.031; without corruption 0.915." in note


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("synthetic-c", "Accuracy on synthetic-c by corruption"),
        ("cifar10-c", "Accuracy on cifar10-c by corruption"),
        ("<b>[x](y)", "Accuracy by corruption"),
    ],
)
def test_the_caption_names_the_images_and_nothing_foreign(full: Card, label: str, words: str) -> None:
    grid = grids.corruption(full.model_copy(update={"corruptions": CorruptionSource(label=label)}))
    assert grid is not None and grids.note(grid).startswith(words)


def test_gaps_come_once_a_reason_failures_first(full: Card) -> None:
    gaps = outline.gaps(full)
    assert [gap.status for gap in gaps] == ["failed", "skipped", "skipped"]
    assert gaps[2].names == ["disagreement.negative_flips", "disagreement.rate"]


def test_a_probe_that_left_no_measurement_is_a_gap(minimal: Card) -> None:
    card = minimal.model_copy(update={"probes": {"spectrum": ProbeRun(status="skipped", version=1, reason="out of time")}})
    assert [(gap.names, gap.reason) for gap in outline.gaps(card)] == [(["spectrum"], "out of time")]


def test_many_missing_names_are_counted() -> None:
    assert Gap("skipped", [f"a{i}" for i in range(9)], "").what == "a0, a1, a2, a3, a4, a5 and 3 more"
    assert Gap("skipped", [f"a{i}" for i in range(7)], "").what.endswith("a6")


def test_summary_says_what_is_there(full: Card, minimal: Card) -> None:
    assert outline.summary(full).startswith(
        "Right on 915 of 1,000 images, accuracy 0.915 [0.896, 0.931]; calibration error 0.039"
    )
    assert outline.summary(minimal) == "No safety number was measured."


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["fog", "weather", "high", 10, 0.5, 0, 0, 0]], "table 'corruption' of the card, row 0 severity"),
        ([["fog", "weather", 1, 10, 1.5, 0, 0, 0]], "row 0 accuracy: Input should be less than or equal to 1"),
        ([["fog", "weather"]], "a row has not as many values as there are columns"),
    ],
)
def test_rows_that_do_not_fit_are_an_error_of_the_card(full: Card, rows: list[list[Scalar]], message: str) -> None:
    broken = Table(columns=full.tables["corruption"].columns, rows=rows)
    card = full.model_copy(update={"tables": {"corruption": broken}})
    with pytest.raises(CardError, match=message):
        tables.corruption(card)


def test_size_in_readable_units() -> None:
    assert [provenance.size(n) for n in (1, 2048, 5 * 2**20, 3 * 2**40)] == ["1 B", "2.0 KiB", "5.0 MiB", "3072.0 GiB"]


def test_warnings_of_the_load_are_said() -> None:
    card = cards.full()
    risky = card.model_copy(update={"subject": card.subject.model_copy(update={"clean_load": False, "ran_user_code": True})})
    assert provenance.cautions(risky) == [
        "resized by hand",
        "The file held code that was ignored on request.",
        "The architecture came from a Python file that was executed on request.",
        "Not converged, and not to be relied on: Worst-case, linf adaptive 0.002.",
    ]


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("numbered", "10, without names, numbered as in the labels"),
        ("numbered, map.txt", "10, named and ordered by map.txt"),
        ("folder names, the checkpoint's metadata", "10, named and ordered by folder names and the checkpoint's metadata"),
    ],
)
def test_who_named_the_classes(full: Card, origin: str, words: str) -> None:
    card = full.model_copy(update={"data": full.data.model_copy(update={"classes_origin": origin})})
    assert next(fact.value for fact in provenance.facts(card) if fact.label == "Classes") == words


def test_reasons_for_missing_intervals_are_said_once() -> None:
    rows = [cards.number(f"clean.{name}", 0.5, width) for name, width in (("nll", None), ("accuracy", 0.1), ("brier", None))]
    other = rows[0].model_copy(update={"name": "calibration.mce", "reason": "chosen"})
    rows[1] = rows[1].model_copy(update={"reason": "it has one"})
    assert outline.bare([*rows, other, rows[0]]) == [
        "No interval for Negative log-likelihood, Brier score: a deterministic function of the weights and the frozen probe set.",
        "No interval for Largest bin error (MCE): chosen.",
    ]


@pytest.mark.parametrize("render", [terminal, markdown, lambda card: html([card])], ids=["terminal", "markdown", "html"])
def test_the_worst_class_and_missing_intervals_stand_by_their_numbers(render: Callable[[Card], str], full: Card) -> None:
    text = " ".join(re.sub(r"<[^>]+>", "", render(full)).split())
    assert len(re.findall(r"\(class truck; [\d,]+ images\)", text)) == 1
    assert "No interval for Largest curvature λ max, Smallest curvature λ min: a deterministic function" in text
