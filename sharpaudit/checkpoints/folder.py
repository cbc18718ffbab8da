"""What checkpoint is in this folder? timm's and Hugging Face's layouts, one file or shards, with the JSON beside them.

Names come from foreign files, so each must be a plain file name inside the folder, and a link may lead out of it only into the
``blobs`` of the same Hugging Face cache.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sharpaudit.checkpoints import safetensors_header, source, strict_json
from sharpaudit.checkpoints.source import Source
from sharpaudit.checkpoints.statements import Statements, of_config
from sharpaudit.checkpoints.tensors import StoredTensor
from sharpaudit.errors import CheckpointError, UnsafeInput, clean
from sharpaudit.request import Limits

INDEX_SUFFIX = ".safetensors.index.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin", "model.pth", "model.pt")
"""Looked for in this order."""
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"

FOREIGN = {
    "saved_model.pb": "a TensorFlow SavedModel",
    "tf_model.h5": "TensorFlow weights",
    "flax_model.msgpack": "Flax weights",
    "checkpoint": "a TensorFlow or Orbax checkpoint",
}
"""Files that only checkpoints of other libraries have."""

SHARDED = {
    ".distcp": "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER weights.pt",
    "zero_pp_rank_": "python zero_to_fp32.py FOLDER weights.pt (DeepSpeed puts the script beside the shards)",
    "zero_to_fp32.py": "python zero_to_fp32.py FOLDER weights.pt",
}
"""Parts of file names of training state that is spread over machines, and how its owner makes it whole."""

RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
"""Names that are devices on Windows."""


@dataclass(frozen=True)
class Shards:
    """The tensors of all shards, and a hash of their bytes."""

    tensors: dict[str, StoredTensor]
    metadata: dict[str, str]
    sha256: str
    """Of the lines ``NAME SHA256`` of the shards, sorted by name."""
    size_bytes: int
    files: dict[str, str]
    """Shard → SHA-256."""


def weights_file(folder: Path) -> Path:
    """The index of shards or the one file with weights in `folder`.

    Raises:
        CheckpointError: none, or several and none with a usual name.
    """
    names = sorted(entry.name for entry in os.scandir(folder))
    indices = [name for name in names if name.endswith(INDEX_SUFFIX)]
    usual = [name for name in WEIGHT_FILES if name in names]
    others = [name for name in names if name.endswith((".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt"))]
    if not (indices or usual) and (
        shards := next((how for mark, how in SHARDED.items() if any(mark in name for name in names)), None)
    ):
        raise CheckpointError("sharded training state: consolidate first", path=str(folder), hint=shards)
    found = indices[:1] or usual[:1] or others
    foreign = next((kind for mark, kind in FOREIGN.items() if mark in names), None)
    if not found and foreign:
        raise CheckpointError(f"{foreign}, not a checkpoint of torch", path=str(folder), hint="save the weights as safetensors")
    if not found:
        shown = ", ".join(clean(name, 40) for name in names[:5]) + (", …" if len(names) > 5 else "")
        raise CheckpointError(f"a folder, not a checkpoint: it holds {shown or 'nothing'}", path=str(folder))
    if len(found) > 1:
        shown = ", ".join(clean(name, 40) for name in found[:5])
        raise CheckpointError(f"a folder with several checkpoints: {shown}", path=str(folder), hint="name one of them")
    return member(folder, found[0])


def statements(folder: Path, limits: Limits) -> tuple[Statements, dict[str, str]]:
    """What ``config.json`` and ``preprocessor_config.json`` state, where they exist, and the SHA-256 of each."""
    found = {name: _json_file(folder, name, limits) for name in (CONFIG, PREPROCESSOR) if (folder / name).exists()}
    config, preprocessor = (strict_json.parse(found[name].data, name) if name in found else {} for name in (CONFIG, PREPROCESSOR))
    return of_config(config, preprocessor), {name: file.sha256 for name, file in found.items()}


def read_shards(index: Source, limits: Limits) -> Shards:
    """The tensors of a sharded safetensors checkpoint.

    Raises:
        CheckpointError: a shard is missing, sizes or keys do not agree with the index.
        UnsafeInput: a shard name that is not a plain file name in the folder.
    """
    document = strict_json.parse(index.data, "the index of shards")
    weight_map = document.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        raise CheckpointError("the index of shards has no weight_map from tensor to file")
    limits.check("max_tensors", len(weight_map), "tensors in the index of shards")
    tensors: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    hashes: dict[str, str] = {}
    size = 0
    shards = {name: member(index.path.parent, name) for name in sorted(set(weight_map.values()))}
    for name, path in shards.items():
        shard = source.read(path, limits)
        size += len(shard.data)
        limits.check("max_file_bytes", size, "bytes in the shards")
        found = safetensors_header.read(shard.data, limits)
        for key in found.tensors:
            if key in tensors:
                raise CheckpointError(f"two shards hold '{clean(key)}': '{clean(name)}' is the second")
            if weight_map.get(key) != name:
                raise CheckpointError(f"shard '{clean(name)}' holds '{clean(key)}', which the index does not expect there")
        tensors |= found.tensors
        metadata |= found.metadata
        hashes[name] = shard.sha256
    absent = [key for key in weight_map if key not in tensors]
    if absent:
        raise CheckpointError(f"the index lists '{clean(absent[0])}', which no shard holds", hint="download the shards again")
    _check_total(document.get("metadata"), tensors)
    lines = "".join(f"{name} {digest}\n" for name, digest in hashes.items())
    return Shards(tensors, metadata, hashlib.sha256(lines.encode()).hexdigest(), size, hashes)


def member(folder: Path, name: str) -> Path:
    """The path of the file `name` inside `folder`.

    Raises:
        CheckpointError: it does not exist.
        UnsafeInput: `name` is not a plain file name, or a link that leads out of the folder.
    """
    plain = name.partition(".")[0].lower() not in RESERVED and not set(name) & set('/\\:\0<>|?*"') and name not in ("", ".", "..")
    if not plain or not name.isprintable():
        raise UnsafeInput(f"'{clean(name)}' is not a plain file name", path=str(folder))
    path = folder / name
    try:
        target, inside = path.resolve(strict=True), folder.resolve()
    except (OSError, RuntimeError) as error:  # the latter for a loop of links
        raise CheckpointError(f"'{clean(name)}' is missing", path=str(folder), hint="download it again") from error
    if target.parent not in (inside, inside.parent.parent / "blobs"):
        raise UnsafeInput(f"'{clean(name)}' is a link to outside its folder", path=str(folder))
    return path


def _json_file(folder: Path, name: str, limits: Limits) -> Source:
    file = source.read(member(folder, name), limits)
    limits.check("max_header_bytes", len(file.data), f"bytes in {name}")
    return file


def _check_total(metadata: Any, tensors: dict[str, StoredTensor]) -> None:
    stated = metadata.get("total_size") if isinstance(metadata, dict) else None
    actual = sum(tensor.num_bytes for tensor in tensors.values())
    if stated is not None and stated != actual:
        raise CheckpointError(f"the index states a total_size of {clean(str(stated))} bytes, the shards hold {actual}")
