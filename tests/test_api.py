"""The public names: what they do, what importing them costs, and how a card looks in a notebook."""

from __future__ import annotations

import doctest
import subprocess
import sys
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest

import sharpaudit
from sharpaudit import store
from sharpaudit.errors import CardError, ExitCode, UsageError
from sharpaudit.report.html import fragment
from tests.cli.conftest import DEMO
from tests.report import cards

POLICY = "schema: sharpaudit.policy/1\nrules:\n  - {metric: clean.accuracy, min: 0.9, test: bound}\n"


@pytest.fixture(scope="module")
def runs() -> list[store.Run]:
    return [sharpaudit.measure(DEMO / f"{name}-seed0.safetensors", "digits", probes="accuracy") for name in ("baseline", "sam")]


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_example_in_the_docstring_is_true() -> None:
    found = doctest.testmod(sharpaudit)
    assert (found.failed, found.attempted > 5) == (0, True)


def test_importing_it_imports_nothing() -> None:
    code = "import sys, sharpaudit; print(sorted(m for m in sys.modules if m.partition('.')[0] in HEAVY or 'sharpaudit.' in m))"
    heavy = "HEAVY = {'torch', 'numpy', 'pydantic', 'scipy', 'typer'}; "
    assert python(heavy + code) == "[]"
    judging = "sharpaudit.load, sharpaudit.judge, sharpaudit.compare, sharpaudit.Card"
    assert python(f"import sys, sharpaudit; {judging}; print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize("first", ["", "import sharpaudit.comparison; ", "from sharpaudit.comparison import Comparison; "])
def test_compare_is_the_function_whatever_was_imported_before(first: str) -> None:
    code = f"{first}import sharpaudit; from sharpaudit import compare; print(callable(sharpaudit.compare), callable(compare))"
    assert python(code) == "True True"


def test_the_names() -> None:
    assert set(sharpaudit.__all__) <= set(dir(sharpaudit))
    assert all(callable(getattr(sharpaudit, name)) for name in sharpaudit.__all__)
    with pytest.raises(AttributeError, match="module 'sharpaudit' has no attribute 'audits'"):
        sharpaudit.audits  # type: ignore[attr-defined]  # noqa: B018 - reading it is the test


def test_runs_are_compared_stored_and_judged(runs: list[store.Run], tmp_path: Path) -> None:
    assert sharpaudit.compare(*runs).pair is not None
    assert [m.condition for m in sharpaudit.compare(*runs, conditions={runs[0].card.subject.file: "x"}).models] == ["x", None]
    store.save_run(tmp_path / "run", runs[0])
    loaded = sharpaudit.load(tmp_path / "run")
    assert loaded.card == runs[0].card and loaded.columns.keys() == runs[0].columns.keys()
    (tmp_path / "policy.yaml").write_text(POLICY)
    assert sharpaudit.judge(loaded, tmp_path / "policy.yaml").exit_code == ExitCode.DONE
    drift = "  - {metric: clean.accuracy, baseline: {max_decrease: 0}, test: significant}\n"
    waiver = "waivers: [{rule: clean.accuracy, reason: r, owner: o, expires: 2026-05-31}]\n"
    (tmp_path / "policy.yaml").write_text(POLICY.replace("0.9", "0.99") + drift + waiver)

    def code(today: date) -> int:
        return sharpaudit.judge(loaded, str(tmp_path / "policy.yaml"), baseline=runs[1], today=today).exit_code

    assert code(date(2026, 5, 31)) == ExitCode.DONE, "the waiver holds on its last day"
    assert code(date(2026, 6, 1)) == ExitCode.GATE_FAILED


def test_errors_are_ours(tmp_path: Path, runs: list[store.Run]) -> None:
    with pytest.raises(CardError, match="cannot read the card"):
        sharpaudit.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="cannot read the policy"):
        sharpaudit.judge(runs[0], tmp_path / "nowhere.yaml")
    with pytest.raises(CardError, match="a comparison needs at least two cards, got 1"):
        sharpaudit.compare(runs[0])


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, in order, and whether they close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


TAGS = {"div", "p", "b", "i", "bdi", "table", "tr", "th", "td"}


def test_a_card_in_a_notebook(runs: list[store.Run]) -> None:
    shown = runs[0].card._repr_html_() or ""
    page = Page(shown)
    assert page.open == [] and page.tags <= TAGS and page.attributes <= {"style", "colspan"}
    assert "0.944 [0.925, 0.958]" in shown and "baseline-seed0.safetensors" in shown
    assert len(shown) < 20_000


@pytest.mark.parametrize("payload", ["<script>alert(1)</script>", '"><img src=x onerror=1>', "</div></table>", "\x1b[31m"])
def test_nothing_foreign_is_markup_in_a_notebook(payload: str) -> None:
    shown = fragment(cards.hostile(payload))
    page = Page(shown)
    assert page.open == [] and page.tags <= TAGS and page.attributes <= {"style", "colspan"}
    assert payload not in shown
    assert len(shown) < 60_000
