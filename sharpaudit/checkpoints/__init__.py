"""What network is in this file? Bytes become tensors (inert), tensors find their architecture, and a model comes out.

`load` is the story: read, choose the weights, find the networks they fit, fill them, decide, say what was done. Nothing from the
file is ever imported or run, and torch is imported only when a network is built, so that looking at a file stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.checkpoints import contents, state_dict
from sharpaudit.checkpoints.model import LoadedModel, Predictor, Provenance, described, named_layers
from sharpaudit.checkpoints.signature import signature_of
from sharpaudit.errors import ArchitectureError, SharpauditError
from sharpaudit.request import LIMITS, Limits, PreprocessingOverrides

if TYPE_CHECKING:
    from sharpaudit.checkpoints.plain.trial import LabelledImages
    from sharpaudit.signatures import PublicKey

__all__ = ["Decide", "Decision", "LoadedModel", "Predictor", "load", "named_layers"]


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
    limits: Limits = LIMITS,
    decide: Decide | None = None,
    images: LabelledImages | None = None,
    trusted: Sequence[PublicKey] | None = None,
) -> LoadedModel:
    """The network stored at `path`.

    Args:
        path: a safetensors or torch file.
        architecture: ``zoo:NAME``, ``timm:NAME``, ``torchvision:NAME``, a description (``mlp(784-50-10, relu)``) or
            ``file.py:factory``; None reads the metadata, then tries every known network, then every plain one.
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
        images: labelled ones, which tell what shapes leave open of a plain network; None refuses to guess.
        trusted: keys one of which must have signed the checkpoint; None asks for no signature.

    Raises:
        CheckpointError: the file cannot be used as a checkpoint.
        ArchitectureError: names and shapes do not fit, or fit networks that compute different functions.
        UnsafeInput: the file carries code, lies or bombs, or is not signed with a key of `trusted`.
        EnvironmentFailure: there is not enough memory.
    """
    from sharpaudit.checkpoints.functions import distinct
    from sharpaudit.checkpoints.identification import identified, refuse_hard_work
    from sharpaudit.checkpoints.plain.given import Given

    notes: list[str] = []
    try:
        found = contents.read(path, limits)
        signature = signature_of(path, found.files, trusted)
        if not allow_inert:
            found.refuse_code()
        notes = found.stated.notes
        chosen = state_dict.choose(found.root, weights, limits)
        chosen.allow_missing = tuple(allow_missing)
        given = Given(overrides, found.stated, images, allow_nonfinite)
        result = identified(architecture, chosen, given, allow_code=allow_code)
        refuse_hard_work(result.fits, given, options=architecture is None and "?" in (found.stated.architecture or ""))
        functions = distinct(result.fits, allow_nonfinite=allow_nonfinite)
        provenance = Provenance(path, found, chosen, result.origin, result.steps, result.doubts, signature)
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
