"""Drawings: valid SVG that a strict page can hold, the same twice, and what they show is what the rows say."""

import math
import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from sharpaudit.card import Card
from sharpaudit.report import figures, fleet_figures, grids, tables
from sharpaudit.report.svg import BLUE, INK
from sharpaudit.report.tables import ClassAccuracy, ReliabilityBin, SlicePoint, SpectrumNode
from tests.report import cards

SVG = "{http://www.w3.org/2000/svg}"

DRAWINGS: dict[str, Callable[[Card], str]] = {
    "reliability": lambda card: figures.reliability(tables.reliability(card), salt="a"),
    "corruption": lambda card: figures.corruption(_grid(card), salt="b"),
    "classes": lambda card: figures.classes(tables.classes(card), salt="c"),
    "spectrum": lambda card: figures.spectrum(tables.spectrum(card), salt="d"),
    "slice": lambda card: figures.loss_slice(tables.loss_slice(card), salt="e"),
}


def _grid(card: Card) -> grids.Grid:
    grid = grids.corruption(card)
    assert grid
    return grid


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()).strip() for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module", params=DRAWINGS)
def drawn(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param, DRAWINGS[request.param](cards.full())


def test_holds_only_what_draws(drawn: tuple[str, str]) -> None:
    root = ElementTree.fromstring(drawn[1])
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "g", "defs", "path", "use", "text", "tspan", "clipPath", "rect")
    }
    assert not {name for element in root.iter() for name in element.attrib if name in ("style", "class") or name.startswith("on")}
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert INK not in drawn[1]
    assert f"var(--blue, {BLUE})" in drawn[1] or drawn[0] == "corruption"


def test_axes_name_what_they_show(drawn: tuple[str, str]) -> None:
    expected = {
        "reliability": {"confidence", "accuracy", "images"},
        "corruption": {"severity", "noise", "gaussian noise"},
        "classes": {"accuracy", "truck"},
        "spectrum": {"eigenvalue of the Hessian", "share of the spectrum", "negative", "10⁻³"},
        "slice": {"step, in filter norms", "loss (nats)"},
    }
    assert expected[drawn[0]] <= set(texts(drawn[1]))


def test_the_same_twice(drawn: tuple[str, str], full: Card) -> None:
    assert DRAWINGS[drawn[0]](full) == drawn[1]


def test_small_enough(drawn: tuple[str, str]) -> None:
    assert len(drawn[1]) < 40_000


def test_settings_of_the_user_do_not_show(full: Card) -> None:
    import matplotlib

    plain = DRAWINGS["slice"](full)
    with matplotlib.rc_context({"axes.grid": True, "lines.linewidth": 9.0, "font.size": 30.0}):
        assert DRAWINGS["slice"](full) == plain


def test_corruption_shows_the_change_in_points(full: Card) -> None:
    grid = _grid(full)
    assert grid.clean
    changes = [100 * ((accuracy or 0) - grid.clean) for row in grid.rows for accuracy in row.accuracy]
    cells = [text for text in texts(DRAWINGS["corruption"](full)) if text.startswith("−")]
    assert sorted(int(text.replace("−", "-")) for text in cells) == sorted(round(change) for change in changes)


def test_missing_cells_and_gains_are_drawn() -> None:
    rows = [grids.GridRow("fog", "weather", [None, 0.95], None)]
    svg = figures.corruption(grids.Grid([1, 2], rows, [10], 0.9, None, "synthetic-c"), salt="x")
    assert {"–", "+5"} <= set(texts(svg))


def test_classes_are_sorted_worst_first_and_cut() -> None:
    rows = [ClassAccuracy(label=f"c{i}", n=10, accuracy=i / 100, low=None, high=None) for i in range(50, 0, -1)]
    labels = [text for text in texts(figures.classes(rows, salt="x")) if text.startswith("c")]
    assert labels == [f"c{i}" for i in range(1, figures.MOST_CLASSES + 1)]


def test_a_label_is_never_mathematics() -> None:
    row = ClassAccuracy(label="$\\frac{1}{0}$ <b>", n=1, accuracy=0.5, low=0.1, high=0.9)
    assert "$\\frac{1}{0}$ <b>" in texts(figures.classes([row], salt="x"))


