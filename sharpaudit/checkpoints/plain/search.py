"""In which plain network were these weights trained? Counted out by shapes, then decided by labelled images, or left open.

1. Every geometry that fits the size of the images, the plainest first, is shown a few images, with activations that stand for
   their kind.
2. The best of them are improved one choice at a time: activation, pooling, order, normalisation.
3. The best of all is weighed against every other network that differs from it in one choice and computes something else, and
   against those of other geometries: `verdict` says whether it is clearly ahead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import Description
from sharpaudit.checkpoints.plain.geometry import Geometry, geometries
from sharpaudit.checkpoints.plain.neighbours import COMMON, MAX_GEOMETRIES, STANDING_IN, around, odd, other_geometries
from sharpaudit.checkpoints.plain.normalisations import moved
from sharpaudit.checkpoints.plain.styles import Style, assembled, orders, styles
from sharpaudit.checkpoints.plain.trial import Hypothesis, Normalisation, Score, Trial
from sharpaudit.checkpoints.plain.verdict import Race, Verdict, beaten, guessing

MIN_GEOMETRIES = 48
"""Geometries that are shown the first images."""
SCREENING_PRODUCTS = 3e11
"""Multiplications that showing them may take, about."""
SCREENS = ((16, 2500), (64, 300), (256, 100))
"""Images for a first look, and how many networks are left after it."""
CLIMB = 512
"""Images for improvement."""
MAX_MOVES = 6
"""Steps of the improvement of the best."""
BEAM = 8
"""Geometries that are improved."""
MAX_VERDICTS = 4
"""Times that the decision is begun anew from the network that it takes."""


def search(
    chains: Sequence[Chain],
    trial: Trial,
    size: tuple[int, int],
    normalisations: Sequence[Normalisation],
    beside: Sequence[Hypothesis] = (),
) -> Verdict | None:
    """The verdict of labelled images on every network that fits; None where none fits.

    Args:
        chains: orders of the layers.
        trial: shows the images.
        size: height and width of the images.
        normalisations: likeliest first.
        beside: networks that are tried whatever the shapes say.
    """
    race = Race(trial)
    starts = _screened(race, chains, size, normalisations)
    climbed = [_improved(race, start, normalisations) for start in starts]
    leaders = race.best(list(dict.fromkeys([*climbed, *beside])), CLIMB)
    if not leaders:
        return None
    best = leaders[0]
    for _ in range(MAX_MOVES):
        near = [h for h in around(best, normalisations) if not odd(h)]
        ranked = race.best([best, *near, *other_geometries(best, chains, size)], CLIMB)
        if ranked[0] == best:
            break
        best = ranked[0]
    for _ in range(MAX_VERDICTS):
        rivals = [*leaders, *around(best, normalisations), *other_geometries(best, chains, size)]
        verdict = race.verdict(best, list(dict.fromkeys(rivals)))
        if verdict.best == best:
            break
        best = verdict.best
    return verdict


def overturned(
    trial: Trial, chains: Sequence[Chain], size: tuple[int, int], known: Callable[[int], Score], normalisation: Normalisation
) -> bool:
    """Whether some plain network does clearly better than the known one whose names and shapes these are, or that one guesses."""
    race = Race(trial)
    starts = _starts(chains, size, [normalisation])
    left, mine = list(starts), known(len(trial))
    for n in (SCREENS[-1][0], CLIMB, len(trial)):
        mine = known(min(n, len(trial)))
        scores = race.scores(left, n)
        left = [h for h in left if h in scores and scores[h].mean < mine.mean]
    if any(beaten(race.scores([h], len(trial))[h], mine, len(starts)) for h in left):
        return True
    return not beaten(mine, guessing(mine, trial), 1)


def settled(trial: Trial, chain: Chain, description: Description, normalisations: Sequence[Normalisation]) -> Verdict:
    """The verdict on how the images of a network that is known were normalised."""
    race = Race(trial)
    every = [Hypothesis(chain, description, normalisation) for normalisation in normalisations]
    ranked = race.best(every, CLIMB)
    best = ranked[0] if ranked else every[0]
    return race.verdict(best, [*every, *(Hypothesis(chain, description, other) for other in moved(best.normalisation))])


def _screened(
    race: Race, chains: Sequence[Chain], size: tuple[int, int], normalisations: Sequence[Normalisation]
) -> list[_Start]:
    """The best network of each of the best few geometries, at a first look with an activation of each kind."""
    starts = _starts(chains, size, normalisations[:2])
    left = list(starts)
    for n, keep in SCREENS:
        left = race.best(left, n)[:keep]
    beam: dict[tuple[int, Geometry], _Start] = {}
    for hypothesis in left:
        start = starts[hypothesis]
        beam.setdefault((id(start.chain), start.geometry), start)
    return list(beam.values())[:BEAM]


def _starts(chains: Sequence[Chain], size: tuple[int, int], normalisations: Sequence[Normalisation]) -> dict[Hypothesis, _Start]:
    """Every geometry with an activation of each kind."""
    starts: dict[Hypothesis, _Start] = {}
    for chain in chains:
        usual = orders(chain)[:2] if len(orders(chain)) > 2 else orders(chain)[:1]
        for geometry in islice(geometries(chain, *size), max(MIN_GEOMETRIES, _affordable(chain, size) // len(chains))):
            for style in styles(chain, geometry, STANDING_IN):
                if style.order in usual and style.closing == "avg" and style.groups in (None, 1, 8):
                    for normalisation in normalisations:
                        hypothesis = Hypothesis(chain, assembled(chain, geometry, style), normalisation)
                        starts.setdefault(hypothesis, _Start(chain, geometry, style, normalisation))
    return starts


def _affordable(chain: Chain, size: tuple[int, int]) -> int:
    """How many geometries may be shown the first images: fewer of networks that take longer."""
    convs = chain.convs[1:] or chain.convs
    products = sum(math.prod(conv.shape) for conv in convs) * size[0] * size[1] / 4 + sum(math.prod(m.shape) for m in chain.main)
    return min(MAX_GEOMETRIES, int(SCREENING_PRODUCTS / (12 * SCREENS[0][0] * products)))


@dataclass(frozen=True)
class _Start:
    """Where improvement begins."""

    chain: Chain
    geometry: Geometry
    style: Style
    normalisation: Normalisation


def _improved(race: Race, start: _Start, normalisations: Sequence[Normalisation]) -> Hypothesis:
    """The best network of this geometry that changing one choice at a time leads to."""
    chain, geometry, style, normalisation = start.chain, start.geometry, start.style, start.normalisation
    every = list(styles(chain, geometry, COMMON))
    for _ in range(3):
        before = style, normalisation
        for choice in ("activation", "pool", "order", "groups", "closing"):
            kept = {name: getattr(style, name) for name in ("activation", "pool", "order", "groups", "closing") if name != choice}
            options = {
                Hypothesis(chain, assembled(chain, geometry, other), normalisation): other
                for other in every
                if all(getattr(other, name) == value for name, value in kept.items())
            }
            if len(options) > 1 and (best := race.best(list(options), CLIMB // 2)):
                style = options[best[0]]
        now = assembled(chain, geometry, style)
        ranked = race.best([Hypothesis(chain, now, other) for other in normalisations], CLIMB // 2)
        normalisation = ranked[0].normalisation if ranked else normalisation
        if (style, normalisation) == before:
            break
    return Hypothesis(chain, assembled(chain, geometry, style), normalisation)
