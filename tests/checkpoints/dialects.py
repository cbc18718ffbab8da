"""Forty ways in which people write the same weights to disk: each takes a state dict and a folder and returns what to load."""

from __future__ import annotations

import argparse
import collections
import copy
import json
import pathlib
import pickle
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

State = dict[str, torch.Tensor]
Write = Callable[[nn.Module, Path], Path]


@dataclass(frozen=True)
class Dialect:
    """How to write, and what the loaded values should be."""

    write: Write
    expect: Callable[[State], State] = dict
    """From the original values to those that arrive as float32."""
    clean: bool = True
    """Whether `clean_load` should hold."""


def _torch(wrap: Callable[[nn.Module], object], **options: Any) -> Write:
    def write(module: nn.Module, folder: Path) -> Path:
        torch.save(wrap(module), folder / "weights.pth", **options)
        return folder / "weights.pth"

    return write


def _pickled(wrap: Callable[[nn.Module], object], protocol: int) -> Write:
    def write(module: nn.Module, folder: Path) -> Path:
        (folder / "weights.pkl").write_bytes(pickle.dumps(wrap(module), protocol))
        return folder / "weights.pkl"

    return write


def _renamed(rename: Callable[[str], str]) -> Write:
    return _torch(lambda module: {rename(name): value for name, value in module.state_dict().items()})


def _each(change: Callable[[torch.Tensor], torch.Tensor]) -> Write:
    return _torch(lambda module: {name: change(value) for name, value in module.state_dict().items()})


def _cast(dtype: torch.dtype) -> Write:
    return _each(lambda value: value.to(dtype) if value.is_floating_point() else value)


def _other(module: nn.Module) -> State:
    """Weights that must not be taken."""
    return {name: torch.zeros_like(value) for name, value in module.state_dict().items()}


