"""The published layouts read back exactly, and what is missing from them is listed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpaudit.corruptions import NAMES, STANDARD15
from sharpaudit.data.published import open_corrupted
from sharpaudit.errors import DataError, UnknownName, UnsafeInput
from sharpaudit.request import Reading

N = 4
WNIDS = ("n01", "n02", "n03")


def write_arrays(root: Path, names: tuple[str, ...] = NAMES) -> dict[str, np.ndarray]:
    """A small CIFAR-10-C: N images, each severity marked in its first pixel."""
    root.mkdir()
    rng = np.random.default_rng(0)
    np.save(root / "labels.npy", np.tile(np.array([3, 9, 0, 3], np.uint8), 5))
    stored = {}
    for name in names:
        stored[name] = rng.integers(0, 256, (5 * N, 32, 32, 3), np.uint8)
        np.save(root / f"{name}.npy", stored[name])
    return stored


def write_tree(root: Path, names: tuple[str, ...] = NAMES, *, grouped: bool = False) -> dict[tuple[str, int], np.ndarray]:
    """A small ImageNet-C of lossless files: two images of each of three classes a cell."""
    rng = np.random.default_rng(0)
    stored = {}
    for name in names:
        for severity in range(1, 6):
            pixels = rng.integers(0, 256, (6, 8, 8, 3), np.uint8)
            stored[name, severity] = pixels
            for index, image in enumerate(pixels):
                place = root / f"group{len(name) % 3}" if grouped else root
                path = place / name / str(severity) / WNIDS[index // 2] / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(path)
    return stored


def test_arrays_read_back_cell_by_cell_lowest_severity_first(tmp_path: Path) -> None:
    stored = write_arrays(tmp_path / "CIFAR-10-C")
    for found in (open_corrupted("cifar10-c", search=[tmp_path]), open_corrupted(f"cifar10-c:{tmp_path / 'CIFAR-10-C'}")):
        assert found.cells == [(name, severity) for name in NAMES for severity in range(1, 6)]
        assert (found.missing, found.notes) == ((), ())
        for name, severity in found.cells:
            data = found.cell(name, severity)
            np.testing.assert_array_equal(data.images[:], stored[name][(severity - 1) * N : severity * N])
            assert (data.labels.tolist(), data.name) == ([3, 9, 0, 3], f"cifar10-c/{name}/{severity}")
            assert (data.classes[3], len(data.classes), data.classes_declared) == ("cat", 10, True)


def test_arrays_are_mapped_and_writes_do_not_reach_the_file(tmp_path: Path) -> None:
    stored = write_arrays(tmp_path / "CIFAR-10-C")
    images = open_corrupted("cifar10-c", search=[tmp_path]).cell("fog", 3).images
    assert isinstance(images, np.memmap)
    images[:] = 0
    np.testing.assert_array_equal(np.load(tmp_path / "CIFAR-10-C" / "fog.npy"), stored["fog"])


def test_labels_may_stand_once_but_not_differ(tmp_path: Path) -> None:
    root = tmp_path / "CIFAR-100-C"
    write_arrays(root)
    np.save(root / "labels.npy", np.array([99, 9, 0, 3]))
    assert open_corrupted("cifar100-c", search=[tmp_path]).cell("snow", 5).labels.tolist() == [99, 9, 0, 3]
    np.save(root / "labels.npy", np.arange(20))
    with pytest.raises(DataError, match=r"labels.npy differs between severities"):
        open_corrupted("cifar100-c", search=[tmp_path])
    np.save(root / "labels.npy", np.arange(7))
    with pytest.raises(DataError, match=r"labels.npy has shape \(7,\), expected \(4,\) or \(20,\)"):
        open_corrupted("cifar100-c", search=[tmp_path])


def test_missing_damaged_and_extra_arrays_are_listed(tmp_path: Path) -> None:
    root = tmp_path / "CIFAR-10-C"
    stored = write_arrays(root, STANDARD15)
    (root / "fog.npy").unlink()
    np.save(root / "snow.npy", stored["snow"][:19])
    np.save(root / "frost.npy", stored["frost"][:15])
    np.save(root / "contrast.npy", stored["contrast"].astype(float))
    np.save(root / "pixelate.npy", stored["pixelate"][:0])
    (root / "readme.txt").touch()
    with pytest.raises(DataError, match="cifar10-c is incomplete: ") as caught:
        open_corrupted("cifar10-c", search=[tmp_path])
    message = str(caught.value)
    assert "--allow-partial" in message
    for part in (
        "fog",
        "snow (expected",
        "(19, 32, 32, 3)",
        "frost (15 rows, expected 20)",
        "contrast (expected",
        "float64",
        "(0, 32, 32, 3)",
    ):
        assert part in message
    found = open_corrupted("cifar10-c", search=[tmp_path], allow_partial=True)
    assert {name for name, _ in found.cells} == set(STANDARD15) - {"fog", "snow", "frost", "contrast", "pixelate"}
    assert (len(found.missing), found.notes) == (5, ("not a corruption, left out: readme.txt",))
    with pytest.raises(UnknownName, match="unknown corruption cell 'fog/1'"):
        found.cell("fog", 1)


def test_a_lying_or_pickled_array_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "CIFAR-10-C"
    write_arrays(root)
    whole = (root / "fog.npy").read_bytes()
    (root / "fog.npy").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"'fog.npy' declares 61,440 bytes"):
        open_corrupted("cifar10-c", search=[tmp_path])
    np.save(root / "fog.npy", np.array([{}], dtype=object))
    with pytest.raises(UnsafeInput, match="Python objects"):
        open_corrupted("cifar10-c", search=[tmp_path])


@pytest.mark.parametrize("grouped", [False, True])
def test_trees_read_back_flat_or_grouped(tmp_path: Path, grouped: bool) -> None:
    stored = write_tree(tmp_path / "ImageNet-C", grouped=grouped)
    found = open_corrupted("imagenet-c", search=[tmp_path])
    assert set(found.cells) == set(stored)
    for (name, severity), pixels in stored.items():
        data = found.cell(name, severity)
        np.testing.assert_array_equal(data.images[:], pixels)
        assert (data.labels.tolist(), data.classes) == ([0, 0, 1, 1, 2, 2], WNIDS)
    assert (found.missing, found.notes, data.name) == ((), (), "imagenet-c/saturate/5")


def test_trees_are_matched_by_wordnet_id(tmp_path: Path) -> None:
    stored = write_tree(tmp_path, STANDARD15)
    spec = f"tiny-imagenet-c:{tmp_path}"
    data = open_corrupted(spec, classes=("n09", "n03", "n01", "n02")).cell("fog", 2)
    assert (data.labels.tolist(), data.classes) == ([1, 1, 2, 2, 3, 3], ("n09", "n03", "n01", "n02"))
    np.testing.assert_array_equal(data.images[:], stored["fog", 2][[4, 5, 0, 1, 2, 3]])
    assert open_corrupted(spec, classes=("a cat", "a dog", "an owl")).cell("fog", 2).labels.tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(DataError, match="3 class folders, the network 4 classes that are not their names") as caught:
        open_corrupted(spec, classes=("a", "b", "c", "d"))
    assert "classes.txt" in str(caught.value)
    (tmp_path / "classes.txt").write_text("n03 an owl\nn02 a dog\nn09 a fish\nn01 a cat\n")
    found = open_corrupted(spec, classes=("a", "b", "c", "d"))
    assert found.cell("fog", 2).labels.tolist() == [0, 0, 1, 1, 3, 3]
    assert (found.cell("fog", 2).classes, found.notes) == (("an owl", "a dog", "a fish", "a cat"), ())


def test_missing_cells_of_a_tree_are_listed(tmp_path: Path) -> None:
    write_tree(tmp_path, STANDARD15[1:])
    for image in (tmp_path / "fog" / "3").rglob("*.png"):
        image.unlink()
    (tmp_path / "snow" / "2" / "n02" / "2.png").unlink()
    (tmp_path / "frost" / "5").rename(tmp_path / "frost" / "six")
    for image in (tmp_path / "shot_noise" / "1" / "n02").iterdir():
        image.unlink()
    (tmp_path / "Thumbs.db").touch()
    spec = f"imagenet-c:{tmp_path}"
    with pytest.raises(DataError, match=r"incomplete: gaussian_noise, frost/5, shot_noise/1/n02 \(no images\)"):
        open_corrupted(spec)
    found = open_corrupted(spec, allow_partial=True)
    assert ("frost", 5) not in found.cells
    assert found.notes == ("not a corruption, left out: Thumbs.db",)
    with pytest.raises(DataError, match=r"snow/2 holds other images than shot_noise/1: 1 differ, the first is 'n02/3.png'"):
        found.cell("snow", 2)
    with pytest.raises(DataError, match="0 samples"):
        found.cell("fog", 3)


def test_links_do_not_leave_the_tree(tmp_path: Path) -> None:
    write_tree(tmp_path / "set", STANDARD15)
    write_tree(tmp_path / "outside" / "extra", ("saturate",))
    (tmp_path / "set" / "saturate").symlink_to(tmp_path / "outside" / "extra" / "saturate")
    with pytest.raises(UnsafeInput, match="the link 'saturate' leaves the folder"):
        open_corrupted(f"imagenet-c:{tmp_path / 'set'}")
    assert ("saturate", 5) in open_corrupted(f"imagenet-c:{tmp_path / 'set'}", reading=Reading(follow_links=True)).cells
    (tmp_path / "set" / "saturate").unlink()
    (tmp_path / "set" / "extra").symlink_to(tmp_path / "outside" / "extra")
    with pytest.raises(UnsafeInput, match="the link 'extra' leaves the folder"):
        open_corrupted(f"imagenet-c:{tmp_path / 'set'}")
    write_arrays(tmp_path / "CIFAR-10-C", STANDARD15)
    (tmp_path / "CIFAR-10-C" / "fog.npy").rename(tmp_path / "fog.npy")
    (tmp_path / "CIFAR-10-C" / "fog.npy").symlink_to(tmp_path / "fog.npy")
    with pytest.raises(UnsafeInput, match=r"the link 'fog.npy' leaves the folder"):
        open_corrupted("cifar10-c", search=[tmp_path])


def test_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder ImageNet-C - set SHARPAUDIT_DATA to the folder"):
        open_corrupted("imagenet-c")
    with pytest.raises(DataError, match="no folder CIFAR-10-C") as caught:
        open_corrupted("cifar10-c", search=[tmp_path])
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        open_corrupted(f"cifar10-c:{tmp_path / 'no'}")
    with pytest.raises(DataError, match="unknown published set 'cifar10'") as caught:
        open_corrupted("cifar10")
    assert "known: cifar10-c, cifar100-c" in str(caught.value)
    with pytest.raises(DataError, match="nothing of imagenet-c can be used: gaussian_noise, shot_noise"):
        open_corrupted(f"imagenet-c:{tmp_path}", allow_partial=True)
    with pytest.raises(DataError, match=r"labels.npy' does not exist"):
        open_corrupted(f"cifar10-c:{tmp_path}")
