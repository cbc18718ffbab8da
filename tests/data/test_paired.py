"""Clean and corrupted images of a published set are the same images in the same order, or it is said that they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sharpaudit.data.paired import clean_spec, is_stored, open_paired
from sharpaudit.errors import DataError, UsageError
from tests.data.corrupted_sets import WNIDS, write_cifar10, write_cifar10_c, write_tiny_imagenet, write_tiny_imagenet_c

LABELS = np.array([3, 9, 0, 3, 7])


@pytest.mark.parametrize(
    ("spec", "stored", "clean"),
    [
        ("cifar10-c", True, "cifar10"),
        ("imagenet-c:/data", True, "imagenet:/data"),
        ("synthetic-c:set", True, "synthetic-c:set"),
        ("cifar10", False, "cifar10"),
        ("imagefolder:my-c", False, "imagefolder:my-c"),
    ],
)
def test_which_names_are_stored_sets(spec: str, stored: bool, clean: str) -> None:
    assert is_stored(spec) == stored
    assert is_stored(spec, synthesise=True) == spec.startswith("synthetic-c")
    assert clean_spec(spec) == clean


@pytest.mark.parametrize("spec", ["cifar10-c", "cifar10-c:{}", "cifar10-c:{}/CIFAR-10-C"])
def test_arrays_are_paired_by_order(tmp_path: Path, spec: str) -> None:
    images, stored = write_cifar10(tmp_path, LABELS), write_cifar10_c(tmp_path, LABELS)
    clean, found = open_paired(spec.format(tmp_path), search=[tmp_path] if spec == "cifar10-c" else [])
    np.testing.assert_array_equal(clean.images[:], images)
    np.testing.assert_array_equal(found.cell("fog", 2).images[:], stored["fog"][5:10])
    assert found.paired and clean.labels.tolist() == found.cell("fog", 2).labels.tolist() == LABELS.tolist()
    assert (clean.name, clean.notes, found.missing) == ("cifar10", (), ())


def test_only_images_that_both_have_are_kept(tmp_path: Path) -> None:
    images, stored = write_cifar10(tmp_path, LABELS[:3]), write_cifar10_c(tmp_path, LABELS)
    clean, found = open_paired("cifar10-c", search=[tmp_path])
    assert len(clean) == len(found.cell("snow", 5)) == 3
    np.testing.assert_array_equal(found.cell("snow", 5).images[:], stored["snow"][20:23])
    assert clean.notes == ("2 corrupted images without a clean one left out",)
    longer = tmp_path / "longer"
    images = write_cifar10(longer, np.append(LABELS, [1, 2]))
    write_cifar10_c(longer, LABELS)
    clean, _ = open_paired("cifar10-c", search=[longer])
    np.testing.assert_array_equal(clean.images[:], images[:5])
    assert clean.notes[-1] == "2 clean images without a corrupted one left out"


def test_a_limit_keeps_both_alike(tmp_path: Path) -> None:
    images, stored = write_cifar10(tmp_path, LABELS), write_cifar10_c(tmp_path, LABELS)
    clean, found = open_paired("cifar10-c", search=[tmp_path], limit=2)
    np.testing.assert_array_equal(clean.images[:], images[:2])
    np.testing.assert_array_equal(found.cell("frost", 3).images[:], stored["frost"][10:12])
    with pytest.raises(UsageError, match="expected a limit between 1 and 5, got 6"):
        open_paired("cifar10-c", search=[tmp_path], limit=6)


def test_another_order_is_refused(tmp_path: Path) -> None:
    write_cifar10(tmp_path, LABELS[::-1].copy()), write_cifar10_c(tmp_path, LABELS)
    with pytest.raises(DataError, match="4 of 5 labels of cifar10-c differ from those of cifar10, the first at image 0"):
        open_paired("cifar10-c", search=[tmp_path])


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    write_cifar10_c(tmp_path, LABELS)
    with pytest.raises(DataError, match="cifar10-c needs its clean images beside it: no test split of cifar10") as caught:
        open_paired("cifar10-c", search=[tmp_path])
    assert str(tmp_path) in str(caught.value)
    clean_only = tmp_path / "other"
    write_cifar10(clean_only, LABELS)
    with pytest.raises(DataError, match=r"no folder CIFAR-10-C.*--synthesise makes corruptions of our own, called synthetic-c"):
        open_paired("cifar10-c", search=[clean_only])


def test_partial_sets_need_permission(tmp_path: Path) -> None:
    write_cifar10(tmp_path, LABELS), write_cifar10_c(tmp_path, LABELS)
    (tmp_path / "CIFAR-10-C" / "fog.npy").unlink()
    with pytest.raises(DataError, match="cifar10-c is incomplete: fog - CIFAR-10-C - --allow-partial"):
        open_paired("cifar10-c", search=[tmp_path])
    _, found = open_paired("cifar10-c", search=[tmp_path], allow_partial=True)
    assert found.record().missing == ["fog"] and ("fog", 1) not in found.cells


def test_trees_are_paired_by_class_and_file_name(tmp_path: Path) -> None:
    """The annotations list images in another order than the sorted folders do."""
    names = [f"val_{i}.png" for i in (4, 0, 3, 1, 5, 2)]
    images = write_tiny_imagenet(tmp_path, names)
    files = {name: WNIDS[i % 3] for i, name in enumerate(names)}
    del files["val_3.png"]
    write_tiny_imagenet_c(tmp_path, files | {"val_9.png": "n02"})
    clean, found = open_paired("tiny-imagenet-c", search=[tmp_path])
    np.testing.assert_array_equal(clean.images[:], images[[0, 1, 3, 4, 5]])
    assert clean.notes == (
        "1 clean images without a corrupted one left out",
        "1 corrupted images without a clean one left out",
    )
    cell, order = found.cell("gaussian_noise", 2), sorted(files | {"val_9.png": "n02"})
    expected = [2 + 100 * (order.index(name) % 2) for name in names if name in files]
    assert cell.images[:][:, 0, 0, 0].tolist() == expected
    assert cell.labels.tolist() == clean.labels.tolist() and found.paired


def test_trees_with_other_names_are_not_paired(tmp_path: Path) -> None:
    names = [f"val_{i}.png" for i in range(6)]
    write_tiny_imagenet(tmp_path, names)
    write_tiny_imagenet_c(tmp_path, {f"test_{i}.png": WNIDS[i % 3] for i in range(4)})
    clean, found = open_paired("tiny-imagenet-c", search=[tmp_path])
    assert (len(clean), len(found.cell("fog", 1)), found.paired) == (6, 4, False)
    assert "nothing is compared image by image" in found.record().notes[-1]


def test_a_fingerprint_tells_sets_apart(tmp_path: Path) -> None:
    def fingerprint(root: Path, limit: int | None = None) -> str:
        return open_paired("cifar10-c", search=[root], limit=limit)[1].fingerprint

    for name in ("a", "b"):
        write_cifar10(tmp_path / name, LABELS), write_cifar10_c(tmp_path / name, LABELS)
    assert fingerprint(tmp_path / "a") == fingerprint(tmp_path / "b") != fingerprint(tmp_path / "a", limit=4)
    fog = np.load(tmp_path / "b" / "CIFAR-10-C" / "fog.npy")
    fog[0, 0, 0, 0] ^= 1
    np.save(tmp_path / "b" / "CIFAR-10-C" / "fog.npy", fog)
    assert fingerprint(tmp_path / "a") != fingerprint(tmp_path / "b")