def _with_optimizer(module: nn.Module) -> object:
    model = copy.deepcopy(module)
    optimizer = torch.optim.Adam(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(model.state_dict())
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return {"epoch": 3, "state_dict": before, "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler.state_dict()}


def _lightning(prefix: str) -> Write:
    def wrap(module: nn.Module) -> object:
        return {
            "epoch": 1,
            "global_step": 10,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": {prefix + name: value for name, value in module.state_dict().items()},
            "loops": {"fit_loop": {"state_dict": {}}},
            "callbacks": {},
            "optimizer_states": [],
            "hyper_parameters": argparse.Namespace(lr=0.1),
        }

    return _torch(wrap)


LIBRARIES = ("omegaconf", "omegaconf.dictconfig", "pytorch_lightning", "pytorch_lightning.parsing")
"""Modules that are not here, whose classes are pickled all the same."""


def _foreign(module: str, name: str, parent: type = object) -> Any:
    """An object of a class of such a module."""
    kind = type(name, (parent,), {"__module__": module, "__qualname__": name})
    setattr(sys.modules[module], name, kind)
    return kind()


def _hyperparameters(module: nn.Module, folder: Path) -> Path:
    """What Lightning keeps of a run that was configured with omegaconf."""
    sys.modules.update({name: types.ModuleType(name) for name in LIBRARIES})
    try:
        config = _foreign("omegaconf.dictconfig", "DictConfig")
        config.__dict__.update(_content={"lr": 0.1}, ref_type=Any, object_type=dict, flags=collections.defaultdict(dict))
        attributes = _foreign("pytorch_lightning.parsing", "AttributeDict", dict)
        attributes.update(model=config, loss=nn.CrossEntropyLoss(), size=torch.Size([3, 4]), where=pathlib.PurePosixPath("/data"))
        content = {
            "state_dict": {f"model.{name}": value for name, value in module.state_dict().items()},
            "hyper_parameters": attributes,
            "hparams_name": "kwargs",
            "pytorch-lightning_version": "2.4.0",
            "callbacks": {"ModelCheckpoint": {"best_model_path": "/x", "best_model_score": torch.tensor(0.9)}},
        }
        torch.save(content, folder / "last.ckpt")
    finally:
        for name in LIBRARIES:
            del sys.modules[name]
    return folder / "last.ckpt"


def _safetensors(metadata: Mapping[str, str] | None) -> Write:
    def write(module: nn.Module, folder: Path) -> Path:
        save_file(module.state_dict(), folder / "weights.safetensors", metadata=dict(metadata) if metadata else None)
        return folder / "weights.safetensors"

    return write


def _sharded(count: int) -> Write:
    def write(module: nn.Module, folder: Path) -> Path:
        state = module.state_dict()
        weight_map: dict[str, str] = {}
        size = 0
        for shard in range(count):
            part = {name: state[name] for index, name in enumerate(state) if index % count == shard}
            file = f"model-{shard + 1:05}-of-{count:05}.safetensors"
            save_file(part, folder / file)
            weight_map |= dict.fromkeys(part, file)
            size += sum(value.numel() * value.element_size() for value in part.values())
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        return folder if count > 1 else folder / "model.safetensors.index.json"

    return write


def _folder(config: dict[str, Any], preprocessor: dict[str, Any] | None = None) -> Write:
    def write(module: nn.Module, folder: Path) -> Path:
        save_file(module.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
        if preprocessor:
            (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
        return folder

    return write


def _linked(module: nn.Module, folder: Path) -> Path:
    torch.save(module.state_dict(), folder / "real.pth")
    (folder / "link").symlink_to(folder / "real.pth")
    return folder / "link"


def _hub_cache(module: nn.Module, folder: Path) -> Path:
    (folder / "blobs").mkdir()
    (folder / "snapshots/abc").mkdir(parents=True)
    save_file(module.state_dict(), folder / "blobs/123")
    (folder / "snapshots/abc/model.safetensors").symlink_to("../../blobs/123")
    return folder / "snapshots/abc"


def _offset_views(module: nn.Module) -> object:
    """All tensors of a dtype as views of one storage, as flat parameters are."""
    state = module.state_dict()
    flat = torch.cat([torch.full((7,), 9.0)] + [v.flatten() for v in state.values() if v.is_floating_point()])
    views, position = {}, 7
    for name, value in state.items():
        if value.is_floating_point():
            views[name] = flat[position : position + value.numel()].view(value.shape)
            position += value.numel()
        else:
            views[name] = value
    return views


def _transposed(module: nn.Module) -> object:
    def turned(value: torch.Tensor) -> torch.Tensor:
        if value.dim() == 4:
            return value.contiguous(memory_format=torch.channels_last)
        return value.t().contiguous().t() if value.dim() == 2 else value

    return {name: turned(value) for name, value in module.state_dict().items()}


def _tied(module: nn.Module) -> object:
    """The first two tensors of equal shape share a storage, and so carry the values of the first."""
    state = dict(module.state_dict())
    shapes: dict[torch.Size, str] = {}
    for name, value in state.items():
        if value.dim() == 1 and value.shape in shapes and value.is_floating_point():
            state[name] = state[shapes[value.shape]]
            break
        shapes.setdefault(value.shape, name)
    return state


def _rounded(dtype: torch.dtype) -> Callable[[State], State]:
    return lambda state: {name: v.to(dtype).to(v.dtype) if v.is_floating_point() else v for name, v in state.items()}


def _uncounted(state: Mapping[str, torch.Tensor]) -> State:
    return {name: torch.zeros_like(value) if name.endswith("num_batches_tracked") else value for name, value in state.items()}


def _state(module: nn.Module) -> object:
    return module.state_dict()


def _namespaces(module: nn.Module) -> object:
    table: collections.defaultdict[str, list[int]] = collections.defaultdict(list, {"a": [1]})
    return {
        "state_dict": module.state_dict(),
        "args": argparse.Namespace(lr=0.1, data=pathlib.PurePosixPath("/data")),
        "path": pathlib.PurePosixPath("/tmp/x"),
        "history": table,
        "best_acc": np.float64(0.5),
        "counter": collections.Counter("abc"),
        "device": torch.device("cpu"),
        "size": torch.Size([1, 2]),
        "dtype": torch.float32,
    }


LEGACY = {"_use_new_zipfile_serialization": False}
CLASS_LIST = {"sharpaudit.classes": json.dumps(list("abcdefghij"))}
DIALECTS: dict[str, Dialect] = {
    "safetensors": Dialect(_safetensors(None)),
    "safetensors with metadata": Dialect(_safetensors({"format": "pt", "note": "\x1b[31m<script>"} | CLASS_LIST)),
    "sharded, two files": Dialect(_sharded(2)),
    "sharded, one file by its index": Dialect(_sharded(1)),
    "hub folder": Dialect(_folder({"num_classes": 10, "label_names": list("abcdefghij")})),
    "transformers folder": Dialect(
        _folder({"id2label": {str(n): str(n) for n in range(10)}, "auto_map": {"AutoModel": "evil.Model"}}, {"resample": 3})
    ),
    "hub cache with links": Dialect(_hub_cache),
    "link on the command line": Dialect(_linked),
    "zip": Dialect(_torch(_state)),
    "legacy": Dialect(_torch(_state, **LEGACY)),
    **{f"zip, protocol {n}": Dialect(_torch(_state, pickle_protocol=n)) for n in (1, 3, 4, 5)},
    "legacy, protocol 4": Dialect(_torch(_state, **LEGACY, pickle_protocol=4)),
    "state_dict": Dialect(_torch(lambda m: {"state_dict": m.state_dict(), "epoch": 3})),
    "model_state_dict": Dialect(_torch(lambda m: {"epoch": 3, "model_state_dict": m.state_dict()})),
    "model": Dialect(_torch(lambda m: {"model": m.state_dict()})),
    "net": Dialect(_torch(lambda m: {"net": m.state_dict(), "acc": 93.1, "epoch": 100})),
    "list around the dict": Dialect(_torch(lambda m: [m.state_dict()])),
    "dict in a tuple in a dict": Dialect(_torch(lambda m: {"checkpoint": (3, {"model": m.state_dict()})})),
    "unusual wrapper": Dialect(_torch(lambda m: {"my_network": m.state_dict(), "note": "x"})),
    "with optimizer and scheduler": Dialect(_torch(_with_optimizer)),
    "timm, averaged preferred": Dialect(
        _torch(lambda m: {"epoch": 1, "arch": "x", "state_dict": _other(m), "state_dict_ema": m.state_dict(), "optimizer": {}})
    ),
    "DataParallel": Dialect(_renamed(lambda name: f"module.{name}")),
    "compiled": Dialect(_renamed(lambda name: f"_orig_mod.{name}")),
    "compiled DataParallel": Dialect(_renamed(lambda name: f"module._orig_mod.{name}")),
    "DataParallel, compiled": Dialect(_renamed(lambda name: f"_orig_mod.module.{name}")),
    "AveragedModel": Dialect(_torch(lambda m: torch.optim.swa_utils.AveragedModel(m).state_dict())),
    "Lightning, model.": Dialect(_lightning("model.")),
    "Lightning, net.": Dialect(_lightning("net.")),
    "Lightning, omegaconf": Dialect(_hyperparameters),
    "a network in a model": Dialect(_renamed(lambda name: f"model.net.{name}")),
    "Lightning of a compiled model": Dialect(_lightning("model._orig_mod.")),
    "plain objects beside": Dialect(_torch(_namespaces)),
    "parameters, not tensors": Dialect(
        _torch(lambda m: {n: nn.Parameter(v, v.is_floating_point()) for n, v in m.state_dict().items()})
    ),
    "float16": Dialect(_cast(torch.float16), _rounded(torch.float16)),
    "bfloat16": Dialect(_cast(torch.bfloat16), _rounded(torch.bfloat16)),
    "float64": Dialect(_cast(torch.float64)),
    "transposed": Dialect(_torch(_transposed)),
    "views of one storage": Dialect(_torch(_offset_views)),
    "views of one storage, legacy": Dialect(_torch(_offset_views, **LEGACY)),
    "counters shaped (1,)": Dialect(
        _torch(lambda m: {n: v.reshape(1) if v.dim() == 0 else v for n, v in m.state_dict().items()})
    ),
    "without BatchNorm counters": Dialect(
        _torch(lambda m: {n: v for n, v in m.state_dict().items() if not n.endswith("num_batches_tracked")}), _uncounted
    ),
    "whole module": Dialect(_torch(lambda m: m), clean=False),
    "whole module in a dict, legacy": Dialect(_torch(lambda m: {"model": m, "epoch": 2}, **LEGACY), clean=False),
    "pickle of tensors": Dialect(_pickled(_state, 4)),
    **{
        f"pickle of arrays, protocol {n}": Dialect(_pickled(lambda m: {k: v.numpy() for k, v in m.state_dict().items()}, n))
        for n in (2, 5)
    },
}
"""By a name that says what is special."""
