"""What network is in this file? Bytes become tensors (inert), tensors find their architecture, and a model comes out.

`load` is the story: read, choose the weights, find the network, fill it, say what was done. Nothing from the file is ever
imported or run, and torch is imported only when a network is built, so that looking at a file stays cheap.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sharpaudit.card import Subject
from sharpaudit.checkpoints import contents, metadata, preprocessing, source, state_dict
from sharpaudit.checkpoints.limits import DEFAULT, Limits
from sharpaudit.checkpoints.preprocessing import PreprocessingOverrides
from sharpaudit.checkpoints.tensors import StoredTensor
from sharpaudit.errors import ArchitectureError, CheckpointError, SharpauditError

if TYPE_CHECKING:
    from torch import nn

    from sharpaudit.checkpoints.architectures import Resolved

__all__ = ["Limits", "LoadedModel", "PreprocessingOverrides", "load"]


@dataclass(frozen=True)
class LoadedModel:
    """A network with the weights of the file, and the record of how it was obtained."""

    module: nn.Module
    """In eval mode, float32, on the CPU."""
    subject: Subject
    classes: tuple[str, ...] | None = None
    """Class names, where the file states them; untrusted text."""


def load(
    path: Path,
    *,
    architecture: str | None = None,
    weights: str = "auto",
    overrides: PreprocessingOverrides | None = None,
    num_classes: int | None = None,
    allow_code: bool = False,
    allow_inert: bool = False,
    allow_nonfinite: bool = False,
    limits: Limits = DEFAULT,
) -> LoadedModel:
    """The network stored at `path`.

    Args:
        path: a safetensors or torch file.
        architecture: ``zoo:NAME``, ``timm:NAME``, ``torchvision:NAME`` or ``file.py:factory``; None reads the metadata, then
            tries every known network.
        weights: ``auto`` (averaged weights first, as timm), ``ema``, ``raw`` or the key of a dictionary in the file.
        overrides: preprocessing that the user stated.
        num_classes: what the head must have; None reads it from the weights.
        allow_code: run ``file.py:factory``.
        allow_inert: read the tensors of a file that carries code; still nothing is run.
        allow_nonfinite: accept NaN and infinity.
        limits: budgets of the readers.

    Raises:
        CheckpointError: the file cannot be used as a checkpoint.
        ArchitectureError: names and shapes do not fit, or fit several networks.
        UnsafeInput: the file carries code, lies or bombs.
    """
    file = source.read(path, limits)
    found = contents.parse(file, limits)
    try:
        if not allow_inert:
            found.refuse_code(str(path))
        chosen = state_dict.choose(found.root, weights, limits)
        stated = metadata.read(found.metadata)
        resolved, origin = _find(
            architecture, stated.architecture, chosen, num_classes or stated.num_classes, allow_code=allow_code
        )
        module, casts, warnings = _fill(resolved, allow_nonfinite=allow_nonfinite)
        subject = Subject(
            file=path.name,
            sha256=file.sha256,
            size_bytes=len(file.data),
            format=found.format,
            architecture=resolved.architecture.spec,
            architecture_origin=origin,
            num_parameters=sum(parameter.numel() for parameter in module.parameters()),
            num_classes=_num_classes(resolved, stated.num_classes or num_classes, module),
            preprocessing=preprocessing.resolve(
                overrides, stated.preprocessing, "metadata", resolved.architecture.defaults(module), resolved.settings
            ),
            steps=[*chosen.steps, *resolved.alignment.steps, *resolved.architecture.steps, *casts],
            dropped=chosen.dropped,
            warnings=[*chosen.warnings, *warnings],
            clean_load=chosen.clean_load and not found.calls,
            ran_user_code=resolved.architecture.ran_user_code,
        )
    except SharpauditError as error:
        error.path = error.path or str(path)
        raise
    return LoadedModel(module, subject, stated.classes)


def _find(
    flag: str | None, stated: str | None, weights: state_dict.Weights, num_classes: int | None, *, allow_code: bool
) -> tuple[Resolved, str]:
    """The network that the weights fit, and who named it."""
    from sharpaudit.checkpoints import architectures

    if flag is None and stated is None:
        return architectures.identify(weights, num_classes), "fingerprint"
    if flag is not None:
        named, origin = architectures.parse(flag, allow_code=allow_code), "--arch"
    else:  # metadata is foreign text: it may name a network, never a file of code
        named, origin = architectures.parse(str(stated)), "metadata"
    resolved = architectures.resolve(named, weights, num_classes)
    if not resolved.fit.exact:
        message, hint = resolved.fit.explain(named.spec, len(resolved.shapes))
        raise ArchitectureError(message, hint=hint)
    return resolved, origin


def _fill(resolved: Resolved, *, allow_nonfinite: bool) -> tuple[nn.Module, list[str], list[str]]:
    """The network with its weights, the casts that were made, and warnings about values."""
    from sharpaudit.checkpoints.matching import COUNTER
    from sharpaudit.checkpoints.weights import for_network, inspect_values

    counted: Counter[str] = Counter()
    tensors: dict[str, Any] = {}
    for name, shape in resolved.shapes.items():
        stored = resolved.alignment.tensors.get(name)
        if isinstance(stored, StoredTensor):
            tensors[name] = for_network(stored, shape, counted)
    warnings = inspect_values(tensors, allow_nonfinite=allow_nonfinite)
    module = resolved.architecture.network(**resolved.settings)
    absent = {name: value for name, value in module.state_dict().items() if name not in tensors and name.endswith(COUNTER)}
    module.load_state_dict({**tensors, **absent}, assign=True)
    module.float().eval().requires_grad_(True)
    casts = [f"cast {count} tensors from {dtype} to float32" for dtype, count in sorted(counted.items())]
    if absent:
        casts.append(f"{len(absent)} BatchNorm counters are not in the file (torch < 0.4.1)")
    return module, casts, warnings


def _num_classes(resolved: Resolved, stated: int | None, module: nn.Module) -> int:
    """Outputs of the network: from the settings, else the last matrix of its weights."""
    if "num_classes" in resolved.settings:
        return resolved.settings["num_classes"]
    if stated:
        return stated
    matrices = [parameter for parameter in module.parameters() if parameter.dim() == 2]
    if not matrices:
        raise CheckpointError("the number of classes is unknown", hint="give --num-classes")
    return int(matrices[-1].shape[0])
