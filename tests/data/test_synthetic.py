"""What make-c writes reads back exactly, says what it is, and is never taken for a published set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sharpaudit.corruptions import NAMES, VERSION, corrupt
from sharpaudit.data import open_images
from sharpaudit.data.paired import open_paired
from sharpaudit.data.published import open_corrupted
from sharpaudit.data.synthetic import file_hash, open_synthetic, read_manifest, write_synthetic
from sharpaudit.errors import DataError, EnvironmentFailure

DIGITS = open_images("digits", limit=7)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "digits-c"
    write_synthetic(DIGITS, out, seed=3, batch_size=3)
    return out


def test_every_cell_reads_back_exactly(made: Path) -> None:
    clean, found = open_paired(f"synthetic-c:{made}")
    np.testing.assert_array_equal(clean.images[:], DIGITS.images[:])
    assert (clean.index_hash, clean.classes) == (DIGITS.index_hash, DIGITS.classes)
    assert found.cells == [(name, severity) for name in NAMES for severity in (1, 2, 3, 4, 5)]
    for name, severity in found.cells:
        truth = corrupt(torch.tensor(DIGITS.images[:]), name, severity, indices=torch.arange(7), seed=3)
        cell = found.cell(name, severity)
        np.testing.assert_array_equal(cell.images[:], truth.numpy())
        assert cell.labels.tolist() == DIGITS.labels.tolist()
    record = found.record()
    assert (record.label, record.version, record.missing, record.paired) == ("synthetic-c", VERSION, [], True)


def test_the_layout_is_the_published_one(made: Path) -> None:
    assert np.load(made / "fog.npy").shape == (35, 8, 8, 1)
    assert np.load(made / "labels.npy").tolist() == DIGITS.labels.tolist() * 5
    assert {path.name for path in made.iterdir()} == {
        *(f"{name}.npy" for name in (*NAMES, "labels", "clean")), "manifest.json", "README.txt"
    }  # fmt: skip
    about = (made / "README.txt").read_text()
    assert about.startswith("synthetic-c: 7 images of digits") and "not published by anybody" in about


def test_the_manifest_says_how_it_was_made(made: Path) -> None:
    manifest = read_manifest(made)
    assert (manifest.version, manifest.seed, manifest.table, manifest.severities) == (VERSION, 3, 32, [1, 2, 3, 4, 5])
    assert manifest.files["fog.npy"] == file_hash(made / "fog.npy")
    assert len(manifest.files) == 21


def test_fewer_severities(tmp_path: Path) -> None:
    write_synthetic(DIGITS, tmp_path / "few", severities=(5, 3), corruptions=("fog", "snow"))
    _, found = open_synthetic(str(tmp_path / "few"))
    assert found.cells == [("snow", 3), ("snow", 5), ("fog", 3), ("fog", 5)]
    truth = corrupt(torch.tensor(DIGITS.images[:]), "fog", 5, indices=torch.arange(7))
    np.testing.assert_array_equal(found.cell("fog", 5).images[:], truth.numpy())


def test_it_is_not_taken_for_a_published_set(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(4))
    write_synthetic(open_images(f"npz:{tmp_path}/own.npz"), tmp_path / "CIFAR-10-C")
    with pytest.raises(DataError, match="holds corruptions that sharpaudit made, not the published CIFAR-10-C") as caught:
        open_corrupted("cifar10-c", search=[tmp_path])
    assert f"synthetic-c:{tmp_path}" in str(caught.value)


def test_a_missing_file_is_listed(tmp_path: Path) -> None:
    write_synthetic(DIGITS, tmp_path / "set", severities=(1,), corruptions=("fog", "snow"))
    (tmp_path / "set" / "fog.npy").unlink()
    with pytest.raises(DataError, match="synthetic-c is incomplete: fog"):
        open_synthetic(str(tmp_path / "set"))
    assert open_synthetic(str(tmp_path / "set"), allow_partial=True)[1].missing == ("fog",)


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no/where' does not exist"):
        open_synthetic(str(tmp_path / "no" / "where"))
    with pytest.raises(DataError, match=r"no manifest.json in .*make-c"):
        open_synthetic(str(tmp_path))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match=r"manifest.json: version: Field required"):
        open_synthetic(str(tmp_path))


def test_a_manifest_of_another_kind_or_other_clean_images(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_synthetic(DIGITS, root, severities=(1,), corruptions=("fog",))
    manifest = json.loads((root / "manifest.json").read_text())
    (root / "manifest.json").write_text(json.dumps(manifest | {"schema": "sharpaudit.synthetic-c/2"}))
    with pytest.raises(DataError, match=r"manifest.json is of 'sharpaudit.synthetic-c/2', expected sharpaudit.synthetic-c/1"):
        open_synthetic(str(root))
    (root / "manifest.json").write_text(json.dumps(manifest))
    clean = np.load(root / "clean.npy")
    clean[0, 0, 0, 0] += 1
    np.save(root / "clean.npy", clean)
    with pytest.raises(DataError, match=r"clean.npy is not what the manifest says"):
        open_synthetic(str(root))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(EnvironmentFailure, match="the output exists and is not an empty folder"):
        write_synthetic(DIGITS, tmp_path)
    with pytest.raises(EnvironmentFailure, match="cannot write: Not a directory"):
        write_synthetic(DIGITS, tmp_path / "mine.txt" / "set")


def test_progress_rises_to_one(tmp_path: Path) -> None:
    seen: list[float] = []
    write_synthetic(DIGITS, tmp_path / "set", severities=(1,), corruptions=("fog", "snow"), on_progress=seen.append)
    assert seen == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
