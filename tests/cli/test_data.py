"""`sharpaudit data` and the -c sets of `measure`: what is found, what is missing, what is wrong, and which exit code says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sharpaudit.corruptions import NAMES, STANDARD15, corrupt
from sharpaudit.data import open_images
from tests.cli.conftest import DEMO, Command
from tests.data.corrupted_sets import (
    WNIDS,
    write_cifar10,
    write_cifar10_c,
    write_tiny_imagenet,
    write_tiny_imagenet_c,
)

GOOD = DEMO / "baseline-seed0.safetensors"
LABELS = np.arange(20) % 10


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder on the search path."""
    folder = tmp_path / "sets"
    folder.mkdir()
    monkeypatch.setenv("SHARPAUDIT_DATA", str(folder))
    return folder


def write_real_cifar10_c(root: Path) -> None:
    """Images with structure and our corruptions of them, as if they were the published ones."""
    write_cifar10(root, LABELS)
    blurred = corrupt(torch.tensor(open_images("cifar10", search=[root]).images[:]), "zoom_blur", 5, indices=torch.arange(20))
    records = (root / "cifar-10-batches-bin" / "test_batch.bin").read_bytes()
    whole = np.frombuffer(records, np.uint8).reshape(20, -1).copy()
    whole[:, 1:] = blurred.numpy().transpose(0, 3, 1, 2).reshape(20, -1)
    whole.tofile(root / "cifar-10-batches-bin" / "test_batch.bin")
    folder = root / "CIFAR-10-C"
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile(LABELS, 5))
    for name in NAMES:
        cells = [corrupt(blurred, name, severity, indices=torch.arange(20)).numpy() for severity in (1, 2, 3, 4, 5)]
        np.save(folder / f"{name}.npy", np.concatenate(cells))


# Listing and describing


def test_the_list_says_what_is_found_and_where_it_was_searched(run: Command, sets: Path) -> None:
    write_cifar10(sets, LABELS), write_cifar10_c(sets, LABELS, STANDARD15)
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in run("data").out.splitlines()}
    assert rows["digits"] == "797 8×8×1 10 classes"
    assert rows["cifar10"] == "20 32×32×3 10 classes"
    assert rows["cifar10-c"] == "20 32×32×3 15 corruptions (0 beyond the fifteen), 75 cells"
    assert rows["cifar100-c"].startswith("- cifar100-c needs its clean images beside it")
    assert rows["searched:"] == str(sets)
    document = json.loads(run("data", "--json").out)
    assert document["searched"] == [str(sets)]
    assert [each["name"] for each in document["data_sets"] if each["found"]] == ["cifar10", "cifar10-c", "digits"]


