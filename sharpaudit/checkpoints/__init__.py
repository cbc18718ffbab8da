"""What network is in this file? Bytes become tensors (inert), tensors find their architecture, and a model comes out.

`load` is the story: read, choose the weights, find the networks they fit, fill them, decide, say what was done. Nothing from the
file is ever imported or run, and torch is imported only when a network is built, so that looking at a file stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sharpaudit.checkpoints import contents, fingerprint, state_dict
from sharpaudit.checkpoints.model import LoadedModel, Predictor, Provenance, described, named_layers
from sharpaudit.checkpoints.preprocessing import is_input_size
from sharpaudit.checkpoints.signature import signature_of
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.errors import ArchitectureError, SharpauditError
from sharpaudit.request import LIMITS, Limits, PreprocessingOverrides

if TYPE_CHECKING:
    from sharpaudit.checkpoints.fitting import Resolved
    from sharpaudit.checkpoints.plain.trial import LabelledImages, Normalisation
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

    notes: list[str] = []
    try:
        found = contents.read(path, limits)
        signature = signature_of(path, found.files, trusted)
        if not allow_inert:
            found.refuse_code()
        notes = found.stated.notes
        chosen = state_dict.choose(found.root, weights, limits)
        chosen.allow_missing = tuple(allow_missing)
        evidence = _Evidence(overrides, found.stated, images, allow_nonfinite)
        result = _find(architecture, chosen, evidence, allow_code=allow_code)
        _refuse_hard_work(result.fits, evidence, options=architecture is None and "?" in (found.stated.architecture or ""))
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


def _image_size(overrides: PreprocessingOverrides | None, stated: Statements) -> int | None:
    """The height of the network's input, where the user or the file states it."""
    size = (overrides and overrides.input_size) or stated.preprocessing.get("input_size")
    return size[1] if is_input_size(size) else None


def _refuse_hard_work(fits: Sequence[Resolved], evidence: _Evidence, *, options: bool) -> None:
    """Refuse networks that take more of one image than any does, where the file decided how large it is, or on the `options`.

    Raises:
        UnsafeInput: with the work and the limit.
    """
    from sharpaudit.checkpoints import effort
    from sharpaudit.checkpoints.functions import input_shape

    by_user, by_file = evidence.overrides and evidence.overrides.input_size, evidence.stated.preprocessing.get("input_size")
    if not options and (by_user or not is_input_size(by_file)):
        return
    for fit in fits:
        effort.refuse_hard_work(fit.outline, by_user or (by_file if is_input_size(by_file) else input_shape(fit)))


@dataclass(frozen=True)
class _Evidence:
    """What may tell the network, beside its weights."""

    overrides: PreprocessingOverrides | None
    stated: Statements
    images: LabelledImages | None
    allow_nonfinite: bool

    @property
    def normalisation(self) -> Normalisation | None:
        """Mean and standard deviation, where the user or the file states both."""
        from sharpaudit.checkpoints.plain import normalisations

        stated, flags = self.stated.preprocessing, self.overrides or PreprocessingOverrides()
        mean, std = flags.mean or stated.get("mean"), flags.std or stated.get("std")
        return normalisations.stated(mean, std) if mean and std else None


@dataclass(frozen=True)
class _Found:
    """The networks that the weights fit, the likeliest first, and who named them."""

    fits: list[Resolved]
    origin: str
    steps: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def _find(flag: str | None, weights: state_dict.Weights, evidence: _Evidence, *, allow_code: bool) -> _Found:
    """The networks that the weights fit."""
    from sharpaudit.checkpoints import architectures, fitting, structure
    from sharpaudit.checkpoints.matching import rival_prefix
    from sharpaudit.checkpoints.plain import description
    from sharpaudit.checkpoints.plain import inference as plain

    stated, image_size = evidence.stated, _image_size(evidence.overrides, evidence.stated)
    spec, origin = (flag, "--arch") if flag is not None else (stated.architecture, stated.origin)
    if spec is None:
        return _looked_for(weights, evidence, image_size)
    if description.is_description(spec):
        inferred = plain.described(
            description.parse(spec),
            weights,
            evidence.overrides,
            evidence.images,
            given=evidence.normalisation,
            allow_nonfinite=evidence.allow_nonfinite,
        )
        return _Found([inferred.resolved], origin, inferred.steps, inferred.doubts)
    named = architectures.parse(spec, allow_code=allow_code) if flag is not None else architectures.stated(spec, origin)
    resolved = fitting.sized(fitting.resolve(named, weights), image_size)
    rival = None if resolved.fit.exact else rival_prefix(weights.tensors, resolved.shapes)
    if not resolved.fit.exact and not rival:
        resolved = next((fit for fit in structure.renamed(weights) if fit.architecture.spec == named.spec), resolved)
    fitting.refuse_headless(resolved)
    if not resolved.fit.exact:
        message, hint = resolved.fit.explain(named.spec, len(resolved.shapes))
        if rival:
            message += f"; {rival}"
        if known := fingerprint.candidates({name: tensor.shape for name, tensor in weights.tensors.items()}):
            hint = f"they fit {', '.join(candidate.spec for candidate in known[:5])}"
        raise ArchitectureError(message, hint=hint)
    return _Found([resolved], origin)


