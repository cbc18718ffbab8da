"""MNIST-style idx files, plain and gzipped, and what they may not claim."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from sharpaudit.data import open_images
from sharpaudit.errors import DataError, UnsafeInput
from sharpaudit.request import Reading

REAL = Path(__file__).parents[3] / "shared" / "real" / "data"

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 11), np.uint8)
LABELS = np.array([7, 1, 2, 2, 1, 0], np.uint8)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_pair_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    pack = gzip.compress if suffix else bytes
    (tmp_path / f"t10k-images-idx3-ubyte{suffix}").write_bytes(pack(idx(PIXELS)))
    (tmp_path / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(LABELS)))
    pair = open_images(f"idx:{tmp_path}/t10k-images-idx3-ubyte{suffix},{tmp_path}/t10k-labels-idx1-ubyte{suffix}")
    named = open_images(f"mnist:{tmp_path}")
    searched = open_images("mnist:test", search=[tmp_path / "nowhere", tmp_path])
    for data in (pair, named, searched):
        np.testing.assert_array_equal(data.images[:], PIXELS[..., None])
        np.testing.assert_array_equal(data.labels, LABELS)
    assert (pair.classes_declared, named.classes_declared, named.name) == (False, True, "mnist")
    with pytest.raises(DataError, match="set SHARPAUDIT_DATA to the folder that holds it, or name that folder as mnist:FOLDER"):
        open_images("mnist")
    with pytest.raises(DataError, match="no train-images-idx3-ubyte") as caught:
        open_images(f"mnist:{tmp_path}:train")
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (idx(PIXELS)[:-1], "declares 594 bytes (6, 9, 11) and holds 593"),
        (idx(PIXELS) + b"\0", "declares 594 bytes (6, 9, 11) and holds 595 or more"),
        (b"\0\0\x0d\x03" + idx(PIXELS)[4:], "begins with 00 00 0d 03"),
        (idx(PIXELS)[:9], "begins with 00 00 08 03"),
        (b"<html>", "begins with 3c 68 74 6d"),
        (gzip.compress(idx(PIXELS))[:-9], "damaged"),
        (b"\x1f\x8b" + bytes(40), "damaged"),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "y").write_bytes(idx(LABELS))
    with pytest.raises(DataError) as caught:
        open_images(f"idx:{tmp_path}/x,{tmp_path}/y")
    assert says in str(caught.value)


def test_a_declared_size_over_the_budget_is_never_allocated(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 10**6, 10**4, 10**4)))
    (tmp_path / "y").write_bytes(idx(LABELS))
    with pytest.raises(UnsafeInput, match="declares 100,000,000,000,000 bytes"):
        open_images(f"idx:{tmp_path}/x,{tmp_path}/y", reading=Reading())


@pytest.mark.real
@pytest.mark.skipif(not REAL.is_dir(), reason="../shared/real is absent")
def test_the_real_mnist_test_set() -> None:
    data = open_images("mnist", search=[REAL])
    assert (len(data), data.shape, data.labels[:5].tolist()) == (10_000, (28, 28, 1), [7, 2, 1, 0, 4])
    assert np.bincount(data.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]  # LeCun et al. 1998
