"""A run folder is written whole or not at all, and its two files belong together."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sharpaudit import store
from sharpaudit.card import Card, codec
from sharpaudit.errors import CardError, EnvironmentFailure
from tests.report.cards import full

COLUMNS: store.Columns = {
    "clean": {"labels": np.arange(5), "nll": np.linspace(0, 1, 5)},
    "corruption/fog/3": {"labels": np.arange(5)},
}


@pytest.fixture
def card() -> Card:
    return full()


def test_round_trip(tmp_path: Path, card: Card) -> None:
    store.save_run(tmp_path / "run", store.Run(card, COLUMNS))
    loaded = store.load_run(tmp_path / "run")
    assert codec.encode(loaded.card) == codec.encode(card)
    assert {view: sorted(named) for view, named in loaded.columns.items()} == {view: sorted(c) for view, c in COLUMNS.items()}
    assert np.array_equal(loaded.columns["clean"]["nll"], COLUMNS["clean"]["nll"])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [store.COLUMNS, store.REPORT]


def test_a_card_alone_has_no_columns(tmp_path: Path, card: Card) -> None:
    store.write(tmp_path / "moved.json", codec.encode(card))
    assert store.load_run(tmp_path / "moved.json").columns == {}


def test_columns_of_another_card_are_refused(tmp_path: Path, card: Card) -> None:
    store.save_run(tmp_path, store.Run(card, COLUMNS))
    store.write(tmp_path / store.REPORT, codec.encode(card.model_copy(update={"seed": card.seed + 1})))
    with pytest.raises(CardError, match="belong to another card"):
        store.load_run(tmp_path)


@pytest.mark.parametrize("damage", [lambda data: data[:40], lambda data: b"", lambda data: b"\xff" * 100])
def test_damaged_columns_are_named(tmp_path: Path, card: Card, damage: object) -> None:
    assert callable(damage)
    store.save_run(tmp_path, store.Run(card, COLUMNS))
    path = tmp_path / store.COLUMNS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CardError, match="stored predictions cannot be read"):
        store.load_run(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write(tmp_path / "file", "old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(EnvironmentFailure, match="No space left on device"):
        store.write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_not_ours_is_refused(tmp_path: Path, card: Card) -> None:
    store.check(tmp_path / "new" / "deeper")
    assert not (tmp_path / "new").exists(), "checking creates nothing"
    store.check(tmp_path)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(EnvironmentFailure, match="not a run folder of ours"):
        store.check(tmp_path)
    with pytest.raises(EnvironmentFailure, match="expected a folder, got something else"):
        store.check(tmp_path / "thesis.tex")
    store.save_run(tmp_path / "run", store.Run(card, COLUMNS))
    store.check(tmp_path / "run")


def test_columns_carry_the_digest_of_their_card(tmp_path: Path, card: Card) -> None:
    store.save_run(tmp_path, store.Run(card, COLUMNS))
    data = (tmp_path / store.COLUMNS).read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert header["__metadata__"]["card"] == codec.digest(card)
