"""Which networks do the weights fit? The one that is named; else those of the index, by names and shapes; else a plain one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sharpaudit.checkpoints import architectures, effort, fingerprint, fitting, state_dict, structure
from sharpaudit.checkpoints.fitting import Resolved
from sharpaudit.checkpoints.functions import input_shape
from sharpaudit.checkpoints.matching import rival_prefix
from sharpaudit.checkpoints.plain import description, known, normalisations
from sharpaudit.checkpoints.plain import inference as plain
from sharpaudit.checkpoints.plain.geometry import MAX_CONVS
from sharpaudit.checkpoints.plain.trial import LabelledImages, Normalisation
from sharpaudit.checkpoints.preprocessing import is_input_size
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.errors import ArchitectureError
from sharpaudit.request import PreprocessingOverrides


@dataclass(frozen=True)
class Evidence:
    """What may tell the network, beside its weights."""

    overrides: PreprocessingOverrides | None
    stated: Statements
    images: LabelledImages | None
    allow_nonfinite: bool

    @property
    def normalisation(self) -> Normalisation | None:
        """Mean and standard deviation, where the user or the file states both."""
        stated, flags = self.stated.preprocessing, self.overrides or PreprocessingOverrides()
        mean, std = flags.mean or stated.get("mean"), flags.std or stated.get("std")
        return normalisations.stated(mean, std) if mean and std else None

    @property
    def labelled(self) -> LabelledImages | None:
        """The images, where they are of one shape and can be shown to a network whose input size nobody knows."""
        return self.images if self.images and self.images.shape else None

    @property
    def size_by_user(self) -> tuple[int, int, int] | None:
        """Channels, height and width of the network's input, where the user states them."""
        return self.overrides.input_size if self.overrides else None

    @property
    def size_by_file(self) -> Sequence[int] | None:
        """The same, where the file states them."""
        size = self.stated.preprocessing.get("input_size")
        return size if is_input_size(size) else None

    @property
    def image_size(self) -> int | None:
        """The height of the network's input, where the user or the file states it."""
        size = self.size_by_user or self.size_by_file
        return size[1] if size else None


@dataclass(frozen=True)
class Identified:
    """The networks that the weights fit, the likeliest first, and who named them."""

    fits: list[Resolved]
    origin: str
    steps: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)


def identified(flag: str | None, weights: state_dict.Weights, evidence: Evidence, *, allow_code: bool) -> Identified:
    """The networks that the weights fit."""
    spec, origin = (flag, "--arch") if flag is not None else (evidence.stated.architecture, evidence.stated.origin)
    if spec is None:
        return _looked_for(weights, evidence)
    if description.is_description(spec):
        inferred = plain.described(
            description.parse(spec),
            weights,
            evidence.overrides,
            evidence.images,
            given=evidence.normalisation,
            allow_nonfinite=evidence.allow_nonfinite,
        )
        return Identified([inferred.resolved], origin, inferred.steps, inferred.doubts)
    named = architectures.parse(spec, allow_code=allow_code) if flag is not None else architectures.stated(spec, origin)
    resolved = fitting.sized(fitting.resolve(named, weights), evidence.image_size)
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
    return Identified([resolved], origin)


def _looked_for(weights: state_dict.Weights, evidence: Evidence) -> Identified:
    """The networks of the index that the weights fit, or the plain one in which they do best.

    A few layers in a row may fit a network of the zoo by chance: then it is one of the plain networks that images decide about.
    """
    chains, sides = plain.chains_of(weights), evidence.size_by_user and evidence.size_by_user[1:]
    try:
        fits = [fitting.sized(fit, evidence.image_size) for fit in fitting.identify(weights)]
    except ArchitectureError as error:
        large = not chains or len(chains[0].main) > known.MAX_CHANCE
        if large and (found := structure.renamed(weights)):
            return _renamed(found, evidence)
        if (large and fitting.nearest(weights)) or not chains or len(chains[0].convs) > MAX_CONVS:
            raise
        if not evidence.labelled:
            raise plain.undecided(chains, sides) from error
        fits = []
    else:
        chance = chains and all(fit.architecture.spec.startswith("zoo:") for fit in fits)
        if not chance or len(chains[0].main) > known.MAX_CHANCE:
            return Identified(fits, "fingerprint")
        if not evidence.labelled:
            if "image_size" in fits[0].changed and evidence.image_size is None:
                raise plain.undecided(chains, sides)
            return Identified(fits, "fingerprint")
        stands = known.confirmed(
            fits[0],
            chains,
            weights,
            evidence.labelled,
            evidence.overrides,
            given=evidence.normalisation,
            allow_nonfinite=evidence.allow_nonfinite,
        )
        if stands:
            return Identified([stands.resolved, *fits[1:]], stands.origin, stands.steps, stands.doubts)
    try:
        inferred = plain.infer(
            chains,
            weights,
            evidence.overrides,
            evidence.labelled,
            given=evidence.normalisation,
            first=[normalisations.published(fit) for fit in fits[:1]],
            allow_nonfinite=evidence.allow_nonfinite,
        )
    except ArchitectureError as error:
        if not fits:
            raise
        hint = f"--arch {fits[0].architecture.spec} has these names and shapes; or {error.hint}"
        raise ArchitectureError(error.message, hint=hint) from error
    if named := known.among(inferred.resolved, fits):
        return Identified([named], "fingerprint, confirmed by labelled images", inferred.steps, inferred.doubts)
    return Identified([inferred.resolved], inferred.origin, inferred.steps, inferred.doubts)


def _renamed(fits: list[Resolved], evidence: Evidence) -> Identified:
    """Networks whose layers the weights have under other names, as far as labelled images confirm it.

    Raises:
        ArchitectureError: no images, or they are not answered better than by chance.
    """
    spec = fits[0].architecture.spec
    message = f"no architecture was named; order and shapes of the layers are those of {spec}, the names are not"
    if not evidence.labelled:
        raise ArchitectureError(message, hint=f"--arch {spec} takes them as they stand; labelled images would confirm it")
    found = [(fit, structure.answers(fit, evidence.labelled, allow_nonfinite=evidence.allow_nonfinite)) for fit in fits]
    good = [(fit, right, n) for fit, (right, n, better) in found if better]
    if not good:
        right, n, _ = found[0][1]
        raise ArchitectureError(f"{message}; of {n} labelled images it answers {right} rightly", hint="name another with --arch")
    _, right, n = good[0]
    doubt = (
        f"recognised by order and shapes of the layers, not by names ({right} of {n} images right): confirm it with --arch {spec}"
    )
    return Identified([fit for fit, _, _ in good], "structure, confirmed by labelled images", doubts=[doubt])


def refuse_hard_work(fits: Sequence[Resolved], evidence: Evidence, *, options: bool) -> None:
    """Refuse networks that take more of one image than any does, where the file decided how large it is, or on the `options`.

    Raises:
        UnsafeInput: with the work and the limit.
    """
    if not options and (evidence.size_by_user or not evidence.size_by_file):
        return
    for fit in fits:
        effort.refuse_hard_work(fit.outline, evidence.size_by_user or evidence.size_by_file or input_shape(fit))
