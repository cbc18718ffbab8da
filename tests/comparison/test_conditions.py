"""Where a model's condition comes from, and what cannot say it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sharpaudit.comparison.conditions import conditions
from sharpaudit.errors import SharpauditError

FILES = ["sam-seed0.pt", "sam-seed1.pt", "base-seed0.pt"]
FOUND = {"sam-seed0.pt": "sam", "sam-seed1.pt": "sam", "base-seed0.pt": "base"}

SOURCES = {
    "a.csv": "file,condition,lr\nsam-seed0.pt,sam,1\nsam-seed1.pt,sam,1\nbase-seed0.pt,base,1\nunused.pt,x,1\n",
    "b.csv": "\ufefflr,file,optimizer\n1,sam-seed0.pt,sam\n1,sam-seed1.pt,sam\n1,base-seed0.pt,base\n",
    "c.yaml": "sam-seed0.pt: sam\nsam-seed1.pt: sam\nbase-seed0.pt: base\n",
    "d.yml": "sam-seed0.pt: {lr: 1, opt: sam}\nsam-seed1.pt: {opt: sam}\nbase-seed0.pt: {opt: base}\n",
    "numbers.yaml": "sam-seed0.pt: 1e-3\nsam-seed1.pt: 0.001\nbase-seed0.pt: true\n",
    "list.yaml": "- sam\n",
    "nested.yaml": "sam-seed0.pt: [1]\n",
    "short.csv": "file,condition\nsam-seed0.pt,sam\n",
    "latin.csv": "file,condition\n",
    "quote.csv": 'file,condition\n"a"b,c\n',
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "latin.csv").write_bytes(b"file,condition\nsam\xff,x\n")
    (tmp_path / "huge.csv").write_bytes(b"file,condition\n" + b"x" * 2**20)
    return tmp_path


@pytest.mark.parametrize("source", ["(.+)-seed", "^(?:x:)?([a-z]+)", "a.csv", "b.csv:optimizer", "c.yaml", "d.yml:opt"])
def test_found(folder: Path, source: str) -> None:
    assert conditions(FILES, source) == FOUND


def test_equal_numbers_are_one_condition(folder: Path) -> None:
    assert conditions(FILES, "numbers.yaml") == {"sam-seed0.pt": "0.001", "sam-seed1.pt": "0.001", "base-seed0.pt": "True"}


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("sam", "expected a group in parentheses"),
        ("(", "neither a .csv or .yaml file nor a regular expression"),
        ("(sam)", "'(sam)' says nothing of 'base-seed0.pt'"),
        ("(x)?", "'(x)?' says nothing of 'sam-seed0.pt'"),
        ("nowhere.csv", "expected a group in parentheses"),
        (
            "a.csv:optimiser",
            "a.csv has the columns file, condition, lr; expected 'file', the name of a checkpoint's file, and 'optimiser'",
        ),
        ("d.yml:optimiser", "unknown column for 'sam-seed0.pt' in d.yml 'optimiser'"),
        ("list.yaml", "expected a mapping from file names"),
        ("nested.yaml", "expected a word or a number for 'sam-seed0.pt'"),
        ("short.csv", "'short.csv' says nothing of 'sam-seed1.pt'"),
        ("latin.csv", "not a table"),
        ("quote.csv", "not a table"),
        ("huge.csv", "bytes are more than the"),
    ],
)
def test_refused(folder: Path, source: str, words: str) -> None:
    with pytest.raises(SharpauditError) as caught:
        conditions(FILES, source)
    assert words in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("repeated", ["(a|aa)+", "([a-z]|aa)+", "(a|a)+b", "(a|aa|aaa)*"])
def test_an_expression_that_takes_for_ever_is_stopped(repeated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sharpaudit.comparison.conditions.SECONDS", 0.2)
    started = time.process_time()
    with pytest.raises(SharpauditError, match=r"takes more than 0\.2 s to search") as caught:
        conditions([*FILES, *(f"{'a' * 60}{n}.pt" for n in range(100))], rf"^(?:{repeated})$")
    assert caught.value.exit_code == 2
    assert time.process_time() - started < 2  # for all names together


def test_an_unreadable_table_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SharpauditError, match="cannot be read: Permission denied"):
        conditions(FILES, "a.csv")
