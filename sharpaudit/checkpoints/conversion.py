"""How does any checkpoint become a safetensors file, with a record of what was changed or left out?

Needs no torch: descriptions become bytes, dtypes stay as they are. What the checkpoint stated about itself travels along as
``sharpaudit.*`` metadata, so that the new file loads as the old one did.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sharpaudit import store
from sharpaudit.checkpoints import contents, safetensors_header, state_dict
from sharpaudit.checkpoints.contents import FileContents
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.checkpoints.tensors import ITEM_BYTES, StoredTensor, bits
from sharpaudit.errors import EnvironmentFailure, SharpauditError, UsageError, clean
from sharpaudit.request import LIMITS, Limits

SCHEMA = "sharpaudit.conversion/1.0"
SUFFIX = ".safetensors"


def convert(
    path: Path,
    target: Path,
    *,
    weights: str = "auto",
    allow_inert: bool = False,
    overwrite: bool = False,
    limits: Limits = LIMITS,
) -> dict[str, Any]:
    """Write the weights at `path` to `target` and a manifest beside it; the manifest.

    Args:
        path: a checkpoint, file or folder.
        target: a name that ends in ``.safetensors``; the manifest is ``NAME.manifest.json``.
        weights: ``auto``, ``ema``, ``raw`` or the key of a dictionary.
        allow_inert: convert the tensors of a file that carries code; still nothing is run.
        overwrite: replace files that are there.
        limits: budgets of the readers.

    Raises:
        CheckpointError: the file cannot be used as a checkpoint.
        UnsafeInput: it carries code, lies or bombs.
        UsageError: `target` is not a safetensors name.
        EnvironmentFailure: `target` exists or cannot be written.
    """
    manifest_path = _manifest_path(target, overwrite=overwrite)
    try:
        found = contents.read(path, limits)
        if not allow_inert:
            found.refuse_code()
        chosen = state_dict.choose(found.root, weights, limits)
    except SharpauditError as error:
        error.path = error.path or str(path)
        raise
    stored = [(name, tensor) for name, tensor in chosen.tensors.items() if isinstance(tensor, StoredTensor)]
    tensors = dict(sorted(stored, key=lambda item: (-ITEM_BYTES[item[1].dtype], item[0])))  # wide ones first: all aligned
    try:
        sha256 = _write(target, _file(tensors, {**found.metadata, **_stated(found.stated)}))
        manifest = _manifest(path, found, chosen, tensors)
        manifest["target"] = {"file": clean(target.name, limit=255), "sha256": sha256, "size_bytes": target.stat().st_size}
        _write(manifest_path, [(json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()])
    except OSError as error:
        raise EnvironmentFailure(f"cannot write: {clean(error.strerror or str(error))}", path=str(target)) from error
    return manifest


def _manifest(path: Path, found: FileContents, chosen: Weights, tensors: Mapping[str, StoredTensor]) -> dict[str, Any]:
    """What was read, and what was changed or left out on the way."""
    return {
        "schema": SCHEMA,
        "source": {
            "file": clean(path.name, limit=255),
            "format": found.format,
            "sha256": found.sha256,
            "size_bytes": found.size_bytes,
        },
        "steps": chosen.steps,
        "dropped": chosen.dropped,
        "ties": {clean(name): clean(other) for name, other in chosen.ties.items()},
        "warnings": [*found.stated.notes, *chosen.warnings],
        "dtypes": dict(sorted(Counter(tensor.dtype for tensor in tensors.values()).items())),
        "num_tensors": len(tensors),
        "code": [clean(name) for name in found.calls],
        "clean_load": chosen.clean_load and not found.calls,
    }


def _manifest_path(target: Path, *, overwrite: bool) -> Path:
    """Where the manifest goes, once it is sure that nothing is in the way."""
    if target.suffix != SUFFIX:
        raise UsageError(f"expected a name that ends in {SUFFIX}, got '{clean(target.name)}'")
    manifest = target.with_name(target.name.removesuffix(SUFFIX) + ".manifest.json")
    for path in (target, manifest):
        store.check_file(path)
        if path.exists() and not overwrite:
            raise EnvironmentFailure("the file exists", path=str(path), hint="--force replaces it")
    return manifest


def _stated(stated: Statements) -> dict[str, str]:
    """What the checkpoint said about itself, as metadata of ours."""
    said = {
        "architecture": stated.architecture,
        "num_classes": stated.num_classes and str(stated.num_classes),
        "classes": stated.classes and json.dumps(stated.classes),
        "preprocessing": stated.preprocessing and json.dumps(stated.preprocessing, sort_keys=True),
    }
    return {f"sharpaudit.{key}": value for key, value in said.items() if value}


def _file(tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str]) -> Iterator[bytes]:
    """The safetensors file, piece by piece, so that one tensor at a time is in memory twice."""
    yield safetensors_header.compose(tensors, metadata)
    for tensor in tensors.values():
        yield bits(tensor).tobytes()


def _write(path: Path, pieces: Iterable[bytes]) -> str:
    """Write whole or not at all; the hex digest of what was written."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    digest = hashlib.sha256()
    try:
        with temporary.open("xb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()
