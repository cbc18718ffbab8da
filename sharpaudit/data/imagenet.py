"""Where are the images of ImageNet and Tiny-ImageNet, and what are their labels?

Both are read as distributed, and labels follow the sorted WordNet ids. The validation images of Tiny-ImageNet lie in one folder,
with their classes in ``val_annotations.txt``; everything else is a folder of class folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sharpaudit.card import Preprocessing
from sharpaudit.data.cifar import Split
from sharpaudit.data.files import check_link, read_text, searched
from sharpaudit.data.folder import open_folder
from sharpaudit.data.image_files import image_files
from sharpaudit.data.images import ImageSet
from sharpaudit.errors import DataError, clean
from sharpaudit.request import Reading

FOLDERS = {"imagenet": ("imagenet", "ImageNet", "ILSVRC2012"), "tiny-imagenet": ("tiny-imagenet-200", "tiny-imagenet")}
ANNOTATIONS = "val_annotations.txt"
MAX_ANNOTATION_BYTES = 1 << 20


def open_imagenet(
    name: str, split: Split, folders: Sequence[Path], *, preprocessing: Preprocessing | None, reading: Reading
) -> ImageSet:
    """The validation set (called ``test`` here, as its labels are public) or the training set.

    Raises:
        DataError: not found, or annotations that do not name the images.
    """
    folder = "train" if split == "train" else "val"
    for place in (inside for above in folders for inside in (above, *(above / sub for sub in FOLDERS[name]))):
        root = place / folder
        if (root / ANNOTATIONS).is_file() and (root / "images").is_dir():
            return _annotated(name, root, preprocessing, reading)
        if root.is_dir():
            data = open_folder(root, preprocessing=preprocessing, reading=reading)
            return replace(data, name=name if split == "test" else f"{name}:train")
    raise DataError(f"no folder '{folder}' of {name}", hint=searched(name, folders))


def _annotated(name: str, root: Path, preprocessing: Preprocessing | None, reading: Reading) -> ImageSet:
    lines = read_text(root / ANNOTATIONS, most=MAX_ANNOTATION_BYTES).splitlines()
    columns = [line.split("\t") for line in lines if line.strip()]
    bad = next((row for row in columns if len(row) < 2 or Path(row[0]).name != row[0]), None)
    if bad is not None:
        raise DataError(f"{ANNOTATIONS}: expected 'file<TAB>wnid', got '{clean(chr(9).join(bad))}'", hint="fetch it again")
    classes = tuple(sorted({wordnet_id for _, wordnet_id, *_ in columns}))
    label_of = {wordnet_id: label for label, wordnet_id in enumerate(classes)}
    found = [(root / "images" / file_name, label_of[wordnet_id]) for file_name, wordnet_id, *_ in columns]
    for path, _ in found:
        check_link(path, root, reading)
    classes = tuple(map(clean, classes))
    return image_files(name, found, classes, origin=ANNOTATIONS, preprocessing=preprocessing, reading=reading)
