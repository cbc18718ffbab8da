"""A run folder is written whole or not at all, and its two files belong together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from sharpaudit import store
from sharpaudit.card import Card, codec
from sharpaudit.errors import CardError, EnvironmentFailure
from sharpaudit.store.runs import pack
from tests.report.cards import full

COLUMNS: store.Columns = {
    "clean": {"labels": np.arange(5), "nll": np.linspace(0, 1, 5)},
    "corruption/fog/3": {"labels": np.arange(5)},
}


@pytest.fixture
def card() -> Card:
    return full()


def test_round_trip(tmp_path: Path, card: Card) -> None:
    run = store.Run.sealed(card, COLUMNS)
    store.save_run(tmp_path / "run", run)
    loaded = store.load_run(tmp_path / "run")
    assert codec.encode(loaded.card, timing=True) == codec.encode(run.card, timing=True)
    assert {view: sorted(named) for view, named in loaded.columns.items()} == {view: sorted(c) for view, c in COLUMNS.items()}
    assert np.array_equal(loaded.columns["clean"]["nll"], COLUMNS["clean"]["nll"])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [store.COLUMNS, store.REPORT, store.TIMING]


def test_a_card_alone_has_no_columns(tmp_path: Path, card: Card) -> None:
    store.write(tmp_path / "moved.json", codec.encode(card))
    assert store.load_run(tmp_path / "moved.json").columns == {}


def bits() -> Iterator[tuple[str, str, int]]:
    """Where a bit can be flipped in the columns."""
    for view, named in COLUMNS.items():
        for name, values in named.items():
            yield from ((view, name, bit) for bit in range(0, 8 * values.nbytes, 13))


@pytest.mark.parametrize("what", ["another view", "another column", "another type", "another shape", "no columns", "a bit"])
def test_columns_that_the_card_was_not_made_from_are_refused(what: str, tmp_path: Path, card: Card) -> None:
    store.save_run(tmp_path, store.Run.sealed(card, COLUMNS))
    labels = np.arange(5)
    changes: dict[str, list[store.Columns]] = {
        "another view": [{**COLUMNS, "train": {"labels": labels}}, {"clean": COLUMNS["clean"]}],
        "another column": [{**COLUMNS, "corruption/fog/3": {"prediction": labels}}],
        "another type": [{**COLUMNS, "corruption/fog/3": {"labels": labels.astype(np.int32)}}],
        "another shape": [{**COLUMNS, "corruption/fog/3": {"labels": labels[:, None]}}],
        "no columns": [{}],
        "a bit": [flipped(*place) for place in bits()],
    }
    for columns in changes[what]:
        store.write(tmp_path / store.COLUMNS, pack(columns))
        with pytest.raises(CardError, match="were edited or belong to another card"):
            store.load_run(tmp_path)


def flipped(view: str, name: str, bit: int) -> store.Columns:
    values = np.frombuffer(bytearray(COLUMNS[view][name].tobytes()), dtype=np.uint8)
    values[bit // 8] ^= 1 << bit % 8
    return {**COLUMNS, view: {**COLUMNS[view], name: values.view(COLUMNS[view][name].dtype)}}


def test_a_card_that_names_no_columns_has_none(tmp_path: Path, card: Card) -> None:
    store.save_run(tmp_path, store.Run(card, COLUMNS))
    store.write(tmp_path / store.REPORT, codec.encode(card))
    with pytest.raises(CardError, match="were edited or belong to another card"):
        store.load_run(tmp_path)


def test_columns_of_version_1_0_name_their_card(tmp_path: Path, card: Card) -> None:
    old = card.model_copy(update={"schema_": "sharpaudit.card/1.0"})
    flat = {f"{view}|{name}": values for view, named in COLUMNS.items() for name, values in named.items()}
    store.write(tmp_path / store.REPORT, codec.encode(old))
    store.write(tmp_path / store.COLUMNS, save(flat, {"card": codec.digest(old)}))
    assert store.load_run(tmp_path).columns.keys() == COLUMNS.keys()
    store.write(tmp_path / store.COLUMNS, save(flat, {"card": codec.digest(card)}))
    with pytest.raises(CardError, match="were edited or belong to another card"):
        store.load_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b'{"seconds": "long"}', b"\xff"])
def test_a_damaged_timing_is_no_timing(content: bytes, tmp_path: Path, card: Card) -> None:
    store.save_run(tmp_path, store.Run.sealed(card, COLUMNS))
    (tmp_path / store.TIMING).write_bytes(content)
    assert store.load_run(tmp_path).card.timing is None


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