def _looked_for(weights: state_dict.Weights, evidence: _Evidence, image_size: int | None) -> _Found:
    """The networks of the index that the weights fit, or the plain one in which they do best.

    A few layers in a row may fit a network of the zoo by chance: then it is one of the plain networks that images decide about.
    """
    from sharpaudit.checkpoints import fitting, structure
    from sharpaudit.checkpoints.plain import inference as plain
    from sharpaudit.checkpoints.plain import normalisations
    from sharpaudit.checkpoints.plain.geometry import MAX_CONVS

    chains = plain.chains_of(weights)
    try:
        fits = [fitting.sized(fit, image_size) for fit in fitting.identify(weights)]
    except ArchitectureError as error:
        large = not chains or len(chains[0].main) > plain.MAX_CHANCE
        if large and (found := structure.renamed(weights)):
            return _renamed(found, evidence)
        known = large and fitting.nearest(weights)
        if known or not chains or len(chains[0].convs) > MAX_CONVS:
            raise
        if evidence.images is None or evidence.images.shape is None:
            raise plain.undecided(chains, _sides(evidence)) from error
        fits = []
    else:
        chance = chains and all(fit.architecture.spec.startswith("zoo:") for fit in fits)
        if not chance or len(chains[0].main) > plain.MAX_CHANCE:
            return _Found(fits, "fingerprint")
        if evidence.images is None or evidence.images.shape is None:
            if "image_size" in fits[0].changed and image_size is None:
                raise plain.undecided(chains, _sides(evidence))
            return _Found(fits, "fingerprint")
        stands = plain.confirmed(
            fits[0],
            chains,
            weights,
            evidence.images,
            evidence.overrides,
            given=evidence.normalisation,
            allow_nonfinite=evidence.allow_nonfinite,
        )
        if stands:
            return _Found([stands.resolved, *fits[1:]], stands.origin, stands.steps, stands.doubts)
    try:
        inferred = plain.infer(
            chains,
            weights,
            evidence.overrides,
            evidence.images,
            given=evidence.normalisation,
            first=[normalisations.published(fit) for fit in fits[:1]],
            allow_nonfinite=evidence.allow_nonfinite,
        )
    except ArchitectureError as error:
        if not fits:
            raise
        hint = f"--arch {fits[0].architecture.spec} has these names and shapes; or {error.hint}"
        raise ArchitectureError(error.message, hint=hint) from error
    if named := plain.among(inferred.resolved, fits):
        return _Found([named], "fingerprint, confirmed by labelled images", inferred.steps, inferred.doubts)
    return _Found([inferred.resolved], inferred.origin, inferred.steps, inferred.doubts)


def _renamed(fits: list[Resolved], evidence: _Evidence) -> _Found:
    """Networks whose layers the weights have under other names, as far as labelled images confirm it.

    Raises:
        ArchitectureError: no images, or they are not answered better than by chance.
    """
    from sharpaudit.checkpoints import structure

    spec = fits[0].architecture.spec
    message = f"no architecture was named; order and shapes of the layers are those of {spec}, the names are not"
    if evidence.images is None or evidence.images.shape is None:
        raise ArchitectureError(message, hint=f"--arch {spec} takes them as they stand; labelled images would confirm it")
    found = [(fit, structure.answers(fit, evidence.images, allow_nonfinite=evidence.allow_nonfinite)) for fit in fits]
    good = [(fit, right, n) for fit, (right, n, better) in found if better]
    if not good:
        right, n, _ = found[0][1]
        raise ArchitectureError(f"{message}; of {n} labelled images it answers {right} rightly", hint="name another with --arch")
    _, right, n = good[0]
    doubt = (
        f"recognised by order and shapes of the layers, not by names ({right} of {n} images right): confirm it with --arch {spec}"
    )
    return _Found([fit for fit, _, _ in good], "structure, confirmed by labelled images", doubts=[doubt])


def _sides(evidence: _Evidence) -> tuple[int, int] | None:
    """Height and width of the images, where they are known."""
    size = evidence.overrides and evidence.overrides.input_size
    return size[1:] if size else None
