"""Images that change while they are measured, and test images that were trained on."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharpaudit.data import ImageSet, num_shared, open_images
from sharpaudit.errors import DataError


def folder(root: Path, seed: int, n: int = 6) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 8, 8), np.uint8)
    for index, image in enumerate(pixels):
        (root / f"c{index % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / f"c{index % 2}" / f"{index}.png")
    return open_images(f"imagefolder:{root}")


def test_files_that_are_left_alone_or_only_touched_are_unchanged(tmp_path: Path) -> None:
    data = folder(tmp_path, 0)
    data.require_unchanged()
    os.utime(tmp_path / "c0" / "0.png", (1, 1))
    data.require_unchanged()


def test_other_pixels_are_noticed_also_behind_a_selection(tmp_path: Path) -> None:
    data = folder(tmp_path, 0)
    part, untouched = data.take(np.array([2, 0, 5])), data.take(np.array([1]))
    before = [images.index_hash for images in (data, part, untouched)]
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(data.images.paths[0])  # type: ignore[attr-defined]  # of FolderImages
    for images in (data, part):
        with pytest.raises(DataError, match="changed during the audit"):
            images.require_unchanged()
    untouched.require_unchanged()
    assert [images.index_hash for images in (data, part, untouched)] == before, "the card's hash is that of the beginning"


def test_what_is_in_memory_cannot_change(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 4, 4), np.uint8), labels=np.arange(3))
    data = open_images(f"npz:{tmp_path}/a.npz")
    assert data.index_hash
    (tmp_path / "a.npz").write_bytes(b"other")
    data.require_unchanged()


def test_shared_images_are_counted_across_sources_and_not_across_shapes(tmp_path: Path) -> None:
    first, second = folder(tmp_path / "a", 0), folder(tmp_path / "b", 1)
    assert (num_shared(first, second), num_shared(first, first)) == (0, 6)
    np.savez(tmp_path / "c.npz", images=first.images[:][[4, 4, 1]], labels=np.zeros(3, int))
    assert num_shared(first, open_images(f"npz:{tmp_path}/c.npz")) == 3
    np.savez(tmp_path / "d.npz", images=first.images[:].reshape(6, 2, 32), labels=np.zeros(6, int))
    assert num_shared(first, open_images(f"npz:{tmp_path}/d.npz")) == 0
