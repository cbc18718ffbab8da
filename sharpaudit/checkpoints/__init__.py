"""What network is in this file? Bytes become tensors (inert), tensors find their architecture, and a model comes out.

`load` is the story: read, choose the weights, find the networks they fit, fill them, decide, say what was done. Nothing from the
file is ever imported or run, and torch is imported only when a network is built, so that looking at a file stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.card import Subject
from sharpaudit.checkpoints import contents, fingerprint, preprocessing, state_dict
from sharpaudit.checkpoints.contents import FileContents
from sharpaudit.checkpoints.limits import DEFAULT, Limits
from sharpaudit.checkpoints.preprocessing import PreprocessingOverrides
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.errors import ArchitectureError, SharpauditError, clean

if TYPE_CHECKING:
    from torch import nn

    from sharpaudit.checkpoints.fitting import Resolved
    from sharpaudit.checkpoints.functions import Function

__all__ = ["Decide", "Decision", "Limits", "LoadedModel", "PreprocessingOverrides", "load"]


@dataclass(frozen=True)
class LoadedModel:
    """A network with the weights of the file, and the record of how it was obtained."""

    module: nn.Module
    """In eval mode, float32, on the CPU."""
    subject: Subject
    classes: tuple[str, ...] | None = None
    """Class names, where the file states them; untrusted text."""
    classes_origin: str = "metadata"
    """Where they stand: ``metadata``, ``config.json``."""


@dataclass(frozen=True)
class Decision:
    """Which of several models to take, and why; or why none."""

    index: int | None
    reason: str


Decide = Callable[[Sequence[LoadedModel]], Decision]
"""Chooses among models of the same weights in networks that compute different functions."""


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
    allow_missing: Sequence[str] = (),
    limits: Limits = DEFAULT,
    decide: Decide | None = None,
) -> LoadedModel:
    """The network stored at `path`.

    Args:
        path: a safetensors or torch file.
        architecture: ``zoo:NAME``, ``timm:NAME``, ``torchvision:NAME`` or ``file.py:factory``; None reads the metadata, then
            tries every known network.
        weights: ``auto`` (averaged weights first, as timm), ``ema``, ``raw`` or the key of a dictionary in the file.
        overrides: preprocessing that the user stated.
        num_classes: what the head must have; None takes what it has.
        allow_code: run ``file.py:factory``.
        allow_inert: read the tensors of a file that carries code; still nothing is run.
        allow_nonfinite: accept NaN and infinity.
        allow_missing: patterns (``*.relative_position_index``) of tensors that the file may lack; they keep the values that the
            network is built with, and the card says so.
        limits: budgets of the readers.
        decide: chooses where the weights fit networks that compute different functions; None refuses.

    Raises:
        CheckpointError: the file cannot be used as a checkpoint.
        ArchitectureError: names and shapes do not fit, or fit networks that compute different functions.
        UnsafeInput: the file carries code, lies or bombs.
        EnvironmentFailure: there is not enough memory.
    """
    from sharpaudit.checkpoints.functions import distinct

    notes: list[str] = []
    try:
        found = contents.read(path, limits)
        if not allow_inert:
            found.refuse_code()
        notes = found.stated.notes
        chosen = state_dict.choose(found.root, weights, limits)
        chosen.allow_missing = tuple(allow_missing)
        fits, origin = _find(architecture, found.stated, chosen, _image_size(overrides, found.stated), allow_code=allow_code)
        functions = distinct(fits, allow_nonfinite=allow_nonfinite)
        models = [_model(path, found, chosen, function, origin, overrides, num_classes) for function in functions]
        return models[0] if len(models) == 1 else _decided(models, [function.name for function in functions], decide)
    except SharpauditError as error:
        error.path = error.path or str(path)
        if isinstance(error, ArchitectureError):
            error.hint = "; ".join(filter(None, [error.hint, *notes]))
        raise


def _model(
    path: Path,
    found: FileContents,
    chosen: state_dict.Weights,
    function: Function,
    origin: str,
    overrides: PreprocessingOverrides | None,
    num_classes: int | None,
) -> LoadedModel:
    """The network with its record."""
    from sharpaudit.checkpoints.classifier import make_classifier

    resolved, filled, stated = function.members[0], function.filled, found.stated
    architecture = resolved.architecture
    defaults = architecture.defaults(filled.module)
    others = [member.architecture.spec for member in function.members[1:]]
    prepared = preprocessing.resolve(overrides, stated.preprocessing, stated.origin, defaults, resolved.settings)
    seen = make_classifier(filled.module, prepared.input_size)
    if num_classes not in (None, seen.num_classes):
        raise ArchitectureError(
            f"the head has {seen.num_classes} classes, {num_classes} were asked for", hint="--num-classes must fit the weights"
        )
    names, contradictions = _class_names(stated, seen.num_classes)
    told = _told_by_shapes(architecture.spec)
    size_from = preprocessing.origin_of("input_size", overrides, stated.preprocessing, stated.origin, defaults)
    return LoadedModel(
        filled.module,
        Subject(
            file=clean(path.name, limit=255),
            sha256=found.sha256,
            size_bytes=found.size_bytes,
            format=found.format,
            architecture=architecture.spec,
            architecture_origin=origin,
            num_parameters=sum(parameter.numel() for parameter in filled.module.parameters()),
            num_classes=seen.num_classes,
            preprocessing=prepared,
            origins={
                "num_classes": "output of the network",
                "in_channels": size_from,
                "image_size": size_from,
                "labels": stated.origin if names else "data",
                **told,
            },
            steps=[
                *_link(path),
                *chosen.steps,
                *resolved.alignment.steps,
                *architecture.steps,
                *filled.steps,
                *seen.steps,
                *[f"{', '.join(others)} compute the same function"] * bool(others),
            ],
            dropped=chosen.dropped,
            warnings=[
                *stated.notes,
                *contradictions,
                *chosen.warnings,
                *filled.warnings,
                *preprocessing.assumptions(
                    overrides,
                    stated.preprocessing,
                    {key: (resolved.settings[key], architecture.published[key]) for key in resolved.changed},
                    [member.architecture.defaults(member.outline) for member in function.members],
                    sized="image_size" in told,
                ),
            ],
            clean_load=chosen.clean_load and not found.calls,
            ran_user_code=architecture.ran_user_code,
        ),
        names,
        stated.origin,
    )


def _told_by_shapes(spec: str) -> dict[str, str]:
    """The settings of a network that its weights tell, and the tensors that do."""
    settings = ("num_classes", "in_channels", "image_size")
    told = {setting: fingerprint.shipped().tells(spec, setting) for setting in settings}
    return {setting: f"shape of {tensor}" for setting, tensor in told.items() if tensor}


def _link(path: Path) -> list[str]:
    """Where a link on the command line led to."""
    return [f"followed the link to {clean(path.resolve().name, limit=255)}"] if path.is_symlink() else []


def _class_names(stated: Statements, num_classes: int) -> tuple[tuple[str, ...] | None, list[str]]:
    """The stated names if there is one for every output, and what contradicts the weights."""
    told = stated.num_classes or (len(stated.classes) if stated.classes else num_classes)
    if told == num_classes:
        return stated.classes, []
    return None, [f"{stated.origin} states {told} classes, the weights have {num_classes}: the weights were believed"]


def _decided(models: list[LoadedModel], names: list[str], decide: Decide | None) -> LoadedModel:
    """The one of several `models`, which compute different functions, that `decide` takes.

    Raises:
        ArchitectureError: it takes none.
    """
    decision = decide(models) if decide else Decision(None, "labelled images might tell")
    if decision.index is None:
        raise ArchitectureError(
            f"the weights fit {len(names)} networks that compute different functions: {'; '.join(names)}",
            hint=f"choose one with --arch ({decision.reason})",
        )
    model, name = models[decision.index], names.pop(decision.index)
    also = f"the weights also fit {'; '.join(names)}; {name} was taken because it does better: {decision.reason}"
    subject = model.subject.model_copy(
        update={
            "architecture_origin": "fingerprint, then the clean loss",
            "warnings": [*model.subject.warnings, also],
        }
    )
    return replace(model, subject=subject)


def _image_size(overrides: PreprocessingOverrides | None, stated: Statements) -> int | None:
    """The height of the network's input, where the user or the file states it."""
    size = (overrides and overrides.input_size) or stated.preprocessing.get("input_size")
    height = size[1] if isinstance(size, list | tuple) and len(size) == 3 else None
    return height if isinstance(height, int) else None


def _find(
    flag: str | None, stated: Statements, weights: state_dict.Weights, image_size: int | None, *, allow_code: bool
) -> tuple[list[Resolved], str]:
    """The networks that the weights fit, the likeliest first, and who named them."""
    from sharpaudit.checkpoints import architectures, fitting
    from sharpaudit.checkpoints.matching import rival_prefix

    if flag is not None:
        named, origin = architectures.parse(flag, allow_code=allow_code), "--arch"
    elif stated.architecture is not None:  # foreign text: it may name a network, never a file of code
        named, origin = architectures.parse(stated.architecture), stated.origin
    else:
        return [fitting.sized(fit, image_size) for fit in fitting.identify(weights)], "fingerprint"
    resolved = fitting.sized(fitting.resolve(named, weights), image_size)
    if not resolved.fit.exact:
        message, hint = resolved.fit.explain(named.spec, len(resolved.shapes))
        if rival := rival_prefix(weights.tensors, resolved.shapes):
            message += f"; {rival}"
        if known := fingerprint.candidates({name: tensor.shape for name, tensor in weights.tensors.items()}):
            hint = f"they fit {', '.join(candidate.spec for candidate in known[:5])}"
        raise ArchitectureError(message, hint=hint)
    return [resolved], origin
