"""Which network does ``--arch`` name, and how is it built?

``zoo:NAME``, ``timm:NAME[?key=value&...]``, ``torchvision:NAME``, ``local-dir:FOLDER`` (what its ``config.json`` names) and, with
permission, ``file.py:factory``. Networks are built with fresh weights, never downloaded ones; for comparing shapes
they are built on the meta device, which costs no memory.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sharpaudit import files
from sharpaudit.checkpoints import building, meta, zoo
from sharpaudit.checkpoints.folder import statements
from sharpaudit.checkpoints.preprocessing import Defaults
from sharpaudit.errors import ArchitectureError, UnsafeInput, UsageError, clean, closest
from sharpaudit.request import LIMITS

REFUSED_OPTIONS = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
    "features_only",
    "scriptable",
}
"""Options of timm that reach the network or another file, or change what the model returns."""


MAX_CODE_BYTES = 1 << 20

REFUSALS = (ValueError, TypeError, RuntimeError, AssertionError, IndexError, ArithmeticError, AttributeError, KeyError)
"""What builders raise for a class count, a number of channels or an image size that they do not support."""


@dataclass(frozen=True)
class Architecture:
    """A network that can be built for any class count, number of channels and image size it supports."""

    spec: str
    build: Callable[..., nn.Module]
    """Takes the names of `settings` by keyword."""
    settings: dict[str, int]
    """What it takes (``num_classes``, ``in_channels``, ``image_size``), with defaults."""
    defaults: Callable[[nn.Module], Defaults | None]
    """The preprocessing it was published with."""
    steps: list[str] = field(default_factory=list)
    ran_user_code: bool = False
    published: dict[str, int] = field(default_factory=dict)
    """The settings of the published weights, where they are known: `defaults` is right for these."""

    def network(self, **settings: int) -> nn.Module:
        """The network with fresh weights; the global random state is left as it was."""
        with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.build(**{**self.settings, **settings})

    def outline(self, **settings: int) -> nn.Module:
        """The network on the meta device: names and shapes, no values, nothing allocated."""
        return meta.outline(lambda: self.network(**settings))


def parse(spec: str, *, allow_code: bool = False) -> Architecture:
    """The architecture that `spec` names.

    Raises:
        UsageError: not of a known form, or an option that may not be given.
        ArchitectureError: a name that does not exist.
        UnsafeInput: a Python file without permission to run it.
    """
    family, _, rest = spec.partition(":")
    match family:
        case "zoo":
            return _of_zoo(rest)
        case "timm":
            return _of_timm(rest)
        case "torchvision":
            return _of_torchvision(rest)
        case "local-dir":
            named = statements(Path(rest), LIMITS)[0].architecture
            if named is None:
                raise ArchitectureError("config.json names no architecture", path=rest, hint="name it with --arch")
            return stated(named, "config.json")
    path, _, factory = spec.rpartition(":")
    if path.endswith(".py") and factory.isidentifier():
        return _of_file(Path(path), factory, allow_code=allow_code)
    raise UsageError(
        f"'{clean(spec)}' does not name an architecture", hint="zoo:NAME, timm:NAME, torchvision:NAME or file.py:factory"
    )


def stated(spec: str, origin: str) -> Architecture:
    """The architecture that a file names: foreign text, which may name a network and its options, never another file.

    Raises:
        ArchitectureError: a name that does not exist, or an option that may not be given.
        UnsafeInput: code.
    """
    try:
        if spec.startswith("local-dir:"):
            raise UsageError("a file may not name a folder")
        return parse(spec)
    except UsageError as error:
        raise ArchitectureError(f"{origin}: {error.message}", hint="--arch names another") from error


def _of_zoo(name: str) -> Architecture:
    entry = zoo.ENTRIES.get(name)
    if entry is None:
        raise _unknown("zoo", name, zoo.ENTRIES)
    mean, std = entry.statistics
    defaults = Defaults(mean, std, entry.input_size, source=f"zoo:{name} ({entry.source})")
    usual = {"num_classes": 10, "in_channels": entry.input_size[0], "image_size": entry.input_size[1]}
    takes = inspect.signature(entry.build).parameters
    settings = {key: value for key, value in usual.items() if key in takes}
    return Architecture(f"zoo:{name}", entry.build, settings, lambda _: defaults, published=settings)


def _of_torchvision(name: str) -> Architecture:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("torchvision", name, known)

    def build(**given: int) -> nn.Module:
        options: dict[str, Any] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return models.get_model(name, weights=None, **given, **options)  # type: ignore[no-any-return]  # torchvision is untyped

    def defaults(_: nn.Module) -> Defaults:
        transforms = models.get_model_weights(name).DEFAULT.transforms()
        size = transforms.crop_size[0]
        return Defaults(
            tuple(transforms.mean),
            tuple(transforms.std),
            (3, size, size),
            transforms.interpolation.value,
            size / transforms.resize_size[0],
            source=f"torchvision:{name} (its published weights)",
        )

    settings = {"num_classes": 1000} | ({"image_size": 224} if name.startswith("vit_") else {})
    return Architecture(f"torchvision:{name}", build, settings, defaults, published=settings)


def _of_timm(rest: str) -> Architecture:
    import timm

    name, _, query = rest.partition("?")
    if not timm.is_model(name.partition(".")[0]):
        raise _unknown("timm", name, timm.list_models())
    options = dict(_option(pair) for pair in query.split("&") if pair)
    if refused := REFUSED_OPTIONS & options.keys():
        raise UsageError(
            f"'{sorted(refused)[0]}' may not be given with timm:{clean(name)}", hint="weights come from the checkpoint only"
        )
    config = timm.get_pretrained_cfg(name)
    usual = {"num_classes": 1000, "in_channels": 3, "image_size": 224}
    if config:
        usual = {"num_classes": config.num_classes, "in_channels": config.input_size[0], "image_size": config.input_size[-1]}
    classifier = {**usual, "num_classes": usual["num_classes"] or 1000}
    settings = {key: options.pop(_TIMM_NAMES[key], value) for key, value in classifier.items()}

    def build(**given: int) -> nn.Module:
        changed: dict[str, Any] = {_TIMM_NAMES[key]: value for key, value in given.items() if value != usual[key]}
        try:
            return building.bounded(lambda: timm.create_model(name, pretrained=False, **changed, **options), loops=bool(options))
        except NotImplementedError as error:  # raised on the meta device; what options make it compute for real is not bounded
            if not options:
                raise
            raise ValueError("its builder computes with these options") from error

    return Architecture(f"timm:{rest}", build, settings, _timm_defaults, published=classifier)


_TIMM_NAMES = {"num_classes": "num_classes", "in_channels": "in_chans", "image_size": "img_size"}


def _timm_defaults(module: nn.Module) -> Defaults | None:
    config: Any = getattr(module, "pretrained_cfg", None)
    if not config:
        return None
    return Defaults(
        tuple(config["mean"]),
        tuple(config["std"]),
        tuple(config["input_size"]),
        config.get("interpolation", "bilinear"),
        config.get("crop_pct") or 1.0,
        source=f"timm:{config.get('architecture', '?')} (its published weights)",
    )


def _option(pair: str) -> tuple[str, Any]:
    """``key=value`` with integers, floats and booleans understood."""
    key, equals, text = pair.partition("=")
    if not equals or not key.isidentifier():
        raise UsageError(f"'{clean(pair)}' is not an option of an architecture", hint="write timm:NAME?key=value&key=value")
    words: dict[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return key, words[text.lower()]
    for kind in (int, float):
        try:
            return key, kind(text)
        except ValueError:
            continue
    return key, text


def _of_file(path: Path, factory: str, *, allow_code: bool) -> Architecture:
    if not allow_code:
        raise UnsafeInput(
            f"'{clean(path.name)}:{factory}' is code", hint="--allow-code runs it, and the card says so", path=str(path)
        )
    try:
        text = files.read(path, most=MAX_CODE_BYTES)
    except OSError as error:
        raise ArchitectureError(f"cannot read the architecture: {error.strerror}", path=str(path)) from error
    build = _factory(path, factory)
    takes = inspect.signature(build).parameters
    known = {"num_classes": 10, "in_channels": 3, "image_size": 32}
    settings = {
        key: takes[key].default if isinstance(takes[key].default, int) else value for key, value in known.items() if key in takes
    }
    steps = [f"ran {clean(path.name)} (sha256 {hashlib.sha256(text).hexdigest()})"]
    return Architecture(f"{path.name}:{factory}", build, settings, lambda _: None, steps, ran_user_code=True)


def _factory(path: Path, name: str) -> Callable[..., nn.Module]:
    """The callable `name` of the user's file, which is run; what it raises is reported as an architecture that failed."""
    spec = importlib.util.spec_from_file_location("_sharpaudit_architecture", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made: Callable[..., nn.Module] = getattr(module, name)
    except (Exception, SystemExit) as error:  # a script that ends by itself must not end the audit
        raise ArchitectureError(
            f"the architecture file failed: {type(error).__name__}: {clean(str(error))}", path=str(path)
        ) from error

    def build(**settings: int) -> nn.Module:
        network = made(**settings)
        if not isinstance(network, nn.Module):
            raise ArchitectureError(f"{name} returned {type(network).__name__}, expected a torch.nn.Module", path=str(path))
        return network

    build.__signature__ = inspect.signature(made)  # type: ignore[attr-defined]  # read by inspect
    return build


def _unknown(family: str, name: str, known: Mapping[str, Any] | list[str]) -> ArchitectureError:
    names = list(known)
    near = closest(name, names)
    hint = (
        f"nearest: {', '.join(near)}" if near else f"{len(names)} are known" if len(names) > 30 else f"known: {', '.join(names)}"
    )
    return ArchitectureError(f"{family} has no architecture '{clean(name)}'", hint=hint)
