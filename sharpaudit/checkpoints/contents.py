"""What does the checkpoint hold, whatever its format? One description for all of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from sharpaudit.checkpoints import folder, safetensors_header, source, torch_legacy, torch_zip
from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.pickle_reader import Contents
from sharpaudit.checkpoints.source import Source
from sharpaudit.checkpoints.statements import Statements, of_metadata
from sharpaudit.checkpoints.torch_pickle import TorchPickle
from sharpaudit.errors import CheckpointError, SharpauditError, UnsafeInput, clean
from sharpaudit.request import Limits

OBJECT_LIBRARIES = {"sklearn": "a scikit-learn object", "xgboost": "an XGBoost model", "tensorflow": "a TensorFlow object"}


@dataclass(frozen=True)
class FileContents:
    """The objects of a checkpoint; tensors are descriptions."""

    format: str
    """``safetensors``, ``safetensors-sharded``, ``torch-zip``, ``torch-legacy``, ``pickle``."""
    root: object
    """Nested dictionaries and lists with `StoredTensor`, `OddTensor` and `Inert` leaves."""
    sha256: str
    """Of the bytes that were parsed."""
    size_bytes: int
    metadata: dict[str, str] = field(default_factory=dict)
    """Free text of a safetensors file; untrusted."""
    stated: Statements = field(default_factory=Statements)
    """What the checkpoint says about its architecture, classes and preprocessing."""
    globals: list[str] = field(default_factory=list)
    """Names a pickle mentioned."""
    calls: list[str] = field(default_factory=list)
    """Names a pickle would have run that are not plain data."""
    files: dict[str, str] = field(default_factory=dict)
    """Name → SHA-256 of every file that was read, in the folder they share."""

    def refuse_code(self) -> None:
        """Decide whether the file is data only.

        Raises:
            UnsafeInput: the pickle would run something.
        """
        if self.calls:
            names = ", ".join(clean(name) for name in self.calls[:5])
            hint = "--allow-inert reads its tensors anyway and still runs nothing"
            raise UnsafeInput(f"the file carries code: {names}", hint=hint)


def read(path: Path, limits: Limits) -> FileContents:
    """The contents of the checkpoint at `path`, a file or a folder (also as ``local-dir:FOLDER``).

    Raises:
        CheckpointError: damaged, or some other format, which is named.
        UnsafeInput: lies about its sizes, or more than the budgets allow.
    """
    path = Path(str(path).removeprefix("local-dir:"))
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - unlike Path.is_dir it raises for no name
            return _parse(source.read(path, limits), limits)
        found = _parse(source.read(folder.weights_file(path), limits), limits)
        beside, hashes = folder.statements(path, limits)
        return found if found.stated.architecture else replace(found, stated=beside, files=found.files | hashes)
    except SharpauditError as error:
        error.path = error.path or str(path)
        raise


def _parse(file: Source, limits: Limits) -> FileContents:
    found = _parsed(file, limits)
    return replace(found, files={file.path.name: file.sha256, **found.files})


def _parsed(file: Source, limits: Limits) -> FileContents:
    data = file.data
    if file.path.suffix == ".distcp":
        raise CheckpointError("sharded training state: consolidate first", hint=folder.SHARDED[".distcp"])
    if data.startswith(torch_zip.MAGIC):
        return _of_pickle("torch-zip", torch_zip.read(data, limits), file)
    if torch_legacy.looks_like(data):
        return _of_pickle("torch-legacy", torch_legacy.read(data, Meter(limits, len(data))), file)
    if file.path.name.endswith(folder.INDEX_SUFFIX):
        shards = folder.read_shards(file, limits)
        stated = of_metadata(shards.metadata)
        return FileContents(
            "safetensors-sharded",
            shards.tensors,
            shards.sha256,
            shards.size_bytes,
            shards.metadata,
            stated,
            files=shards.files,
        )
    named_so = file.path.suffix == ".safetensors"
    certain = safetensors_header.looks_like(data) or (named_so and data[8:9] == b"{")
    foreign = None if certain else source.foreign_format(data)
    if foreign:
        raise CheckpointError(foreign, hint="give the file with the weights")
    if certain or named_so:
        found = safetensors_header.read(data, limits)
        return FileContents("safetensors", found.tensors, file.sha256, len(data), found.metadata, of_metadata(found.metadata))
    if data[:1] == b"\x80" or data[-64:].rstrip()[-1:] == b".":
        nested = {"torch.storage._load_from_bytes": torch_legacy.nested_storage}
        return _of_pickle("pickle", TorchPickle(data, Meter(limits, len(data)), constructors=nested).contents, file)
    start = data[:8].hex(" ")
    hint = "safetensors and torch files are read"
    raise CheckpointError(f"not a checkpoint in any known format; it starts with {start}", hint=hint)


def _of_pickle(kind: str, found: Contents, file: Source) -> FileContents:
    libraries = [name.partition(".")[0] for name in found.globals]
    foreign = [OBJECT_LIBRARIES[library] for library in libraries if library in OBJECT_LIBRARIES]
    if foreign and "torch" not in libraries:
        raise CheckpointError(f"a pickle of {foreign[0]}, not the weights of a network")
    return FileContents(kind, found.root, file.sha256, len(file.data), globals=found.globals, calls=found.calls)
