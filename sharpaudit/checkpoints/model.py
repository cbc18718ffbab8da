"""A network filled with the weights of a file: what is it, and what does the card say about how it was obtained?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sharpaudit.card import Signature, Subject
from sharpaudit.checkpoints import fingerprint, preprocessing
from sharpaudit.checkpoints.contents import FileContents
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.errors import ArchitectureError, clean
from sharpaudit.request import PreprocessingOverrides

if TYPE_CHECKING:
    from torch import Tensor, nn

    from sharpaudit.checkpoints.functions import Function


class Predictor(Protocol):
    """What gives logits (n, classes) for inputs (n, channels, height, width), wherever they are.

    Accuracy, calibration, corruption and disagreement need no more. A network, a `torch.nn.Module`, is a predictor whose
    parameters can be moved and differentiated: curvature needs one.
    """

    def __call__(self, inputs: Tensor, /) -> Tensor:
        """The logits."""


def named_layers(predictor: Predictor) -> list[tuple[str, nn.Module]]:
    """The layers of a network, itself included, with their names; none of another predictor."""
    from torch import nn

    return list(predictor.named_modules()) if isinstance(predictor, nn.Module) else []


@dataclass(frozen=True)
class LoadedModel:
    """A predictor, mostly a network with the weights of the file, and the record of how it was obtained."""

    predictor: Predictor
    """A network is in eval mode, float32, on the CPU."""
    subject: Subject
    classes: tuple[str, ...] | None = None
    """Class names, where the file states them; untrusted text."""
    classes_origin: str = "metadata"
    """Where they stand: ``metadata``, ``config.json``."""
    doubts: tuple[str, ...] = ()
    """What was taken although the images leave it open: the audit flags it."""

    @property
    def module(self) -> nn.Module:
        """The network.

        Raises:
            TypeError: the predictor is none.
        """
        from torch import nn

        if not isinstance(self.predictor, nn.Module):
            raise TypeError(f"a {type(self.predictor).__name__} is no network")
        return self.predictor


@dataclass(frozen=True)
class Provenance:
    """The file that the weights came from, and what was taken from it."""

    path: Path
    contents: FileContents
    chosen: Weights
    architecture_origin: str
    steps: list[str] = field(default_factory=list)
    """How the network was found, where that is a story."""
    doubts: list[str] = field(default_factory=list)
    """What is open about it."""
    signature: Signature | None = None


def described(
    provenance: Provenance, function: Function, overrides: PreprocessingOverrides | None, num_classes: int | None
) -> LoadedModel:
    """The network that computes `function`, with its record.

    Raises:
        ArchitectureError: its head has other than `num_classes` outputs.
        CheckpointError: it does not classify images.
    """
    from sharpaudit.checkpoints.classifier import make_classifier

    contents, module, resolved = provenance.contents, function.filled.module, function.members[0]
    stated, architecture = contents.stated, resolved.architecture
    defaults = architecture.defaults(module)
    prepared = preprocessing.resolve(overrides, stated.preprocessing, stated.origin, defaults, resolved.settings)
    seen = make_classifier(module, prepared.input_size)
    if num_classes not in (None, seen.num_classes):
        raise ArchitectureError(
            f"the head has {seen.num_classes} classes, {num_classes} were asked for", hint="--num-classes must fit the weights"
        )
    names, contradictions = _class_names(stated, seen.num_classes)
    told = _told_by_shapes(architecture.spec)
    size_from = preprocessing.origin_of("input_size", overrides, stated.preprocessing, stated.origin, defaults)
    assumed = preprocessing.assumptions(
        overrides,
        stated.preprocessing,
        {key: (resolved.settings[key], architecture.published[key]) for key in resolved.changed},
        [member.architecture.defaults(member.outline) for member in function.members],
        sized="image_size" in told,
    )
    subject = Subject(
        file=clean(provenance.path.name, limit=255),
        sha256=contents.sha256,
        size_bytes=contents.size_bytes,
        format=contents.format,
        architecture=architecture.spec,
        architecture_origin=provenance.architecture_origin,
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        num_frozen=sum(parameter.numel() for parameter in module.parameters() if not parameter.requires_grad),
        num_classes=seen.num_classes,
        preprocessing=prepared,
        origins={
            "num_classes": "output of the network",
            "in_channels": size_from,
            "image_size": size_from,
            "labels": stated.origin if names else "data",
            **told,
        },
        steps=[*_steps(provenance, function), *provenance.steps, *seen.steps, *_same(function)],
        dropped=provenance.chosen.dropped,
        warnings=[
            *stated.notes,
            *contradictions,
            *provenance.chosen.warnings,
            *function.filled.warnings,
            *assumed,
            *provenance.doubts,
        ],
        clean_load=provenance.chosen.clean_load and not contents.calls,
        ran_user_code=architecture.ran_user_code,
        signature=provenance.signature,
    )
    return LoadedModel(module, subject, names, stated.origin, tuple(provenance.doubts))


def _steps(provenance: Provenance, function: Function) -> list[str]:
    """What was done to the tensors of the file before they were in the network."""
    path, resolved = provenance.path, function.members[0]
    link = [f"followed the link to {clean(path.resolve().name, limit=255)}"] if path.is_symlink() else []
    return [*link, *provenance.chosen.steps, *resolved.alignment.steps, *resolved.architecture.steps, *function.filled.steps]


def _same(function: Function) -> list[str]:
    others = [member.architecture.spec for member in function.members[1:]]
    return [f"{', '.join(others)} compute the same function"] if others else []


def _told_by_shapes(spec: str) -> dict[str, str]:
    """The settings of a network that its weights tell, and the tensors that do."""
    settings = ("num_classes", "in_channels", "image_size")
    told = {setting: fingerprint.shipped().tells(spec, setting) for setting in settings}
    return {setting: f"shape of {tensor}" for setting, tensor in told.items() if tensor}


def _class_names(stated: Statements, num_classes: int) -> tuple[tuple[str, ...] | None, list[str]]:
    """The stated names if there is one for every output, and what contradicts the weights."""
    told = stated.num_classes or (len(stated.classes) if stated.classes else num_classes)
    if told == num_classes:
        return stated.classes, []
    return None, [f"{stated.origin} states {told} classes, the weights have {num_classes}: the weights were believed"]