def test_reliability_puts_each_bin_at_its_confidence_and_accuracy() -> None:
    bins = [
        ReliabilityBin(bin_low=0.0, bin_high=0.5, count=40, confidence=0.25, accuracy=0.5),
        ReliabilityBin(bin_low=0.5, bin_high=1.0, count=0, confidence=None, accuracy=None),
        ReliabilityBin(bin_low=0.5, bin_high=1.0, count=40, confidence=0.75, accuracy=0.25),
    ]
    svg = figures.reliability(bins, salt="x")
    frame = re.search(r'clipPath id="[^"]+"><rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', svg)
    assert frame
    left, top, width, height = map(float, frame.groups())
    marks = {(float(x), float(y)) for x, y in re.findall(rf'<use x="([\d.]+)" y="([\d.]+)" fill="var\(--blue, {BLUE}\)"', svg)}
    for confidence, accuracy in ((0.25, 0.5), (0.75, 0.25)):
        place = (left + confidence * width, top + (1 - accuracy) * height)
        assert min(math.dist(place, mark) for mark in marks) < 0.05


def test_scatter_says_tau_and_numbers_its_points() -> None:
    flat = fleet_figures.Axis("sharp", [cards.number("sharpness.sam", 10.0**i, 0.5) for i in (1, 2, 0, 3, 4)])
    safe = fleet_figures.Axis("safe", [cards.number("clean.nll", v) for v in (2.0, 3.0, 1.0, 4.0, 5.0)])
    svg = fleet_figures.scatter(([flat], [safe]), salt="x")
    assert {"sharp", "safe", "1", "2", "3", "4", "5"} <= set(texts(svg))
    assert any(text.startswith("τ = 1") for text in texts(svg))
    assert {"10", "1000"} <= set(texts(svg)), "four powers of ten are drawn on a logarithmic axis"


def test_matrix_shows_its_numbers() -> None:
    shown = texts(fleet_figures.matrix([[0.0, 0.25], [0.75, 0.0]], ["1", "7"], title="Disagreement", salt="x"))
    assert [text for text in shown if "." in text] == ["0.00", "0.25", "0.75", "0.00"]
    assert shown.count("7") == 2 and "2" not in shown, "rows and columns bear the numbers they were given"


def test_text_of_every_drawing_has_one_size_on_the_page(full: Card) -> None:
    """A drawing is as many pixels wide as its view box times one factor, so nothing is blown up or shrunk to fill a page."""
    drawn = [
        DRAWINGS["slice"](full),
        *(fleet_figures.matrix([[0.1] * n] * n, ["1"] * n, title="D", salt="x") for n in (2, 5, 12)),
    ]
    roots = [ElementTree.fromstring(svg) for svg in drawn]
    factors = [float(root.get("width", "0")) / float(root.get("viewBox", "").split()[2]) for root in roots]
    assert factors == pytest.approx([factors[0]] * 4, rel=0.01)
    assert float(roots[2].get("width", "0")) < 400, "five models do not fill the page"


def test_scatter_gives_no_tau_for_few_or_equal_points() -> None:
    few = fleet_figures.Axis("few", [cards.number("a.b", v) for v in (1.0, 2.0, 3.0, 4.0)] + [None])
    same = fleet_figures.Axis("same", [cards.number("a.b", 1.0)] * 5)
    svg = fleet_figures.scatter(([few, same], [same]), salt="x")
    assert not any("τ" in text for text in texts(svg))


@pytest.mark.parametrize(
    "nodes",
    [[], [SpectrumNode(node=0.0, weight=1.0)], [SpectrumNode(node=-3.0, weight=0.0)], [SpectrumNode(node=1e-300, weight=1e-12)]],
)
def test_poor_spectra_are_drawn(nodes: list[SpectrumNode]) -> None:
    ElementTree.fromstring(figures.spectrum(nodes, salt="x"))


def test_empty_tables_are_drawn() -> None:
    for svg in (figures.reliability([], salt="x"), figures.classes([], salt="x"), figures.loss_slice([], salt="x")):
        ElementTree.fromstring(svg)
    ElementTree.fromstring(figures.loss_slice([SlicePoint(alpha=0.0, loss=1.0)], salt="x"))
