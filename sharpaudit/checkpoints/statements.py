"""What does a checkpoint say about itself? Architecture, classes and preprocessing, from metadata or from the files beside it.

Three sources, one record: the ``sharpaudit.*`` metadata of a safetensors file, timm's ``config.json``, and the ``config.json``
and ``preprocessor_config.json`` of Hugging Face transformers. All of it is foreign text: it may name an architecture that we
know, and never code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sharpaudit.checkpoints import strict_json
from sharpaudit.errors import CheckpointError, clean

MAX_CLASSES = 100_000
MAX_ARGUMENT = 100_000
"""Of a number in ``model_args``: builders loop and allocate as they are told."""
PREPROCESSING_FIELDS = ("mean", "std", "input_size", "interpolation", "crop_pct")
PIL_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Numbers that ``preprocessor_config.json`` uses for Pillow's filters."""


@dataclass(frozen=True)
class Statements:
    """What was stated; None or empty where nothing was."""

    architecture: str | None = None
    num_classes: int | None = None
    classes: tuple[str, ...] | None = None
    preprocessing: dict[str, Any] = field(default_factory=dict)
    origin: str = "metadata"
    """How to call the source on a card: ``metadata``, ``config.json``."""
    notes: list[str] = field(default_factory=list)
    """What was stated and ignored."""


def of_metadata(entries: Mapping[str, str]) -> Statements:
    """The statements in the metadata of a safetensors file.

    Raises:
        CheckpointError: an entry of ours that is not what it should be.
    """
    ours = {key.removeprefix("sharpaudit."): text for key, text in entries.items() if key.startswith("sharpaudit.")}
    count = ours.get("num_classes")
    if count is not None and not (count.isascii() and count.isdigit() and len(count) < 8):
        raise CheckpointError("metadata sharpaudit.num_classes is not a count")
    classes = preprocessing = None
    if "classes" in ours:
        wrapped = strict_json.parse(f'{{"classes": {ours["classes"]}}}'.encode(), "metadata sharpaudit.classes")
        classes = _names(wrapped["classes"], "metadata sharpaudit.classes")
    if "preprocessing" in ours:
        preprocessing = strict_json.parse(ours["preprocessing"].encode(), "metadata sharpaudit.preprocessing")
        if not set(preprocessing) <= set(PREPROCESSING_FIELDS):
            raise CheckpointError(f"metadata sharpaudit.preprocessing may hold only {', '.join(PREPROCESSING_FIELDS)}")
    return _consistent(Statements(ours.get("architecture"), int(count) if count else None, classes, preprocessing or {}))


def of_config(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Statements:
    """The statements of ``config.json`` (timm's or transformers') and ``preprocessor_config.json``.

    Raises:
        CheckpointError: a field of another type than it must have; the message names the field.
    """
    architecture = config.get("architecture")
    if architecture is not None and not isinstance(architecture, str):
        raise CheckpointError("config.json: architecture is not a name")
    timm_config = config.get("pretrained_cfg", config)
    if not isinstance(timm_config, dict):
        raise CheckpointError("config.json: pretrained_cfg is not an object")
    count = config.get("num_classes", timm_config.get("num_classes"))
    if count is not None and (type(count) is not int or count < 0):
        raise CheckpointError(f"config.json: num_classes must be a count, got {clean(repr(count))}")
    preprocessing = {key: timm_config[key] for key in PREPROCESSING_FIELDS if timm_config.get(key) is not None}
    notes = [] if "auto_map" not in config else ["config.json names remote code (auto_map): remote code is never run"]
    named = config.get("architectures")
    if architecture is None and isinstance(named, list) and named:
        notes.append(
            f"config.json names {clean(str(named[0]), 60)} of transformers, which is not built: --arch may name its like in timm"
        )
    options = config.get("model_args") or {}
    if not isinstance(options, dict):
        raise CheckpointError("config.json: model_args is not an object")
    simple = {key: value for key, value in options.items() if isinstance(value, int | float | str) and key.isidentifier()}
    large = next((key for key, value in simple.items() if not isinstance(value, str) and not abs(value) <= MAX_ARGUMENT), None)
    if large is not None:
        raise CheckpointError(f"config.json: model_args.{clean(large)} is above {MAX_ARGUMENT:,}, which no network asks for")
    if len(simple) < len(options):
        notes.append("config.json: model_args that are not plain values were ignored")
    query = "&".join(f"{key}={value}" for key, value in sorted(simple.items()))
    spec = architecture and f"timm:{architecture}" + (f"?{query}" if query else "")
    classes = _classes(config, timm_config)
    stated = {**preprocessing, **_of_preprocessor(preprocessor)}
    return _consistent(Statements(spec, count or None, classes, stated, "config.json", notes))


def _classes(config: Mapping[str, Any], timm_config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Class names as timm (a list) or transformers (``id2label``) store them."""
    labels = config.get("label_names", timm_config.get("label_names"))
    if labels is not None:
        return _names(labels, "config.json: label_names")
    table = config.get("id2label")
    if table is None:
        return None
    if not isinstance(table, dict) or set(table) != {str(index) for index in range(len(table))}:
        raise CheckpointError("config.json: id2label does not number its labels 0, 1, 2, ...")
    return _names([table[str(index)] for index in range(len(table))], "config.json: id2label")


def _of_preprocessor(config: Mapping[str, Any]) -> dict[str, Any]:
    """Preprocessing in the words of transformers: resize to `size`, crop to `crop_size`, then mean and std."""
    found: dict[str, Any] = {}
    if config.get("do_normalize", True) and "image_mean" in config and "image_std" in config:
        found |= {"mean": config["image_mean"], "std": config["image_std"]}
    resized, cropped = _edge(config.get("size")), _edge(config.get("crop_size"))
    edge = cropped if cropped and config.get("do_center_crop", True) else resized
    if edge:
        mean = config.get("image_mean")
        found["input_size"] = [len(mean) if isinstance(mean, list) else 3, edge, edge]
        found["crop_pct"] = edge / resized if resized and edge <= resized else 1.0
    resample = config.get("resample")
    if type(resample) is int and resample in PIL_RESAMPLING:
        found["interpolation"] = PIL_RESAMPLING[resample]
    return found


def _edge(size: Any) -> int | None:
    """The side of a square, in any of the three ways transformers writes it."""
    if isinstance(size, dict):
        size = size.get("shortest_edge") or (size.get("height") if size.get("height") == size.get("width") else None)
    return size if type(size) is int else None


def _names(names: Any, where: str) -> tuple[str, ...]:
    if not isinstance(names, list) or len(names) > MAX_CLASSES or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{where} is not a list of names")
    return tuple(names)


def _consistent(found: Statements) -> Statements:
    if found.classes and found.num_classes is not None and len(found.classes) != found.num_classes:
        raise CheckpointError(f"{found.origin} states {found.num_classes} classes and names {len(found.classes)}")
    return found
