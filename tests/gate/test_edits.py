"""Cards and predictions edited in every field: an edit is refused wherever it can be known.

An attacker can compute SHA-256 as well as we can. So each edit is made twice: as it is, when the digest gives it away, and sealed
anew. Then an outsider decides whether it can be known: the shipped JSON Schema rejects it, or it changes what follows from the
predictions, or the range of the measure. What is left, only a signature tells from the truth.
"""

from __future__ import annotations

import copy
import hashlib
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import sharpaudit
from sharpaudit import store
from sharpaudit.card import codec
from sharpaudit.errors import CardError, ExitCode
from sharpaudit.gate import Policy, judge_run
from tests.cli.conftest import DEMO
from tests.seed import AGAIN, SEED

POLICY = Policy.model_validate(
    {"schema": "sharpaudit.policy/1", "rules": [{"metric": "clean.accuracy", "min": 0.5, "test": "bound"}]}
)
SCHEMA = json.loads(codec.SCHEMA_FILE.read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
RECOMPUTED = ("clean.", "calibration.", "corruption.")
TELLING = ("value", "ci", "n", "name", "status", "direction", "probe", "version")
"""Fields of a measurement that the predictions or the catalogue decide."""

Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Edit:
    """A change of one place of a card."""

    kind: str
    place: Place
    before: Any
    card: Any

    @cached_property
    def telling(self) -> bool:
        """Whether the predictions, the catalogue or the schema contradict it."""
        if self.kind == "delete" and (_at(self.before, self.place) is None or self.place[-1] == "level"):
            return False  # that is what its absence means
        match self.place:
            case ("digest",):  # sealing makes a new one
                return False
            case ("measurements", int(i), *rest):
                own = self.before["measurements"][i]
                if (
                    (not rest or (rest[0] in TELLING and rest[-1] != "method"))
                    and own["status"] == "measured"
                    and own["name"].startswith(RECOMPUTED)
                ):
                    return True
            case ("tables", "class" | "reliability" | "corruption" as table, "rows", *rest):
                hashed = len(rest) == 2 and self.before["tables"][table]["columns"][rest[1]] == "sha256"
                return not hashed
            case ("data", "n" | "classes", *_) | ("train_data", "n") | ("predictions" | "measurements",):
                return True
        return not VALIDATOR.is_valid(self.card)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two audits, of which the first is edited."""
    made = []
    for name in ("baseline-seed0", "augmentation-seed0"):
        folder = tmp_path_factory.mktemp(name)
        checkpoint = Path(shutil.copy(DEMO / f"{name}.safetensors", folder))
        (folder / "model.sig").touch()
        run = sharpaudit.measure(
            checkpoint,
            "digits",
            train_data="digits:train",
            probes="accuracy,calibration,corruption,fisher_rao",
            options={"corruption": {"cells": ("fog/1", "fog/5", "contrast/3")}, "calibration": {"floor_draws": 50}},
            limit=100,
        )
        store.save_run(folder, run)
        made.append(folder)
    return made[0], made[1]


@pytest.fixture(scope="module")
def edits(runs: tuple[Path, Path]) -> list[Edit]:
    """Every kind of edit of every place, of the items of a list at three of them."""
    print(AGAIN)
    card, other = (json.loads((folder / store.REPORT).read_text()) for folder in runs)
    VALIDATOR.validate(card)
    return [edit for place in _places(card) for edit in _edits(card, other, place)]


def one_of_each(edits: Iterable[Edit], of: Callable[[Edit], object]) -> list[Edit]:
    """A random one of those that are alike in `of` and in their place, whatever the items of lists."""
    chance, groups = random.Random(SEED), defaultdict[object, list[Edit]](list)
    for edit in edits:
        groups[of(edit), tuple("*" if isinstance(key, int) else key for key in edit.place)].append(edit)
    return [chance.choice(group) for group in groups.values()]


def _places(document: Any, at: Place = ()) -> Iterator[Place]:
    """Every place of the document; of lists three items."""
    chance = random.Random(SEED)
    items = list(document.items() if isinstance(document, dict) else enumerate(document))
    for key, value in items if isinstance(document, dict) else chance.sample(items, min(3, len(items))):
        yield (*at, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*at, key))


def _edits(card: Any, other: Any, place: Place) -> Iterator[Edit]:
    own = _at(card, place)
    for kind, value in _values(own):
        yield Edit(kind, place, card, _with(card, place, value))
    yield Edit("delete", place, card, _without(card, place))
    if isinstance(own, list) and own:
        yield Edit("duplicate", place, card, _with(card, place, [*own, copy.deepcopy(own[0])]))
    foreign = _at(other, place)
    if foreign is not None and foreign != own:
        yield Edit("from another run", place, card, _with(card, place, foreign))


def _values(own: Any) -> Iterator[tuple[str, Any]]:
    """What may stand in the place of `own`: another type, or beyond its range."""
    match own:
        case bool():
            yield from (("retype", "yes"), ("retype", int(own)), ("other", not own))
        case int() | float():
            yield from (("retype", str(own)), ("retype", True), ("retype", [own]))
            yield from (("out of range", value) for value in (-1, 1e308, -1e308, 94.4) if value != own)
        case str():
            yield from (("retype", 1), ("retype", None), ("other", own + "x"))
        case list():
            yield from (("retype", {}), ("retype", "none"))
        case dict():
            yield from (("retype", []), ("retype", 0))
        case None:
            yield from (("retype", {"x": []}), ("retype", -1))


def _at(document: Any, place: Place) -> Any:
    for key in place:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _with(card: Any, place: Place, value: Any) -> Any:
    changed = copy.deepcopy(card)
    _at(changed, place[:-1])[place[-1]] = value
    return changed


def _without(card: Any, place: Place) -> Any:
    changed = copy.deepcopy(card)
    del _at(changed, place[:-1])[place[-1]]
    return changed


def sealed(card: Any) -> str:
    """The card with a digest that fits, as anybody can compute it."""
    covered = {name: value for name, value in card.items() if name not in ("digest", "timing")}
    text = json.dumps(covered, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    return json.dumps(covered | {"digest": "sha256:" + hashlib.sha256(text.encode()).hexdigest()})


def outcome(folder: Path, text: str, source: Path) -> ExitCode:
    """What the gate ends in on the run at `source` with another card."""
    if not folder.exists():
        shutil.copytree(source, folder)
    (folder / store.REPORT).write_text(text)
    try:
        return judge_run(store.load_run(folder), POLICY, today=date(2026, 6, 1)).exit_code
    except CardError as error:
        return error.exit_code


def test_the_runs_themselves_pass(runs: tuple[Path, Path], tmp_path: Path) -> None:
    for i, folder in enumerate(runs):
        assert outcome(tmp_path / str(i), (folder / store.REPORT).read_text(), folder) is ExitCode.DONE
        assert outcome(tmp_path / str(i), sealed(json.loads((folder / store.REPORT).read_text())), folder) is ExitCode.DONE


def test_the_edits_reach_every_field(edits: list[Edit]) -> None:
    absent = {"timing", "Timing", "Skipped", "Failed", "declared", "Declared"}  # the last two: of plug-ins alone
    reached = {str(key) for edit in edits for key in edit.place}
    for record, schema in {"Card": SCHEMA, **SCHEMA["$defs"]}.items():
        assert record in absent or set(schema["properties"]) - absent <= reached, record
    assert len(edits) >= 300


def test_no_edit_passes_that_is_not_sealed(edits: list[Edit], runs: tuple[Path, Path], tmp_path: Path) -> None:
    chosen = one_of_each(edits, lambda edit: None)
    assert len(chosen) >= 100
    for edit in chosen:
        assert outcome(tmp_path / "run", json.dumps(edit.card), runs[0]) is ExitCode.INPUT, (edit.kind, edit.place)


def test_no_edit_passes_that_can_be_known(edits: list[Edit], runs: tuple[Path, Path], tmp_path: Path) -> None:
    chosen = [edit for edit in one_of_each(edits, lambda edit: edit.kind in ("retype", "delete")) if edit.telling]
    assert len(chosen) >= 100
    for edit in chosen:
        assert outcome(tmp_path / "run", sealed(edit.card), runs[0]) is ExitCode.INPUT, (edit.kind, edit.place)


@pytest.mark.slow
def test_no_edit_at_all_passes_that_can_be_known(edits: list[Edit], runs: tuple[Path, Path], tmp_path: Path) -> None:
    passed = []
    for edit in edits:
        assert outcome(tmp_path / "run", json.dumps(edit.card), runs[0]) is ExitCode.INPUT, (edit.kind, edit.place)
        found = outcome(tmp_path / "run", sealed(edit.card), runs[0])
        assert found is ExitCode.INPUT or not edit.telling, (edit.kind, edit.place)
        passed += [] if found is ExitCode.INPUT else [edit.place]
    print(len(edits), "edits; only a signature tells those of:")
    print("\n".join(sorted({"/".join("*" if isinstance(k, int) else k for k in place) for place in passed})))


def test_predictions_that_were_replaced_do_not_pass(runs: tuple[Path, Path], tmp_path: Path) -> None:
    """The arrays of another run, whole and view by view, and answers that were set right, each with its hash on the card."""
    own, other = (store.load_run(folder) for folder in runs)
    changes: dict[str, store.Columns] = {
        "all of another run": other.columns,
        **{f"{view} of another run": {**own.columns, view: other.columns[view]} for view in own.columns if view != "train"},
        "set right": {**own.columns, "clean": {**own.columns["clean"], "prediction": own.columns["clean"]["labels"]}},
        "severity 1 for 5": {**own.columns, "corruption/fog/5": own.columns["corruption/fog/1"]},
        **{
            f"{name} backwards": {**own.columns, "clean": {**own.columns["clean"], name: values[::-1]}}
            for name, values in own.columns["clean"].items()
        },
    }
    for what, columns in changes.items():
        store.save_run(tmp_path / "run", store.Run(own.card, columns))
        with pytest.raises(CardError, match="the card cannot be right"):
            print(what)
            judge_run(store.load_run(tmp_path / "run"), POLICY, today=date(2026, 6, 1))
        (tmp_path / "run" / store.REPORT).write_text((runs[0] / store.REPORT).read_text())
        with pytest.raises(CardError, match="were edited or belong to another card"):
            store.load_run(tmp_path / "run")
