"""Which images does a name stand for? A name becomes a fixed, ordered, hashed set of labelled 8-bit images.

    digits  digits:train                      bundled: 8×8 UCI digits, the first 1,000 to train on, the last 797 to test on
    cifar10  cifar100  mnist                  looked for on the search path; also NAME:PATH, NAME:train, NAME:PATH:train
    imagenet  tiny-imagenet                   likewise
    npz:PATH                                  images and labels under their usual keys
    idx:IMAGES,LABELS                         two MNIST-style files, plain or gzipped
    imagefolder:PATH                          class folders, decoded on demand
    file.py:FUNCTION                          what a function of yours returns, with --allow-code

Sets of corrupted test images (``cifar10-c``, ...) come with their clean ones: see `paired`. Nothing is unpickled, no declared
size is believed before it is compared with the bytes that are there, and nothing is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from sharpaudit.card import Preprocessing
from sharpaudit.data.cifar import open_cifar
from sharpaudit.data.classes import ClassMap, ClassOrder, class_order, read_class_map
from sharpaudit.data.files import named_path
from sharpaudit.data.folder import open_folder
from sharpaudit.data.idx import open_idx, open_mnist
from sharpaudit.data.imagenet import open_imagenet
from sharpaudit.data.images import Images, ImageSet, Labels, Pixels, num_shared
from sharpaudit.data.inputs import to_input
from sharpaudit.data.npz import open_npz
from sharpaudit.data.published import FOLDERS
from sharpaudit.data.user_code import is_code, open_made
from sharpaudit.errors import DataError, clean, closest
from sharpaudit.request import Reading

__all__ = [
    "NAMES",
    "ClassMap",
    "ClassOrder",
    "ImageSet",
    "Images",
    "Labels",
    "Pixels",
    "class_order",
    "num_shared",
    "open_images",
    "read_class_map",
    "to_input",
]

NAMES = (
    "cifar10",
    "cifar100",
    "digits",
    "idx:IMAGES,LABELS",
    "imagefolder:PATH",
    "imagenet",
    "mnist",
    "npz:PATH",
    "tiny-imagenet",
)
"""Every form that `open_images` understands."""

CORRUPTED = (*FOLDERS, "synthetic-c")
"""Names that `data.paired` understands."""

NUM_DIGITS_TRAIN = 1000

Split = Literal["train", "test"]


def open_images(
    spec: str,
    *,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
    search: Sequence[Path] = (),
    reading: Reading | None = None,
) -> ImageSet:
    """The images that `spec` stands for.

    Args:
        spec: one of the forms in the package's docstring.
        limit: keep the first so many.
        preprocessing: of the network; decides how a folder of mixed sizes is resized and cropped when it is decoded.
        search: folders in which named sets are looked for.
        reading: budgets and choices for foreign files.

    Raises:
        DataError: an unknown name, nothing found, or contents that cannot be used.
        UnsafeInput: a pickle, a bomb, a link out of the folder, or not a regular file.
        UsageError: a limit that the set cannot meet.
    """
    try:
        data = _opened(spec, preprocessing, search, reading or Reading())
    except OSError as error:
        raise DataError(
            f"cannot read the data: {error.strerror or error}", path=clean(spec), hint="check its permissions"
        ) from error
    return data if limit is None else data.limited(limit)


def _opened(spec: str, preprocessing: Preprocessing | None, search: Sequence[Path], reading: Reading) -> ImageSet:
    if is_code(spec):
        return open_made(spec, reading=reading)
    kind, _, rest = spec.partition(":")
    match kind:
        case "npz" if rest:
            return open_npz(named_path(rest), reading=reading)
        case "imagefolder" if rest:
            return open_folder(named_path(rest), preprocessing=preprocessing, reading=reading)
        case "idx" if rest.count(",") == 1:
            images, labels = rest.split(",")
            return open_idx(named_path(images), named_path(labels), reading=reading)
        case "digits" if rest in ("", "train", "test"):
            return _digits(rest or "test", reading)
        case "cifar10" | "cifar100":
            split, folders = _split_and_folders(rest, search)
            return open_cifar(kind, split, folders, reading=reading)
        case "imagenet" | "tiny-imagenet":
            split, folders = _split_and_folders(rest, search)
            return open_imagenet(kind, split, folders, preprocessing=preprocessing, reading=reading)
        case "mnist":
            split, folders = _split_and_folders(rest, search)
            return open_mnist(split, folders, reading=reading)
    if kind in CORRUPTED:
        raise DataError(
            f"'{clean(spec)}' is a set of corrupted test images, no set of its own", hint="--data takes it, and only it"
        )
    near = closest(spec, [*NAMES, *CORRUPTED, "digits:train"], limit=1)
    meant = f"; did you mean '{near[0]}'?" if near else ""
    raise DataError(f"unknown data set '{clean(spec)}'{meant}", hint=f"known: {', '.join([*NAMES, *CORRUPTED])}")


def _digits(split: str, reading: Reading) -> ImageSet:
    name = "digits" if split == "test" else "digits:train"
    whole = open_npz(Path(__file__).with_name("digits.npz"), reading=reading, name=name, classes=tuple("0123456789"))
    part = slice(NUM_DIGITS_TRAIN) if split == "train" else slice(NUM_DIGITS_TRAIN, None)
    return replace(whole, images=whole.images[part], labels=whole.labels[part])


def _split_and_folders(rest: str, search: Sequence[Path]) -> tuple[Split, Sequence[Path]]:
    """``train``, ``test``, ``PATH`` or ``PATH:train`` after a name."""
    path, _, last = rest.rpartition(":")
    if last not in ("train", "test"):
        path, last = rest, "test"
    return ("train" if last == "train" else "test"), ([named_path(path)] if path else search)
