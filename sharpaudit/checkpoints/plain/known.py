"""Is a network of the zoo, whose few layers the weights may fit by chance, the one they came from? Labelled images tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sharpaudit.checkpoints.fitting import Resolved, sized
from sharpaudit.checkpoints.functions import same_function, takes
from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.given import Given, Identified
from sharpaudit.checkpoints.plain.inference import as_flag, prepared_for, shown_size, trial_on
from sharpaudit.checkpoints.plain.normalisations import candidates, published
from sharpaudit.checkpoints.plain.search import overturned
from sharpaudit.checkpoints.plain.suggestions import plainest
from sharpaudit.checkpoints.plain.trial import Score
from sharpaudit.checkpoints.plain.verdict import beaten
from sharpaudit.checkpoints.preprocessing import Defaults
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.weights import fill

MAX_CHANCE = 7
"""Layers with weights up to which a network of the zoo may be fitted by chance."""


def confirmed(fit: Resolved, found: Sequence[Chain], weights: Weights, given: Given) -> Identified | None:
    """A known network of few layers, if it does well on images of the size it takes, and no other plain network does better.

    Where nobody states the normalisation it is the network's own, unless the images are answered better with another.
    """
    images, stated = given.labelled, given.normalisation
    assert images, "who asks has labelled images"
    size = shown_size(found[0], given.overrides, images)
    start = next((d for chain in found for d in plainest(chain, *size[1:], 1)), None) if size else None
    if size is None or start is None or not takes(fit, size):
        return None
    own = published(fit)
    module = fill(fit, allow_nonfinite=given.allow_nonfinite).module
    trial = trial_on(found, start, weights, size, images, given)
    normalisations = list(dict.fromkeys([stated] if stated else [own, *candidates(size, images)]))
    scores = {n: score for n in normalisations if (score := trial.score_of(module, n, len(trial)))}
    if len(scores) < len(normalisations):  # weights that are no numbers: no plain network does better
        return Identified([fit], "fingerprint")
    best = min(normalisations, key=lambda n: scores[n].mean)  # the first named wins a tie
    if own in scores and not beaten(scores[best], scores[own], len(scores)):
        best = own

    def known(n: int) -> Score:
        score = trial.score_of(module, best, n)
        assert score, "it takes images of this size"
        return score

    if overturned(trial, found, size[1:], known, best):
        return None
    if best in (own, stated):
        return Identified([fit], "fingerprint")
    right, before = (f"{int(scores[n].right.sum()):,}" for n in (best, own))
    doubt = (
        f"normalisation taken: {best.name}, with which {right} of {len(trial):,} images are right, and with that of "
        f"{fit.architecture.spec} {before}: confirm it with --mean {as_flag(best.mean)} --std {as_flag(best.std)}"
    )
    return Identified([_prepared(fit, prepared_for(size, best, f"labelled images ({best.name})"))], "fingerprint", doubts=[doubt])


def among(inferred: Resolved, fits: Sequence[Resolved]) -> Resolved | None:
    """The known network that computes what the inferred one does, prepared as that one; None where none does."""
    wanted = inferred.architecture.defaults(inferred.outline)
    assert wanted, "an inferred network has a size"
    for fit in fits:
        sized_fit = sized(fit, wanted.input_size[1])
        if same_function(inferred, sized_fit, wanted.input_size):
            known = published(sized_fit)
            if (known.mean, known.std) == (wanted.mean, wanted.std):
                return sized_fit
            return _prepared(sized_fit, wanted)
    return None


def _prepared(fit: Resolved, defaults: Defaults) -> Resolved:
    """The known network, with images prepared in another way than its own."""
    return replace(fit, architecture=replace(fit.architecture, defaults=lambda _: defaults))
