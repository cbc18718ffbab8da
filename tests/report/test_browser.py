"""The page in a real browser: nothing logged, nothing loaded, sorting and the choice of two work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sharpaudit.report.html import html
from tests.report import browser, cards

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium on this machine")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    folder = tmp_path_factory.mktemp("pages")
    hostile = [cards.hostile(payload) for payload in cards.PAYLOADS]
    (folder / "one.html").write_text(html([cards.full()]), encoding="utf-8")
    (folder / "many.html").write_text(html([*cards.fleet(4), *hostile]), encoding="utf-8")
    with browser.page() as opened:
        opened.open(folder / "one.html")
        opened.print(folder / "one.pdf")
        assert (folder / "one.pdf").stat().st_size > 10_000
        opened.open(folder / "many.html")
        yield opened


def column(page: browser.Page, table: int, cell: int) -> list[str]:
    rows = f"[...document.querySelectorAll('table.sortable')[{table}].tBodies[0].rows]"
    found: list[str] = page.evaluate(f"{rows}.map(row => row.cells[{cell}].innerText.split('\\n')[0])")
    return found


def choose(page: browser.Page, side: str, index: int) -> None:
    page.evaluate(
        f"{{ const s = document.getElementById('choose-{side}'); s.value = '{index}'; s.dispatchEvent(new Event('change')) }}"
    )


def test_sorting(page: browser.Page) -> None:
    button = "document.querySelectorAll('table.sortable')[0].querySelectorAll('button.sort')[2]"
    page.evaluate(f"{button}.click()")
    falling = [float(text) for text in column(page, 0, 2)]
    assert falling == sorted(falling, reverse=True)
    page.evaluate(f"{button}.click()")
    assert column(page, 0, 2) == [f"{v:.3f}" for v in sorted(falling)]
    assert page.evaluate(f"{button}.closest('th').getAttribute('aria-sort')") == "ascending"


def test_choice_of_two(page: browser.Page) -> None:
    choose(page, "a", 0)
    choose(page, "b", 1)
    measures = column(page, 1, 0)
    here = measures.index("Accuracy")
    assert column(page, 1, 1)[here] == "0.915 [0.896, 0.931]"
    assert column(page, 1, 2)[here] == "0.932 [0.914, 0.946]"
    # Newcombe's interval from these two, by hand: 0.017 ± sqrt(0.018² + 0.016²), sqrt(0.014² + 0.019²)
    assert column(page, 1, 3)[here] == "+0.017 [−0.007, +0.040]"
    assert column(page, 1, 4)[here] == "undecided"
    assert page.evaluate("document.getElementById('unlike').hidden") is True
    choose(page, "b", 0)
    assert column(page, 1, 3)[here].startswith("0.000 [")


def test_foreign_names_arrive_as_text(page: browser.Page) -> None:
    assert page.evaluate("document.querySelectorAll('script').length") == 2
    assert page.evaluate("document.querySelectorAll('img, a, iframe, object, link').length") == 0
    assert page.evaluate("[...document.querySelectorAll('option')].some(o => o.text.includes('<script>alert(1)'))") is True


def test_nothing_was_logged_and_nothing_loaded(page: browser.Page) -> None:
    assert (page.errors, page.requests) == ([], [])


def test_the_policy_stops_what_is_not_ours(page: browser.Page, tmp_path: Path) -> None:
    """The errors of the test above would be seen: a page with a foreign script and picture logs both."""
    tampered = html([cards.minimal()]).replace("</main>", "<script>window.ran = 1</script><img src='x.png'></main>")
    (tmp_path / "tampered.html").write_text(tampered, encoding="utf-8")
    with browser.page() as other:
        other.open(tmp_path / "tampered.html")
        assert other.evaluate("window.ran") is None
        assert len(other.errors) == 2
