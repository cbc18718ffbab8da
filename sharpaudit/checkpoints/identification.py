"""Which networks do the weights fit? The one that is named; else those of the index, by names and shapes; else a plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sharpaudit.checkpoints import architectures, effort, fingerprint, fitting, state_dict, structure
from sharpaudit.checkpoints.fitting import Resolved
from sharpaudit.checkpoints.functions import input_shape
from sharpaudit.checkpoints.matching import rival_prefix
from sharpaudit.checkpoints.plain import description, known, normalisations
from sharpaudit.checkpoints.plain import inference as plain
from sharpaudit.checkpoints.plain.geometry import MAX_CONVS
from sharpaudit.checkpoints.plain.given import Given, Identified
from sharpaudit.errors import ArchitectureError, UsageError


def identified(flag: str | None, weights: state_dict.Weights, given: Given, *, allow_code: bool) -> Identified:
    """The networks that the weights fit."""
    spec, origin = (flag, "--arch") if flag is not None else (given.stated.architecture, given.stated.origin)
    if spec is None:
        return _looked_for(weights, given)
    if description.is_description(spec):
        try:
            parsed = description.parse(spec)
        except UsageError as error:
            if flag is not None:
                raise
            raise ArchitectureError(f"{origin}: {error.message}", hint="--arch names another") from error
        return replace(plain.described(parsed, weights, given), origin=origin)
    named = architectures.parse(spec, allow_code=allow_code) if flag is not None else architectures.stated(spec, origin)
    resolved = fitting.sized(fitting.resolve(named, weights), given.image_size)
    rival = None if resolved.fit.exact else rival_prefix(weights.tensors, resolved.shapes)
    if not resolved.fit.exact and not rival:
        resolved = next((fit for fit in structure.renamed(weights) if fit.architecture.spec == named.spec), resolved)
    fitting.refuse_headless(resolved)
    if not resolved.fit.exact:
        message, hint = resolved.fit.explain(named.spec, len(resolved.shapes))
        if rival:
            message += f"; {rival}"
        if others := fingerprint.candidates({name: tensor.shape for name, tensor in weights.tensors.items()}):
            hint = f"they fit {', '.join(candidate.spec for candidate in others[:5])}"
        raise ArchitectureError(message, hint=hint)
    return Identified([resolved], origin)


def _looked_for(weights: state_dict.Weights, given: Given) -> Identified:
    """The networks of the index that the weights fit, or the plain one in which they do best.

    A few layers in a row may fit a network of the zoo by chance: then it is one of the plain networks that images decide about.
    """
    chains, sides = plain.chains_of(weights), given.size_by_user and given.size_by_user[1:]
    try:
        fits = [fitting.sized(fit, given.image_size) for fit in fitting.identify(weights)]
    except ArchitectureError as error:
        large = not chains or len(chains[0].main) > known.MAX_CHANCE
        if large and (found := structure.renamed(weights)):
            return _renamed(found, given)
        if (large and fitting.nearest(weights)) or not chains or len(chains[0].convs) > MAX_CONVS:
            raise
        if not given.labelled:
            raise plain.undecided(chains, sides) from error
        fits = []
    else:
        chance = chains and all(fit.architecture.spec.startswith("zoo:") for fit in fits)
        if not chance or len(chains[0].main) > known.MAX_CHANCE:
            return Identified(fits, "fingerprint")
        if not given.labelled:
            if "image_size" in fits[0].changed and given.image_size is None:
                raise plain.undecided(chains, sides)
            return Identified(fits, "fingerprint")
        if stands := known.confirmed(fits[0], chains, weights, given):
            return replace(stands, fits=[*stands.fits, *fits[1:]])
    try:
        inferred = plain.infer(chains, weights, given, first=[normalisations.published(fit) for fit in fits[:1]])
    except ArchitectureError as error:
        if not fits:
            raise
        hint = f"--arch {fits[0].architecture.spec} has these names and shapes; or {error.hint}"
        raise ArchitectureError(error.message, hint=hint) from error
    if named := known.among(inferred.fits[0], fits):
        return replace(inferred, fits=[named], origin="fingerprint, confirmed by labelled images")
    return inferred


def _renamed(fits: list[Resolved], given: Given) -> Identified:
    """Networks whose layers the weights have under other names, as far as labelled images confirm it.

    Raises:
        ArchitectureError: no images, or they are not answered better than by chance.
    """
    spec = fits[0].architecture.spec
    message = f"no architecture was named; order and shapes of the layers are those of {spec}, the names are not"
    if not given.labelled:
        raise ArchitectureError(message, hint=f"--arch {spec} takes them as they stand; labelled images would confirm it")
    found = [(fit, structure.answers(fit, given.labelled, allow_nonfinite=given.allow_nonfinite)) for fit in fits]
    good = [(fit, right, n) for fit, (right, n, better) in found if better]
    if not good:
        right, n, _ = found[0][1]
        raise ArchitectureError(f"{message}; of {n} labelled images it answers {right} rightly", hint="name another with --arch")
    _, right, n = good[0]
    doubt = (
        f"recognised by order and shapes of the layers, not by names ({right} of {n} images right): confirm it with --arch {spec}"
    )
    return Identified([fit for fit, _, _ in good], "structure, confirmed by labelled images", doubts=[doubt])


def refuse_hard_work(fits: Sequence[Resolved], given: Given, *, options: bool) -> None:
    """Refuse networks that take more of one image than any does, where the file decided how large it is, or on the `options`.

    Raises:
        UnsafeInput: with the work and the limit.
    """
    if not options and (given.size_by_user or not given.size_by_file):
        return
    for fit in fits:
        effort.refuse_hard_work(fit.outline, given.size_by_user or given.size_by_file or input_shape(fit))
