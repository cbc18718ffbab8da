"""The plain network that the user describes, or that labelled images decide on, ready to be filled with the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt

from sharpaudit.checkpoints.plain.build import bind, resolve
from sharpaudit.checkpoints.plain.chain import Chain, chains
from sharpaudit.checkpoints.plain.description import Description, Parsed, written
from sharpaudit.checkpoints.plain.given import Given, Identified
from sharpaudit.checkpoints.plain.normalisations import OWN, candidates, within_chance
from sharpaudit.checkpoints.plain.search import search, settled
from sharpaudit.checkpoints.plain.suggestions import plainest, suggestions
from sharpaudit.checkpoints.plain.trial import LabelledImages, Normalisation, Trial, enough, values_of
from sharpaudit.checkpoints.plain.verdict import Verdict
from sharpaudit.checkpoints.preprocessing import Defaults
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.weights import fill
from sharpaudit.errors import ArchitectureError
from sharpaudit.request import PreprocessingOverrides

SHOWN = 3
"""Networks that are named where images do not tell them apart."""

Size = tuple[int, int, int]


def chains_of(weights: Weights) -> list[Chain]:
    """The orders in which the weights are a plain network."""
    return chains({name: tensor.shape for name, tensor in weights.tensors.items()})


def described(parsed: Parsed, weights: Weights, given: Given) -> Identified:
    """The network that the user described.

    Args:
        parsed: the description.
        weights: of the file.
        given: what else is known; labelled images find what nobody states of their normalisation.

    Raises:
        ArchitectureError: it does not fit the weights or the images.
    """
    found = chains_of(weights)
    if not found:
        raise ArchitectureError(
            "the tensors are not the weights of layers one after the other, which is all that a description can say",
            hint="name the network with --arch, or give file.py:factory and --allow-code",
        )
    chain, refusal = _fitting(parsed.description, found)
    if chain is None:
        assert refusal
        raise refusal
    if parsed.inputs not in (None, chain.inputs):
        raise ArchitectureError(f"the first layer takes {chain.inputs} numbers, the description says {parsed.inputs}")
    images, stated = given.images, given.normalisation
    size = shown_size(chain, given.overrides, images)
    if size is None:
        raise ArchitectureError("the size of the images is unknown", hint="give --input-size")
    resolve(parsed.description, chain, weights, prepared_for(size, None, ""))  # refuses what images of that size do not pass
    if stated or images is None:
        return Identified([resolve(parsed.description, chain, weights, prepared_for(size, stated, "flags"))], "--arch")
    trial = trial_on([chain], parsed.description, weights, size, images, given)
    verdict = settled(trial, chain, parsed.description, candidates(size, images))
    source, doubts = _normalised(verdict, trial, images, size)
    if not (verdict.accepted or doubts):
        doubts = [f"{verdict.told}: confirm the normalisation with --mean and --std"]
    defaults = prepared_for(size, verdict.best.normalisation, source)
    return Identified([resolve(parsed.description, chain, weights, defaults)], "--arch", doubts=doubts)


def infer(found: Sequence[Chain], weights: Weights, given: Given, first: Sequence[Normalisation] = ()) -> Identified:
    """The plain network in which the weights do clearly best on labelled images.

    Raises:
        ArchitectureError: none fits, or none is clearly best; the hint holds the best few.
    """
    images, stated = given.labelled, given.normalisation
    assert images, "who asks has labelled images"
    size = shown_size(found[0], given.overrides, images)
    if size is None:
        raise ArchitectureError(
            "no architecture was named, and no plain network of these weights takes these images",
            hint="give --arch or --input-size",
        )
    start = next((d for chain in found for d in plainest(chain, *size[1:], 1)), None)
    if start is None:
        raise _nothing_fits(found[0], size)
    normalisations = [stated] if stated else [*first, *candidates(size, images)]
    trial = trial_on(found, start, weights, size, images, given)
    verdict = search(found, trial, size[1:], normalisations)
    if verdict is None:
        raise _nothing_fits(found[0], size)
    if not verdict.accepted:
        options = [verdict.best, *verdict.rivals][:5]
        shown = " or ".join(dict.fromkeys(f"--arch '{written(h.description, h.chain.inputs)}'" for h in options))
        raise ArchitectureError(
            f"the weights fit {verdict.tried:,} plain networks and the labelled images do not tell which: {verdict.told}",
            hint=f"choose one: {shown}",
        )
    best = verdict.best
    source, doubts = ("flags", []) if stated else _normalised(verdict, trial, images, size)
    same = {h.description for h in verdict.rivals} - {best.description}
    if same:
        others = sorted((written(description, best.chain.inputs) for description in same), key=lambda text: (len(text), text))
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        doubts.append(
            f"the images do not tell {written(best.description, best.chain.inputs)} from {'; '.join(others[:SHOWN])}{more}, "
            f"which answer up to {verdict.differing:,} of {verdict.images:,} images otherwise: confirm it with --arch"
        )
    else:
        doubts.append(
            f"the network was inferred, and is the likeliest of the {verdict.tried:,} that were tried: confirm it with "
            f"--arch '{written(best.description, best.chain.inputs)}'"
        )
    step = f"inferred from shapes and labelled images among {verdict.tried:,} networks: {verdict.told}"
    defaults = prepared_for(size, best.normalisation, source)
    return Identified([resolve(best.description, best.chain, weights, defaults)], "shapes, then labelled images", [step], doubts)


def _fitting(description: Description, found: Sequence[Chain]) -> tuple[Chain | None, ArchitectureError | None]:
    """The order that the description follows, or why the first does not."""
    refusals = []
    for chain in found:
        try:
            bind(description, chain)
        except ArchitectureError as error:
            refusals.append(error)
            continue
        return chain, None
    return None, refusals[0]


def shown_size(chain: Chain, overrides: PreprocessingOverrides | None, images: LabelledImages | None) -> Size | None:
    """What the network is shown: the size that the user states, else that of the images, else what the weights leave open."""
    if overrides and overrides.input_size:
        return overrides.input_size
    stored = images.shape if images else None
    if stored:
        channels, height, width = stored
        if chain.convs:
            convertible = chain.inputs in (1, 3) and channels in (1, 3, 4)
            return (chain.inputs if convertible else channels, height, width)
        fitting = [c for c in dict.fromkeys((channels, 1, 3)) if c * height * width == chain.inputs]
        return (fitting[0], height, width) if fitting else None
    if not chain.convs:
        sides = [(c, isqrt(chain.inputs // c)) for c in (1, 3) if chain.inputs % c == 0]
        square = [(c, side, side) for c, side in sides if c * side * side == chain.inputs]
        return square[0] if square else None
    return None


def _nothing_fits(chain: Chain, size: Size) -> ArchitectureError:
    enters = f", {chain.head} numbers enter the first linear layer" if chain.head else ""
    options = suggestions([chain])
    return ArchitectureError(
        f"no plain network of these {len(chain.main)} layers takes images of {size[1]}×{size[2]}{enters}",
        hint="--input-size, if the images are to be resized" + (f"; it may be --arch '{options[0]}'" if options else ""),
    )


def prepared_for(size: Size, normalisation: Normalisation | None, source: str) -> Defaults:
    """How images of `size` are prepared: by the normalisation, if one is known, else not at all."""
    channels = size[0]
    mean, std = (normalisation.mean, normalisation.std) if normalisation else ((0.0,) * channels, (1.0,) * channels)
    return Defaults(mean, std, size, source=source or "assumed: pixels in [0, 1]")


def _normalised(verdict: Verdict, trial: Trial, images: LabelledImages, size: Size) -> tuple[str, list[str]]:
    """Where mean and standard deviation come from, and what is open about them."""
    best, doubts = verdict.best.normalisation, []
    others = dict.fromkeys(h.normalisation for h in verdict.rivals if h.normalisation != best)
    if best.name == OWN:  # of which more is said below
        others = {other: None for other in others if other.usual}
    if not best.usual:
        doubts.append(
            f"--mean {as_flag(best.mean)} --std {as_flag(best.std)} fit better than every usual normalisation: pass the trainer's"
        )
    elif others:
        flags = " or ".join(f"--mean {as_flag(n.mean)} --std {as_flag(n.std)} ({n.name})" for n in others)
        doubts.append(
            f"normalisation taken: {best.name}; the images do not tell it from {flags}, with which up to "
            f"{verdict.differing:,} of {verdict.images:,} answers differ: confirm it with --mean and --std"
        )
    if best.name == OWN:  # near what the trainer took, but not the same numbers
        pixels, _ = images.sample(size, enough(size), 0)
        moved = [verdict.best, *(replace(verdict.best, normalisation=n) for n in within_chance(pixels, best))]
        answers = [score.logits.argmax(1) for score in trial.scores(moved, len(trial)) if score]
        differing = max(int((other != answers[0]).sum()) for other in answers)
        doubts.append(
            f"--mean {as_flag(best.mean)} --std {as_flag(best.std)} were measured on these images, and the trainer's may be "
            f"so far from them that {differing:,} of {len(trial):,} answers differ: pass the trainer's"
        )
    return f"labelled images ({best.name})", doubts


def as_flag(values: Sequence[float]) -> str:
    """What ``--mean`` and ``--std`` take."""
    return ",".join(f"{value:g}" for value in values)


def trial_on(
    found: Sequence[Chain], start: Description, weights: Weights, size: Size, images: LabelledImages, given: Given
) -> Trial:
    """Networks of these weights, the first of them `start`, to be tried on a sample of the images."""
    chain, _ = _fitting(start, found)
    assert chain
    filled = fill(resolve(start, chain, weights, None), allow_nonfinite=given.allow_nonfinite)
    pixels, labels = images.sample(size, enough(size), chain.num_classes)
    return Trial(values_of(filled.module, bind(start, chain)), pixels, labels)


def undecided(found: Sequence[Chain], size: tuple[int, int] | None) -> ArchitectureError:
    """Why weights of a plain network are refused where no images can tell more, with the likeliest networks."""
    shown = " or ".join(f"--arch '{text}'" for text in suggestions(found, size))
    return ArchitectureError(
        "no architecture was named and none is known; the tensors are layers one after the other, whose padding, strides, "
        "poolings and activations only labelled images tell",
        hint=f"describe it: {shown}" if shown else "describe it with --arch 'seq(conv 32 5x5 pad 2, relu, maxpool 2, linear 10)'",
    )
