"""The binary CIFAR files, the npz beside them, and the pickles that are left alone."""

from pathlib import Path

import numpy as np
import pytest

from sharpaudit.data import open_images
from sharpaudit.data.cifar import CIFAR10_CLASSES
from sharpaudit.errors import DataError, UnsafeInput
from sharpaudit.request import Reading

REAL = Path(__file__).parents[3] / "shared" / "real" / "data"


def records(n: int, seed: int, *, coarse: bool = False) -> tuple[bytes, np.ndarray, np.ndarray]:
    """The bytes of `n` records, their images (n, h, w, c) and their labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 32, 32, 3), np.uint8)
    labels = rng.integers(0, 100 if coarse else 10, n, np.uint8)
    content = b""
    for image, label in zip(images, labels, strict=True):
        planes = [image[..., channel].tobytes() for channel in range(3)]
        content += (b"\x13" if coarse else b"") + bytes([label]) + b"".join(planes)
    return content, images, labels


def test_cifar10_test_and_train(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    content, images, labels = records(3, 0)
    (folder / "test_batch.bin").write_bytes(content)
    train = [records(2, index) for index in range(1, 6)]
    for index, part in enumerate(train, 1):
        (folder / f"data_batch_{index}.bin").write_bytes(part[0])

    data = open_images("cifar10", search=[tmp_path])
    np.testing.assert_array_equal(data.images[:], images)
    np.testing.assert_array_equal(data.labels, labels)
    assert (data.name, data.classes) == ("cifar10", CIFAR10_CLASSES)

    data = open_images(f"cifar10:{folder}:train")
    np.testing.assert_array_equal(data.images[:], np.concatenate([part[1] for part in train]))
    np.testing.assert_array_equal(data.labels, np.concatenate([part[2] for part in train]))
    assert data.name == "cifar10:train"


def test_cifar100_uses_the_fine_labels_and_their_names(tmp_path: Path) -> None:
    content, images, labels = records(4, 0, coarse=True)
    (tmp_path / "test.bin").write_bytes(content)
    data = open_images("cifar100", search=[tmp_path])
    np.testing.assert_array_equal(data.images[:], images)
    np.testing.assert_array_equal(data.labels, labels)
    assert not data.classes_declared
    (tmp_path / "fine_label_names.txt").write_text("".join(f"fine{index}\n" for index in range(100)))
    assert open_images("cifar100", search=[tmp_path]).classes[:2] == ("fine0", "fine1")


def test_an_npz_named_after_the_split_is_found(tmp_path: Path) -> None:
    _, images, labels = records(3, 0)
    np.savez(tmp_path / "cifar10_test1000.npz", images=images, labels=labels)
    data = open_images("cifar10", search=[tmp_path])
    assert (data.classes, data.notes) == (CIFAR10_CLASSES, ("read from cifar10_test1000.npz",))


def test_what_is_missing_damaged_or_pickled_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected test_batch.bin or cifar10_test\*.npz") as caught:
        open_images("cifar10", search=[tmp_path])
    assert f"searched: {tmp_path}" in str(caught.value)
    with pytest.raises(DataError, match="set SHARPAUDIT_DATA to the folder that holds it, or name that folder as cifar10:FOLDER"):
        open_images("cifar10")
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="pickles are never read"):
        open_images("cifar10", search=[tmp_path])
    content, _, _ = records(2, 0)
    (tmp_path / "test_batch.bin").write_bytes(content[:-1])
    with pytest.raises(DataError, match="6,145 bytes, expected a multiple of 3,073"):
        open_images("cifar10", search=[tmp_path])
    with pytest.raises(UnsafeInput, match="the limit is 100"):
        open_images("cifar10", search=[tmp_path], reading=Reading(max_bytes=100))
    (tmp_path / "test_batch.bin").write_bytes(b"\x0a" + content[1:])
    with pytest.raises(DataError, match="labels 0 to 9"):
        open_images("cifar10", search=[tmp_path])


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/real is absent")
def test_the_real_cifar10_images() -> None:
    test, train = open_images("cifar10", search=[REAL]), open_images("cifar10:train", search=[REAL], limit=1000)
    assert (len(test), test.shape, test.labels[:8].tolist()) == (1000, (32, 32, 3), [3, 8, 8, 0, 6, 6, 1, 6])
    assert train.labels[:8].tolist() == [6, 9, 9, 4, 1, 1, 2, 7]  # cat ship ship plane ...; frog truck truck deer ...
