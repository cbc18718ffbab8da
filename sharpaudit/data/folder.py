"""Which images and classes does a folder of class folders hold?

Rules, because folder layouts differ and a wrong label order ruins every number silently:

- Each folder directly under the root is a class; images at any depth below it belong to it. Hidden names, other files and files
  beside the class folders are left out and counted in the notes.
- Classes follow the sorted folder names, or numeric order when every name is an integer ("0", "1", "10", ... would otherwise
  be sorted as text). ``classes.txt`` overrides both: one class a line, folder name first, an optional display name after it;
  its lines may name more classes than there are folders (ImageNet-A holds 200 of 1,000).
- Images are read in sorted path order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharpaudit.card import Preprocessing
from sharpaudit.data.files import check_link, missing, read_text
from sharpaudit.data.image_files import SUFFIXES, image_files
from sharpaudit.data.images import ImageSet
from sharpaudit.errors import DataError, UnsafeInput, clean
from sharpaudit.request import Reading

LISTED = "classes.txt"
MAX_LIST_BYTES = 1 << 20
MAX_DEPTH = 32
"""Folders within a class folder, one in the other."""


def open_folder(
    root: Path, *, preprocessing: Preprocessing | None = None, classes: Sequence[str] = (), reading: Reading
) -> ImageSet:
    """The labelled images under `root`, by the rules above; `classes`, where given, are the folder names in label order.

    Raises:
        DataError: no class folders, no images, a mode or a mixture of sizes that no rule covers, a damaged image.
        UnsafeInput: a link out of the folder, or an image over the pixel budget.
    """
    if not root.is_dir():
        raise missing(root) if not root.exists() else DataError(f"expected a folder, got the file '{clean(root.name)}'")
    entries = _entries(root)
    folders = [entry for entry in entries if _is_folder(entry, root, reading)]
    if not folders:
        raise DataError("no class folders: expected PATH/<class>/<image>", hint="npz:PATH reads arrays", path=clean(root.name))
    names, label_of, notes = _classes(root, [folder.name for folder in folders], classes)
    beside = [entry for entry in entries if entry.name not in label_of and entry.name != LISTED]
    ignored: Counter[str] = Counter(_kind(entry) for entry in beside)
    folders.sort(key=lambda folder: label_of[folder.name])
    walk = _Walk(root, reading, ignored)
    found = [(path, label_of[folder.name]) for folder in folders for path in walk.image_paths(folder)]
    filled = {label for _, label in found}
    empty = [name for name, label in label_of.items() if label not in filled]
    notes += [f"{count} {kind} left out" for kind, count in sorted(ignored.items())]
    notes += [f"class folders without images: {', '.join(clean(name) for name in empty[:8])}"] if empty else []
    origin = "folder names" if classes or not (root / LISTED).is_file() else LISTED
    name = f"imagefolder:{clean(root.name)}"
    return image_files(name, found, names, notes, origin=origin, preprocessing=preprocessing, reading=reading)


def _classes(root: Path, folders: list[str], given: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int], list[str]]:
    """Class names, the label of each folder, and what decided the order."""
    if given:
        return *_ordered(given, folders), []
    lines = class_list(root)
    if lines is not None:
        return *_ordered(lines, folders), [f"class order from {LISTED}"]
    if all(name.isascii() and name.isdigit() for name in folders):
        folders = sorted(folders, key=lambda name: (int(name), name))
        notes = ["class folders are integers: sorted as numbers"]
    else:
        notes = []
    return tuple(clean(name) for name in folders), {name: index for index, name in enumerate(folders)}, notes


def class_list(root: Path) -> list[str] | None:
    """The lines of ``classes.txt`` in `root`, or None where there is no such file."""
    if not (root / LISTED).is_file():
        return None
    return [line for line in read_text(root / LISTED, most=MAX_LIST_BYTES).splitlines() if line.strip()]


def _ordered(lines: Sequence[str], folders: list[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Class names and the label of each folder from lines that begin with a folder's name."""
    for keys in ([line.strip() for line in lines], [line.split()[0] for line in lines]):
        if len(set(keys)) == len(keys) and set(folders) <= set(keys):
            names = [line.strip().removeprefix(key).strip() or key for line, key in zip(lines, keys, strict=True)]
            there = set(folders)
            label_of = {key: index for index, key in enumerate(keys) if key in there}
            return tuple(clean(name) for name in names), label_of
    unlisted = sorted(set(folders) - {line.split()[0] for line in lines})
    shown = ", ".join(clean(name) for name in unlisted[:5]) or "a line is repeated"
    raise DataError(f"the class list does not name every class folder once: {shown}", hint="one class a line, folder name first")


@dataclass(frozen=True)
class _Walk:
    """Goes through class folders; what is left out is counted in `ignored`."""

    root: Path
    reading: Reading
    ignored: Counter[str]
    seen: set[Path] = field(default_factory=set)
    """Folders gone through, links resolved."""

    def image_paths(self, folder: Path, depth: int = 0) -> list[Path]:
        """The image files below `folder`, sorted by path."""
        real = folder.resolve()
        if real in self.seen:  # folders of two links to the next such folder would be gone through without end
            raise UnsafeInput(f"a link leads to the folder '{clean(folder.name)}', which is read already", hint="remove the link")
        if depth >= MAX_DEPTH:
            raise UnsafeInput(f"more than {MAX_DEPTH} folders within folders, down to '{clean(folder.name)}'")
        self.seen.add(real)
        paths = []
        for entry in _entries(folder):
            if _is_folder(entry, self.root, self.reading):
                paths += self.image_paths(entry, depth + 1)
            elif _kind(entry) == "images":
                check_link(entry, self.root, self.reading)
                paths.append(entry)
            else:
                self.ignored[_kind(entry)] += 1
        return paths


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"cannot list the folder '{clean(folder.name)}': {error.strerror}", hint="check its permissions"
        ) from error


def _is_folder(entry: Path, root: Path, reading: Reading) -> bool:
    if entry.name.startswith(".") or not entry.is_dir():
        return False
    check_link(entry, root, reading)
    return True


def _kind(entry: Path) -> str:
    if entry.name.startswith("."):
        return "hidden entries"
    return "images" if entry.suffix.lower() in SUFFIXES else "other files"
