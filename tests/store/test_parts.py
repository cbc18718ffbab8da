"""What a later run need not do again is found, and nothing that is stale, damaged or edited."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sharpaudit.card import Measured, Outcome
from sharpaudit.store import Columns, Parts

IDENTITY = {"subject": {"sha256": "ab"}, "seed": 0}
CLEAN = {"labels": np.arange(5), "nll": np.linspace(0, 1, 5)}
FOG = {"labels": np.arange(3)}


def outcome(probe: str = "accuracy", **changes: Any) -> Outcome:
    number = Measured(name="clean.accuracy", value=0.1, unit="fraction", direction="higher", n=5, reason="a test", method="m")
    fields: dict[str, Any] = {"probe": probe, "version": 1, "status": "measured", "measurements": [number], "seconds": 0.1}
    return Outcome(**{**fields, **changes})


def kept(run: Path, found: Outcome | None = None, columns: Columns | None = None) -> Parts:
    parts = Parts(run, IDENTITY)
    parts.keep(found or outcome(), {"clean": CLEAN} if columns is None else columns)
    return parts


def test_round_trip(tmp_path: Path) -> None:
    kept(tmp_path, outcome(options={"bins": 15}), {"clean": CLEAN, "corruption/fog/3": FOG})
    found = Parts(tmp_path, IDENTITY).find("accuracy", 1, {"bins": 15})
    assert found is not None
    assert found[0] == outcome(options={"bins": 15})
    assert sorted(found[1]) == ["clean", "corruption/fog/3"]
    assert np.array_equal(found[1]["clean"]["nll"], CLEAN["nll"])


@pytest.mark.parametrize(
    ("identity", "probe", "version", "options"),
    [
        ({**IDENTITY, "seed": 1}, "accuracy", 1, {}),
        ({**IDENTITY, "subject": {"sha256": "cd"}}, "accuracy", 1, {}),
        (IDENTITY, "calibration", 1, {}),
        (IDENTITY, "accuracy", 2, {}),
        (IDENTITY, "accuracy", 1, {"bins": 10}),
    ],
    ids=["seed", "checkpoint", "probe", "version", "options"],
)
def test_whatever_decides_a_finding_is_part_of_its_key(
    tmp_path: Path, identity: dict[str, Any], probe: str, version: int, options: dict[str, int]
) -> None:
    kept(tmp_path)
    assert Parts(tmp_path, IDENTITY).find("accuracy", 1, {}) is not None
    assert Parts(tmp_path, identity).find(probe, version, options) is None


def test_nothing_is_found_when_everything_is_to_be_measured_again(tmp_path: Path) -> None:
    kept(tmp_path)
    assert Parts(tmp_path, IDENTITY, reuse=False).find("accuracy", 1, {}) is None


def test_columns_are_stored_once_and_again_after_a_restart_only_when_nobody_has_them(tmp_path: Path) -> None:
    parts = kept(tmp_path)
    parts.keep(outcome("calibration"), {"clean": CLEAN})
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 1
    later = Parts(tmp_path, IDENTITY)
    assert later.find("accuracy", 1, {}) is not None
    later.keep(outcome("corruption"), {"clean": CLEAN, "corruption/fog/3": FOG})
    found = Parts(tmp_path, IDENTITY).find("corruption", 1, {})
    assert found is not None
    assert np.array_equal(found[1]["clean"]["labels"], CLEAN["labels"])
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) == 2


def _edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


DAMAGE: dict[str, Callable[[Path, Path], object]] = {
    "torn outcome": lambda card, arrays: card.write_bytes(card.read_bytes()[:-40]),
    "empty outcome": lambda card, arrays: card.write_bytes(b""),
    "value edited": lambda card, arrays: card.write_text(card.read_text().replace("0.1", "0.9")),
    "digest gone": lambda card, arrays: _edit(card, lambda d: d.pop("digest")),
    "no columns": lambda card, arrays: _edit(card, lambda d: d.pop("columns")),
    "not an object": lambda card, arrays: card.write_text("[]"),
    "columns gone": lambda card, arrays: arrays.unlink(),
    "columns torn": lambda card, arrays: arrays.write_bytes(arrays.read_bytes()[:-3]),
    "columns flipped": lambda card, arrays: arrays.write_bytes(arrays.read_bytes()[:-1] + b"\x07"),
    "columns empty": lambda card, arrays: arrays.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_part_is_reported_and_measured_again(
    tmp_path: Path, damage: Callable[[Path, Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path)
    (card,) = (tmp_path / "parts").glob("*.json")
    damage(card, card.with_suffix(".safetensors"))
    with caplog.at_level(logging.WARNING):
        assert Parts(tmp_path, IDENTITY).find("accuracy", 1, {}) is None
    assert "accuracy: stored result is corrupt, measuring again" in caplog.text
    kept(tmp_path)
    assert Parts(tmp_path, IDENTITY).find("accuracy", 1, {}) is not None, "and then it is whole"


def test_an_outcome_cannot_point_out_of_its_folder(tmp_path: Path) -> None:
    from sharpaudit.store import parts as module

    kept(tmp_path)
    (card,) = (tmp_path / "parts").glob("*.json")
    (arrays,) = (tmp_path / "parts").glob("*.safetensors")
    arrays.rename(tmp_path / "outside.safetensors")
    document = json.loads(card.read_text())
    document.pop("digest")
    document["columns"]["clean"][0] = "../outside.safetensors"
    card.write_text(json.dumps({**document, "digest": module._digest(document)}))
    assert Parts(tmp_path, IDENTITY).find("accuracy", 1, {}) is None