def test_the_list_without_a_search_path(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHARPAUDIT_DATA", raising=False)
    assert "searched: nowhere but in the package: set SHARPAUDIT_DATA" in run("data").out


def test_one_set_is_described(run: Command, sets: Path) -> None:
    shown = run("data", "digits")
    assert "test          digits: 797 images of 8×8×1 in 10 classes" in shown.out
    assert "train         digits:train: 1,000 images" in shown.out
    assert open_images("digits").index_hash in shown.out
    write_cifar10(sets, LABELS), write_cifar10_c(sets, LABELS)
    (sets / "CIFAR-10-C" / "fog.npy").unlink()
    shown = run("data", "cifar10-c")
    assert shown.code == 0
    assert "corruptions   cifar10-c, published files: 18 corruptions (4 beyond the fifteen), 90 cells, missing: fog" in shown.out
    document = json.loads(run("data", "cifar10-c", "--json").out)
    assert document["corruptions"]["missing"] == ["fog"] and len(document["corruptions"]["cells"]) == 90
    assert document["per_class"] == [2, 2] and document["splits"]["test"]["n"] == 20


def test_classes_that_a_limit_leaves_out_are_told_before_any_number(run: Command) -> None:
    digits = open_images("digits")
    order = np.argsort(digits.labels, kind="stable")
    np.savez("sorted.npz", images=digits.images[:][order], labels=digits.labels[order])
    card = " ".join(run("measure", GOOD, "--data", "npz:sorted.npz", "--limit", "100", "--probes", "accuracy").out.split())
    warning = "! Only 2 of 10 classes are among the 100 of 797 images that are used; no number says anything of the others."
    assert 0 < card.find(warning) < card.find("Right on")
    assert run("data", "make-c", "--data", "npz:sorted.npz", "--limit", "9", "-o", "own").code == 0
    assert "warning       only 1 of 10 classes are among the 9 of 797" in run("data", "synthetic-c:own").out


def test_names_and_commands_share_a_place(run: Command) -> None:
    assert run("data", "nosuch").code == 3
    assert "unknown data set 'nosuch'" in run("data", "nosuch").err
    assert run("data", "--help").code == 0
    refused = run("data", "--verify")
    assert (refused.code, "--verify needs the name of a data set" in refused.err) == (2, True)


# Verification


def test_a_sound_set_is_verified(run: Command, sets: Path) -> None:
    write_real_cifar10_c(sets)
    result = run("data", "cifar10-c", "--verify")
    assert (result.code, result.err) == (0, "96 parts read, nothing wrong found\n")
    assert sum(line.endswith("ok") for line in result.out.splitlines()) == 96
    document = json.loads(run("data", "cifar10-c", "--verify", "--json").out)
    by_name = {each["name"]: each for each in document["verified"]}
    fog = np.load(sets / "CIFAR-10-C" / "fog.npy")[60:80]
    clean = open_images("cifar10", search=[sets])
    assert by_name["fog/4"]["distance"] == pytest.approx(np.abs(fog.astype(float) - clean.images[:]).mean())
    assert by_name["cifar10"]["sha256"] == clean.index_hash


def rolled(folder: Path) -> None:
    """Images of one cell one place on."""
    images = np.load(folder / "brightness.npy")
    images[:20] = np.roll(images[:20], 1, axis=0)
    np.save(folder / "brightness.npy", images)


def reversed_order(folder: Path) -> None:
    images = np.load(folder / "gaussian_noise.npy")
    np.save(folder / "gaussian_noise.npy", images.reshape(5, 20, 32, 32, 3)[::-1].reshape(images.shape))


def lacking(folder: Path) -> None:
    (folder / "snow.npy").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (rolled, "something is wrong in 1 of 96 parts: brightness/1: its images are no more like the clean ones"),
        (reversed_order, "something is wrong in 1 of 96 parts: gaussian_noise/5: severities fall from 1 to 5"),
        (lacking, "something is wrong in 1 of 92 parts: snow: missing"),
    ],
)
def test_what_is_wrong_is_said(run: Command, sets: Path, damage: Callable[[Path], None], words: str) -> None:
    write_real_cifar10_c(sets)
    damage(sets / "CIFAR-10-C")
    result = run("data", "cifar10-c", "--verify")
    assert result.code == 3
    assert words in result.err
    assert "snow/1" in result.out or damage is lacking
    document = json.loads(run("data", "cifar10-c", "--verify", "--json").out)
    assert words in document["error"]["message"]


def test_a_set_of_ours_is_verified_by_its_hashes(run: Command, tmp_path: Path) -> None:
    assert run("data", "make-c", "--data", "digits", "--limit", "9", "-o", "own").code == 0
    assert run("data", "synthetic-c:own", "--verify").code == 0
    path = tmp_path / "own" / "fog.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    (tmp_path / "own" / "snow.npy").unlink()
    result = run("data", "synthetic-c:own", "--verify")
    assert result.code == 3
    assert "fog.npy: not the bytes that were written" in result.err
    assert "snow.npy' does not exist" in result.err and "snow: missing" in result.err


