"""What network is in this file? Bytes become tensors (inert), tensors find their architecture, and a model comes out.

`load` is the story: read, choose the weights, find the networks they fit, fill them, decide, say what was done. Nothing from the
file is ever imported or run, and torch is imported only when a network is built, so that looking at a file stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.checkpoints import contents, fingerprint, state_dict
from sharpaudit.checkpoints.limits import DEFAULT, Limits
from sharpaudit.checkpoints.model import LoadedModel, Provenance, described
from sharpaudit.checkpoints.preprocessing import PreprocessingOverrides
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.errors import ArchitectureError, SharpauditError

if TYPE_CHECKING:
    from sharpaudit.checkpoints.fitting import Resolved

__all__ = ["Decide", "Decision", "Limits", "LoadedModel", "PreprocessingOverrides", "load"]


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
        provenance = Provenance(path, found, chosen, origin)
        models = [described(provenance, function, overrides, num_classes) for function in functions]
        return models[0] if len(models) == 1 else _decided(models, [function.name for function in functions], decide)
    except SharpauditError as error:
        error.path = error.path or str(path)
        if isinstance(error, ArchitectureError):
            error.hint = "; ".join(filter(None, [error.hint, *notes]))
        raise


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
    fitting.refuse_headless(resolved)
    if not resolved.fit.exact:
        message, hint = resolved.fit.explain(named.spec, len(resolved.shapes))
        if rival := rival_prefix(weights.tensors, resolved.shapes):
            message += f"; {rival}"
        if known := fingerprint.candidates({name: tensor.shape for name, tensor in weights.tensors.items()}):
            hint = f"they fit {', '.join(candidate.spec for candidate in known[:5])}"
        raise ArchitectureError(message, hint=hint)
    return [resolved], origin
