"""What did the file hold, whatever its format? One description for all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sharpaudit.checkpoints import pickle_reader, safetensors_header, source, torch_legacy, torch_pickle, torch_zip
from sharpaudit.checkpoints.limits import Limits
from sharpaudit.checkpoints.source import Source
from sharpaudit.errors import CheckpointError, SharpauditError, UnsafeInput, clean

OBJECT_LIBRARIES = {
    "sklearn": "a pickled scikit-learn object",
    "xgboost": "a pickled XGBoost model",
    "tensorflow": "a TensorFlow object",
}


@dataclass(frozen=True)
class FileContents:
    """The objects of a checkpoint file; tensors are descriptions."""

    format: str
    """``safetensors``, ``torch-zip``, ``torch-legacy``, ``pickle``."""
    root: object
    """Nested dictionaries and lists with `StoredTensor`, `OddTensor` and `Inert` leaves."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Free text of a safetensors file; untrusted."""
    globals: list[str] = field(default_factory=list)
    """Names a pickle mentioned."""
    calls: list[str] = field(default_factory=list)
    """Names a pickle would have run that are not plain data."""

    def refuse_code(self, path: str) -> None:
        """Decide whether the file is data only.

        Raises:
            UnsafeInput: the pickle would run something.
        """
        if self.calls:
            names = ", ".join(clean(name) for name in self.calls[:5])
            hint = "--allow-inert reads its tensors anyway and still runs nothing"
            raise UnsafeInput(f"the file carries code: {names}", path=path, hint=hint)


def parse(file: Source, limits: Limits) -> FileContents:
    """The contents of `file`, by its first bytes.

    Raises:
        CheckpointError: damaged, or some other format, which is named.
        UnsafeInput: lies about its sizes, or more than the budgets allow.
    """
    try:
        return _parse(file, limits)
    except SharpauditError as error:
        error.path = error.path or str(file.path)
        raise


def _parse(file: Source, limits: Limits) -> FileContents:
    data = file.data
    if data.startswith(torch_zip.MAGIC):
        return _of_pickle("torch-zip", torch_zip.read(data, limits))
    if data.startswith(source.LEGACY_MAGIC):
        return _of_pickle("torch-legacy", torch_legacy.read(data, limits))
    foreign = source.foreign_format(data)
    if foreign:
        raise CheckpointError(f"this is {foreign}" if foreign[0] == "a" else foreign, hint="give the file with the weights")
    if safetensors_header.looks_like(data) or file.path.suffix == ".safetensors":
        found = safetensors_header.read(data, limits)
        return FileContents("safetensors", found.tensors, found.metadata)
    if data[:1] == b"\x80" or data.rstrip()[-1:] == b".":
        return _of_pickle("pickle", torch_pickle.TorchPickle(data, limits).contents)
    start = data[:8].hex(" ")
    raise CheckpointError(
        f"not a checkpoint in any known format; it starts with {start}", hint="safetensors and torch files are read"
    )


def _of_pickle(kind: str, found: pickle_reader.Contents) -> FileContents:
    for name in found.globals:
        library = name.partition(".")[0]
        if library in OBJECT_LIBRARIES:
            raise CheckpointError(f"a pickle of {OBJECT_LIBRARIES[library]}, not the weights of a network")
    return FileContents(kind, found.root, globals=found.globals, calls=found.calls)