def test_an_unpaired_tree_is_read_and_a_damaged_cell_is_named(run: Command, sets: Path) -> None:
    write_tiny_imagenet(sets, [f"val_{i}.png" for i in range(3)])
    write_tiny_imagenet_c(sets, {f"test_{i}.png": WNIDS[i] for i in range(3)}, STANDARD15)
    assert run("data", "tiny-imagenet-c", "--verify").code == 0
    (sets / "Tiny-ImageNet-C" / "fog" / "3" / "n02" / "test_1.png").write_bytes(b"\x89PNG broken")
    result = run("data", "tiny-imagenet-c", "--verify")
    assert result.code == 3
    assert "something is wrong in 1 of 76 parts: fog/3: image 1, 'test_1.png' cannot be decoded" in result.err


def test_one_part_is_no_parts(run: Command) -> None:
    assert run("data", "digits", "--verify").err == "1 part read, nothing wrong found\n"


# D21, D22: incomplete published sets under `measure`


def fewer_rows(folder: Path) -> None:
    np.save(folder / "fog.npy", np.load(folder / "fog.npy")[:-1])


def no_corruption(folder: Path) -> None:
    (folder / "fog.npy").unlink()


def extra_file(folder: Path) -> None:
    (folder / "notes.npy").touch()
    no_corruption(folder)


def no_severity(folder: Path) -> None:
    shutil.rmtree(folder / "fog" / "3")


def empty_class(folder: Path) -> None:
    for image in (folder / "gaussian_noise" / "1" / "n02").iterdir():
        image.unlink()


INCOMPLETE = [
    ("cifar10-c", fewer_rows, "cifar10-c is incomplete: fog (expected 8-bit images (5n, 32, 32, 3), got uint8 (99, 32, 32, 3))"),
    ("cifar10-c", no_corruption, "cifar10-c is incomplete: fog - CIFAR-10-C"),
    ("cifar10-c", extra_file, "cifar10-c is incomplete: fog - CIFAR-10-C"),
    ("tiny-imagenet-c", no_severity, "tiny-imagenet-c is incomplete: fog/3 - Tiny-ImageNet-C"),
    ("tiny-imagenet-c", empty_class, "tiny-imagenet-c is incomplete: gaussian_noise/1/n02 (no images) - Tiny-ImageNet-C"),
]


def write_both(sets: Path) -> dict[str, Path]:
    write_cifar10(sets, LABELS), write_cifar10_c(sets, LABELS, STANDARD15)
    write_tiny_imagenet(sets, [f"val_{i}.png" for i in range(12)])
    write_tiny_imagenet_c(sets, {f"val_{i}.png": WNIDS[i % 3] for i in range(12)}, STANDARD15)
    annotations = sets / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    with annotations.open("a") as file:  # ten classes, as many as the network has outputs
        file.writelines(f"val_0.png\tn{i:02}\n" for i in range(4, 11))
    return {"cifar10-c": sets / "CIFAR-10-C", "tiny-imagenet-c": sets / "Tiny-ImageNet-C"}


@pytest.mark.parametrize(("name", "damage", "words"), INCOMPLETE, ids=[case[1].__name__ for case in INCOMPLETE])
def test_incomplete_sets_are_refused_and_partial_ones_named(
    run: Command, sets: Path, name: str, damage: Callable[[Path], None], words: str
) -> None:
    damage(write_both(sets)[name])
    arguments: list[Any] = ["measure", GOOD, "--data", name, "--probes", "corruption", "--set", "corruption.cells=snow/1,fog/1"]
    refused = run(*arguments)
    assert refused.code == 3
    assert refused.err.startswith(f"error[data]: {words}") and "--allow-partial goes on without them" in refused.err
    assert len(refused.err.splitlines()) == 1
    document = json.loads(run(*arguments, "--json").out)
    assert document["error"]["message"] == words.removesuffix(f" - {'CIFAR-10-C' if name == 'cifar10-c' else 'Tiny-ImageNet-C'}")
    if damage is empty_class:
        return  # the cell that all others are held against
    card = json.loads(run(*arguments, "--allow-partial", "--json").out)
    assert card["corruptions"]["label"] == name and card["corruptions"]["missing"]
    assert card["tables"]["corruption"]["rows"][0][:3] == ["snow", "weather", 1]


