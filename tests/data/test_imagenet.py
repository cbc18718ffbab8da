"""ImageNet and Tiny-ImageNet as they are distributed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpaudit.data import open_images
from sharpaudit.errors import DataError, UnsafeInput
from sharpaudit.request import Reading

RNG = np.random.default_rng(0)


def save(path: Path) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return pixels


def annotate(root: Path, text: str) -> None:
    (root / "val" / "val_annotations.txt").write_text(text)


def test_tiny_imagenet_takes_labels_from_its_annotations(tmp_path: Path) -> None:
    root = tmp_path / "tiny-imagenet-200"
    stored = [save(root / "val" / "images" / f"val_{index}.JPEG") for index in range(3)]
    annotate(root, "val_2.JPEG\tn02\t0\t1\nval_0.JPEG\tn03\t0\t1\nval_1.JPEG\tn01\t0\t1\n")
    data = open_images("tiny-imagenet", search=[tmp_path])
    np.testing.assert_array_equal(data.images[:], np.stack([stored[2], stored[0], stored[1]]))
    assert (data.labels.tolist(), data.classes, data.name) == ([1, 2, 0], ("n01", "n02", "n03"), "tiny-imagenet")

    save(root / "train" / "n01" / "images" / "n01_0.JPEG")
    save(root / "train" / "n02" / "images" / "n02_0.JPEG")
    train = open_images(f"tiny-imagenet:{root}:train")
    assert (train.labels.tolist(), train.name) == ([0, 1], "tiny-imagenet:train")


def test_imagenet_is_a_folder_of_class_folders(tmp_path: Path) -> None:
    stored = save(tmp_path / "ILSVRC2012" / "val" / "n01" / "x.JPEG")
    data = open_images("imagenet", search=[tmp_path])
    np.testing.assert_array_equal(data.images[:], stored[None])
    assert (data.name, data.classes) == ("imagenet", ("n01",))
    with pytest.raises(DataError, match="no folder 'train' of imagenet") as caught:
        open_images("imagenet:train", search=[tmp_path])
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("row", ["val_0.JPEG", "../x.JPEG\tn01", "/etc/passwd\tn01"])
def test_annotations_that_are_no_annotations_are_shown(tmp_path: Path, row: str) -> None:
    save(tmp_path / "val" / "images" / "val_0.JPEG")
    annotate(tmp_path, row + "\n")
    with pytest.raises(DataError, match="expected 'file<TAB>wnid', got"):
        open_images(f"tiny-imagenet:{tmp_path}")


def test_links_and_absent_images_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "outside.png")
    root = tmp_path / "set"
    save(root / "val" / "images" / "val_0.JPEG")
    annotate(root, "val_0.JPEG\tn01\nval_1.JPEG\tn01\n")
    with pytest.raises(DataError, match=r"val_1.JPEG' does not exist"):
        open_images(f"tiny-imagenet:{root}")
    (root / "val" / "images" / "val_1.JPEG").symlink_to(tmp_path / "outside.png")
    with pytest.raises(UnsafeInput, match=r"the link 'val_1.JPEG' leaves the folder"):
        open_images(f"tiny-imagenet:{root}")
    assert len(open_images(f"tiny-imagenet:{root}", reading=Reading(follow_links=True))) == 2
