"""How are a user's images corrupted once and for all? A folder in the published layout that says it is not a published set.

``<corruption>.npy`` holds 5 × n images, lowest severity first, and ``labels.npy`` the labels of all rows, as in CIFAR-10-C.
Beside them lie the clean images, ``clean.npy``, and ``manifest.json``: the label synthetic-c, the version of the functions, the
seed and the SHA-256 of every file. ``synthetic-c:PATH`` reads it back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sharpaudit.card import DataRecord
from sharpaudit.corruptions import NAMES, SEVERITIES, VERSION, Table, corrupt, table_for
from sharpaudit.data.corrupted import CorruptedSet, complete
from sharpaudit.data.files import missing, named_path, open_regular, read_text
from sharpaudit.data.images import ImageSet, Pixels
from sharpaudit.data.npz import map_npy
from sharpaudit.data.published import MANIFEST, README, Layout, open_arrays
from sharpaudit.errors import DataError, EnvironmentFailure, clean
from sharpaudit.files import CHUNK
from sharpaudit.request import Reading
from sharpaudit.store import write

LABEL = "synthetic-c"
SCHEMA = "sharpaudit.synthetic-c/1"
MAX_MANIFEST_BYTES = 4 << 20

ABOUT = """\
{label}: {n:,} images of {name} under {corruptions} corruptions at severities {severities}.

Made by sharpaudit ({version}, seed {seed}, constants for {table} pixels), not published by anybody: compare results on these
images with each other, never with tables of CIFAR-10-C, Tiny-ImageNet-C or ImageNet-C.

Each <corruption>.npy holds the images of the severities one after another, lowest first, 8-bit (n x severities, height, width,
channels); labels.npy holds their labels, clean.npy the images before corruption. sharpaudit reads the folder as
synthetic-c:PATH; manifest.json holds the SHA-256 of every file.
"""


class Manifest(BaseModel):
    """What the folder is and what lies in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_: str = Field(default=SCHEMA, alias="schema")
    label: str = LABEL
    version: str
    data: DataRecord
    """The clean images."""
    corruptions: list[str]
    severities: list[int]
    seed: int
    table: Table
    files: dict[str, str]
    """SHA-256 by file name."""


def write_synthetic(
    data: ImageSet,
    out: Path,
    *,
    severities: Sequence[int] = SEVERITIES,
    corruptions: Sequence[str] = NAMES,
    seed: int = 0,
    batch_size: int = 256,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Manifest:
    """Write every image of `data` under every corruption and severity to the new folder `out`; the manifest comes last.

    Raises:
        EnvironmentFailure: `out` exists and is not empty, or cannot be written.
        DataError: the images are too small to be corrupted.
    """
    levels = sorted(set(severities))
    plan = [("clean", [0]), *((name, levels) for name in corruptions)]
    with _new_folder(out):
        np.save(out / "labels.npy", np.tile(data.labels, len(levels)))
        for done, (name, rows) in enumerate(plan, 1):
            with (out / f"{name}.npy").open("wb") as file:
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows) * len(data), *data.shape)}
                np.lib.format.write_array_header_1_0(file, header)
                for level in rows:
                    for images in _corrupted(data, name if level else NAMES[0], level, seed, batch_size):
                        file.write(images.tobytes())
            on_progress(done / len(plan))
        manifest = Manifest(
            version=VERSION,
            data=data.record(),
            corruptions=list(corruptions),
            severities=levels,
            seed=seed,
            table=table_for(min(data.shape[:2])),
            files={path.name: file_hash(path) for path in sorted(out.glob("*.npy"))},
        )
        about = ABOUT.format(
            label=LABEL, n=len(data), name=data.name, corruptions=len(corruptions), severities=levels, seed=seed,
            version=VERSION, table=manifest.table,
        )  # fmt: skip
        write(out / README, about)
        write(out / MANIFEST, manifest.model_dump_json(indent=2) + "\n")
    return manifest


def open_synthetic(path: str, *, allow_partial: bool = False, reading: Reading | None = None) -> tuple[ImageSet, CorruptedSet]:
    """The clean images and the corrupted ones of a folder that `write_synthetic` made.

    Raises:
        DataError: not such a folder, damaged, or incomplete while `allow_partial` is false.
    """
    root = named_path(path)
    manifest = read_manifest(root)
    classes, (height, width, channels) = tuple(manifest.data.classes), map_npy(root / "clean.npy").shape[1:]
    layout = Layout(LABEL, classes, tuple(manifest.corruptions), (height, width, channels), tuple(manifest.severities))
    found = open_arrays(root, layout, reading=reading or Reading())
    labels = found.cell(*found.cells[0]).labels
    images: NDArray[Any] = map_npy(root / "clean.npy")
    name, made_from = f"{LABEL}:{clean(root.name)}", manifest.data
    original = ImageSet(name, images, labels, classes, tuple(made_from.notes), tuple(made_from.warnings))
    if images.dtype != np.uint8 or original.index_hash != manifest.data.index_hash:
        raise DataError("clean.npy is not what the manifest says", path=clean(root.name), hint="make the set again")
    found = replace(found, version=manifest.version, paired=True)
    return original, found if allow_partial else complete(found, root)


def read_manifest(root: Path) -> Manifest:
    """The manifest in `root`.

    Raises:
        DataError: there is none, or none that can be read.
    """
    if not (root / MANIFEST).is_file():
        if not root.exists():
            raise missing(root)
        raise DataError(f"no {MANIFEST} in '{clean(root.name)}'", hint="`sharpaudit data make-c` writes such a folder")
    try:
        manifest = Manifest.model_validate_json(read_text(root / MANIFEST, most=MAX_MANIFEST_BYTES))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        problem = f"{MANIFEST}: {clean(where)}: {clean(first['msg'])}"
        raise DataError(problem, path=clean(root.name), hint="make the set again") from error
    if manifest.schema_ != SCHEMA or manifest.label != LABEL:
        raise DataError(
            f"{MANIFEST} is of '{clean(manifest.schema_)}', expected {SCHEMA}", path=clean(root.name), hint="make the set again"
        )
    return manifest


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while part := file.read(CHUNK):
            digest.update(part)
    return digest.hexdigest()


def _corrupted(data: ImageSet, name: str, level: int, seed: int, batch_size: int) -> Iterator[Pixels]:
    start = 0
    for images, _ in data.batches(batch_size):
        indices = torch.arange(start, start + len(images))
        yield corrupt(torch.tensor(images), name, level, indices=indices, seed=seed).numpy()
        start += len(images)


@contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """Trouble with the disk is an error of the environment; a folder that holds something is left alone."""
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise EnvironmentFailure("the output exists and is not an empty folder", path=str(out), hint="pass another -o")
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise EnvironmentFailure(f"cannot write: {reason}", path=str(out), hint="free space or pass another -o") from error