def test_synthesise_needs_no_published_files(run: Command, sets: Path) -> None:
    write_cifar10(sets, LABELS)
    arguments: list[Any] = ["measure", GOOD, "--data", "cifar10-c", "--probes", "corruption", "--set", "corruption.cells=fog/1"]
    refused = run(*arguments)
    assert refused.code == 3
    assert "no folder CIFAR-10-C" in refused.err and "--synthesise makes corruptions of our own" in refused.err
    result = run(*arguments, "--synthesise")
    assert result.code == 0
    assert "synthetic-c" in result.out and "cifar10-c (published" not in result.out


def test_corrupted_sets_are_test_sets(run: Command, sets: Path) -> None:
    refused = run("measure", GOOD, "--data", "digits", "--train-data", "cifar10-c", "--probes", "accuracy")
    assert refused.code == 3
    assert "'cifar10-c' is a set of corrupted test images, no set of its own" in refused.err


# make-c and the contact sheet


def test_make_c_is_measured_like_the_original(run: Command) -> None:
    assert run("data", "make-c", "--data", "digits", "--limit", "50", "-o", "own", "--severities", "2,4").code == 0
    options: list[Any] = ["--probes", "accuracy,corruption", "--set", "corruption.severities=2,4", "--json"]
    stored = json.loads(run("measure", GOOD, "--data", "synthetic-c:own", *options).out)
    made = json.loads(run("measure", GOOD, "--data", "digits", "--limit", "50", *options, "-o", "other").out)
    for ours, theirs in zip(stored["tables"]["corruption"]["rows"], made["tables"]["corruption"]["rows"], strict=True):
        assert (ours[:5], ours[-1]) == (theirs[:5], theirs[-1]), "the same images in every cell, and as many of them right"
        assert ours[5:7] == pytest.approx(theirs[5:7], rel=1e-5)
    assert stored["corruptions"]["label"] == "synthetic-c" and stored["corruptions"]["version"] == "sharpaudit-c/1"


def test_make_c_says_what_it_made(run: Command, tmp_path: Path) -> None:
    result = run("data", "make-c", "--data", "digits", "--limit", "3", "-o", "own", "--severities", "5")
    assert result.out == "19 corruptions of 3 images of digits, 3 rows each, in own\nread with: --data synthetic-c:own\n"
    again = run("data", "make-c", "--data", "digits", "--limit", "3", "-o", "own")
    assert (again.code, "the output exists and is not an empty folder" in again.err) == (5, True)
    document = json.loads(run("data", "make-c", "--data", "digits", "--limit", "2", "-o", "more", "--seed", "4", "--json").out)
    assert (document["seed"], document["data"]["n"], document["schema"]) == (4, 2, "sharpaudit.synthetic-c/1")
    for severities in ("6", "1;2", ""):
        refused = run("data", "make-c", "--data", "digits", "-o", "third", "--severities", severities)
        assert refused.code == 2 and "--severities: expected some of 1 to 5 separated by commas" in refused.err
    assert not (tmp_path / "third").exists()


def test_a_contact_sheet_holds_every_cell(run: Command, tmp_path: Path) -> None:
    assert run("data", "contact-sheet", "--data", "digits", "-o", "sheet.png", "--index", "4").code == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (20 + 19 * 100, 150 + 6 * 100, 3)
    digit = torch.tensor(open_images("digits").images[4:5])
    row, severity = NAMES.index("fog"), 3
    truth = corrupt(digit, "fog", severity, indices=torch.tensor([4]))[0, :, :, 0].numpy()
    tile = sheet[20 + 100 * row :, 150 + 100 * severity :][6:96:12, 6:96:12, 0]
    np.testing.assert_array_equal(tile, truth)
    refused = run("data", "contact-sheet", "--data", "digits", "-o", "sheet.png", "--index", "797")
    assert (refused.code, "--index: expected 0 to 796, got 797" in refused.err) == (2, True)
    refused = run("data", "contact-sheet", "--data", "digits", "-o", "no/where.png")
    assert (refused.code, "cannot write" in refused.err) == (5, True)
