"""Small sets in the published layouts, and the clean images they belong to, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sharpaudit.corruptions import NAMES
from sharpaudit.data import open_images

Pixels = NDArray[np.uint8]

WNIDS = ("n01", "n02", "n03")


def pixels(shape: tuple[int, ...], seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def digits(n: int, seed: int) -> Pixels:
    """(n, 32, 32, 3): enlarged handwritten digits under noise, of which the demonstration networks say ten different things."""
    rng = np.random.default_rng(seed)
    chosen = np.asarray(open_images("digits").images[rng.integers(0, 797, n)], dtype=np.int64)
    large = chosen.repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    return (large + rng.integers(-40, 41, large.shape)).clip(0, 255).astype(np.uint8)


def write_cifar10(root: Path, labels: NDArray[np.int64], seed: int = 0) -> Pixels:
    """The binary test file of CIFAR-10 with these labels; returns its images."""
    images = digits(len(labels), seed)
    records = np.concatenate([labels[:, None].astype(np.uint8), images.transpose(0, 3, 1, 2).reshape(len(labels), -1)], axis=1)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    records.tofile(folder / "test_batch.bin")
    return images


def write_cifar10_c(root: Path, labels: NDArray[np.int64], names: tuple[str, ...] = NAMES) -> dict[str, Pixels]:
    """``CIFAR-10-C`` of digits that have nothing to do with these labels; returns its arrays."""
    folder = root / "CIFAR-10-C"
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    stored = {name: digits(5 * len(labels), 1 + NAMES.index(name)) for name in names}
    for name, images in stored.items():
        np.save(folder / f"{name}.npy", images)
    return stored


def write_tiny_imagenet(root: Path, names: list[str]) -> Pixels:
    """A validation set of 8×8 images called `names`, whose classes go round `WNIDS`; returns its images."""
    images = pixels((len(names), 8, 8, 3), 5)
    folder = root / "tiny-imagenet-200" / "val"
    (folder / "images").mkdir(parents=True)
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image).save(folder / "images" / name)
    lines = [f"{name}\t{WNIDS[i % 3]}\t0\t0\t7\t7\n" for i, name in enumerate(names)]
    (folder / "val_annotations.txt").write_text("".join(lines))
    return images


def write_tiny_imagenet_c(root: Path, files: dict[str, str], names: tuple[str, ...] = NAMES) -> None:
    """``Tiny-ImageNet-C`` with image `file` in class ``files[file]`` of every cell; cells differ in their grey level."""
    for place, name in enumerate(names):
        for severity in range(1, 6):
            for index, (file, wnid) in enumerate(sorted(files.items())):
                path = root / "Tiny-ImageNet-C" / name / str(severity) / wnid / file
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((8, 8, 3), 5 * place + severity + 100 * (index % 2), np.uint8)).save(path)
