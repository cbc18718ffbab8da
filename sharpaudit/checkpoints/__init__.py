"""What network is in this file? Bytes become tensors (inert), tensors find their architecture, and a model comes out.

`load` is the story: read, choose the weights, find the network, fill it, say what was done. Nothing from the file is ever
imported or run, and torch is imported only when a network is built, so that looking at a file stays cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.card import Subject
from sharpaudit.checkpoints import contents, preprocessing, state_dict
from sharpaudit.checkpoints.limits import DEFAULT, Limits
from sharpaudit.checkpoints.preprocessing import PreprocessingOverrides
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.errors import ArchitectureError, SharpauditError, clean

if TYPE_CHECKING:
    from torch import nn

    from sharpaudit.checkpoints.fitting import Resolved

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
    from sharpaudit.checkpoints.weights import fill

    try:
        found = contents.read(path, limits)
        if not allow_inert:
            found.refuse_code()
        chosen = state_dict.choose(found.root, weights, limits)
        stated = found.stated
        resolved, origin = _find(architecture, stated, chosen, allow_code=allow_code)
        classes = _num_classes(resolved, num_classes, stated.num_classes)
        filled = fill(resolved, allow_nonfinite=allow_nonfinite)
        subject = Subject(
            file=clean(path.name, limit=255),
            sha256=found.sha256,
            size_bytes=found.size_bytes,
            format=found.format,
            architecture=resolved.architecture.spec,
            architecture_origin=origin,
            num_parameters=sum(parameter.numel() for parameter in filled.module.parameters()),
            num_classes=classes,
            preprocessing=preprocessing.resolve(
                overrides, stated.preprocessing, stated.origin, resolved.architecture.defaults(filled.module), resolved.settings
            ),
            steps=[*chosen.steps, *resolved.alignment.steps, *resolved.architecture.steps, *filled.steps],
            dropped=chosen.dropped,
            warnings=[*stated.notes, *chosen.warnings, *filled.warnings],
            clean_load=chosen.clean_load and not found.calls,
            ran_user_code=resolved.architecture.ran_user_code,
        )
    except SharpauditError as error:
        error.path = error.path or str(path)
        raise
    return LoadedModel(filled.module, subject, stated.classes)


def _find(flag: str | None, stated: Statements, weights: state_dict.Weights, *, allow_code: bool) -> tuple[Resolved, str]:
    """The network that the weights fit, and who named it."""
    from sharpaudit.checkpoints import architectures, fitting

    if flag is not None:
        named, origin = architectures.parse(flag, allow_code=allow_code), "--arch"
    elif stated.architecture is not None:  # foreign text: it may name a network, never a file of code
        named, origin = architectures.parse(stated.architecture), stated.origin
    else:
        return fitting.identify(weights), "fingerprint"
    resolved = fitting.resolve(named, weights)
    if not resolved.fit.exact:
        message, hint = resolved.fit.explain(named.spec, len(resolved.shapes))
        raise ArchitectureError(message, hint=hint)
    return resolved, origin


def _num_classes(resolved: Resolved, wanted: int | None, stated: int | None) -> int:
    """Outputs of the network, which must be the number that was asked for.

    Raises:
        ArchitectureError: another number, or none can be told.
    """
    matrices = [int(parameter.shape[0]) for parameter in resolved.outline.parameters() if parameter.dim() == 2]
    found = resolved.settings.get("num_classes") or stated or wanted or (matrices[-1] if matrices else None)
    if found is None:
        raise ArchitectureError("the number of classes is unknown", hint="give --num-classes")
    if wanted not in (None, found):
        raise ArchitectureError(
            f"the head has {found} classes, {wanted} were asked for", hint="--num-classes must fit the weights"
        )
    return found
