"""In which plain network were these weights trained? Counted out by shapes, then decided by labelled images, or left open.

1. Every geometry that fits the size of the images, the plainest first, is shown a few images, with activations that stand for
   their kind.
2. The best of them are improved one choice at a time: activation, pooling, order, normalisation.
3. The best of all must be better, beyond chance, than every other network that differs from it in one choice and computes
   something else, and than the best of every other geometry. Else nothing is decided.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise

import numpy as np

from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import (
    Activation,
    Conv,
    Description,
    GlobalPool,
    Layer,
    Linear,
    Norm,
    Pool,
    PoolKind,
)
from sharpaudit.checkpoints.plain.geometry import Geometry, geometries
from sharpaudit.checkpoints.plain.styles import ORDERS, Style, assembled, canonical, orders, styles
from sharpaudit.checkpoints.plain.trial import Hypothesis, Normalisation, Score, Trial
from sharpaudit.stats.paired import mcnemar

STANDING_IN = (Activation("relu"), Activation("tanh"), Activation("sigmoid"))
"""One activation of each kind: they tell the right geometry when they are not the right activation."""
COMMON = tuple(Activation(name) for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu"))
RARE = (
    *(Activation("leaky_relu", slope) for slope in (0.1, 0.2)),
    *(Activation(name) for name in ("relu6", "selu", "softplus", "mish", "hardtanh", "hardswish", "softsign")),
)
"""Taken only where they are clearly better than every common one."""
MIN_GEOMETRIES, MAX_GEOMETRIES = 48, 1500
"""Geometries that are shown the first images."""
SCREENING_PRODUCTS = 3e11
"""Multiplications that showing them may take, about."""
SCREENS = ((16, 2500), (64, 300))
"""Images for a first look, and how many networks are left after it."""
CLIMB, LARGEST = 512, Trial.LARGEST
"""Images for improvement, and at most for the decision."""
NEAR = 40
"""Geometries near the best one that are compared with it again."""
MAX_MOVES = 6
"""Steps of the improvement of the best."""
BEAM = 8
"""Geometries that are improved."""
SIGNIFICANCE = 1e-3
"""Of the whole decision; it is shared between all comparisons."""
DOUBT = 2.0
"""Standard errors by which the loss of the commonest of several undecided activations may be above that of another."""
CLEAR_LOSS = 5.0
"""Standard errors of a difference in loss that decide where accuracies agree: small changes of an activation move the loss of a
trained network either way, by up to 2.8 in the nine networks tried."""
CLEAR_UNREST = 4.0
"""Standard errors of a difference in unrest that decide. In eight networks the truth was at most 2.9 above another."""
RESTLESS = 8.0
"""Unrest of 2,048 images above which a network is not taken. In eight trained networks the truth had 0.1 to 4,
and in three that were hardly trained 13 to 31; three wrong networks, taken because the truth was not tried, had 10 to 25."""
UNREST = 2048
"""Images from which it is taken."""
SAME = 1e-4
"""Largest difference of logits, relative to their spread, that is rounding."""


@dataclass(frozen=True)
class Verdict:
    """The network that is clearly best, or the best few that the images do not tell apart."""

    best: Hypothesis
    rivals: list[Hypothesis]
    """What might as well be; empty where `best` is clearly best."""
    told: str
    """How many images each answers rightly, in words."""
    tried: int
    accepted: bool
    """Whether `best` may be taken: rivals, if any, differ from it in what is next to nothing on these images."""


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
    race = _Race(trial)
    starts = _screened(race, chains, size, normalisations)
    climbed = [_improved(race, start, normalisations) for start in starts]
    leaders = race.best(_deduplicated([*climbed, *beside]), CLIMB)
    if not leaders:
        return None
    best = leaders[0]
    for _ in range(MAX_MOVES):
        near = [h for h in _around(best, normalisations) if not _odd(h)]
        around = race.best([best, *near, *_other_geometries(best, chains, size)], CLIMB)
        if around[0] == best:
            break
        best = around[0]
    while True:
        rivals = [*leaders, *_around(best, normalisations), *_other_geometries(best, chains, size)]
        verdict = race.verdict(best, _deduplicated(rivals))
        if verdict.best == best or not _odd(verdict.best):
            return verdict
        best = verdict.best


def overturned(
    trial: Trial, chains: Sequence[Chain], size: tuple[int, int], known: Callable[[int], Score], normalisation: Normalisation
) -> bool:
    """Whether some plain network does clearly better than the known one whose names and shapes these are, or that one guesses."""
    race = _Race(trial)
    starts = _starts(chains, size, [normalisation])
    left, mine = list(starts), known(len(trial))
    for n in (SCREENS[-1][0], CLIMB, LARGEST):
        mine = known(min(n, len(trial)))
        scores = race.scores(left, n)
        left = [h for h in left if h in scores and scores[h].mean < mine.mean]
    if any(_beaten(race.scores([h], LARGEST)[h], mine, len(starts)) for h in left):
        return True
    return not _beaten(mine, _guessing(mine, trial), 1)


def settled(trial: Trial, chain: Chain, description: Description, normalisations: Sequence[Normalisation]) -> Verdict:
    """The verdict on how the images of a network that is known were normalised."""
    race = _Race(trial)
    every = [Hypothesis(chain, description, normalisation) for normalisation in normalisations]
    ranked = race.best(every, CLIMB)
    return race.verdict(ranked[0] if ranked else every[0], every)


def _screened(
    race: _Race, chains: Sequence[Chain], size: tuple[int, int], normalisations: Sequence[Normalisation]
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


def _improved(race: _Race, start: _Start, normalisations: Sequence[Normalisation]) -> Hypothesis:
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


def _around(hypothesis: Hypothesis, normalisations: Sequence[Normalisation]) -> list[Hypothesis]:
    """Every network that differs in one choice: all activations or one of them, all poolings or one, the order, the images."""
    layers = hypothesis.description.layers
    found: list[Sequence[Layer]] = []
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Activation) and layer.name != "prelu"]
    for activation in (*COMMON, *RARE):
        found.append([activation if i in places else layer for i, layer in enumerate(layers)])
    for place in places:
        found.append([*layers[:place], *layers[place + 1 :]])
        found += [[*layers[:place], other, *layers[place + 1 :]] for other in STANDING_IN]
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, Pool | GlobalPool)]
    for changed in [pools, *([place] for place in pools)]:
        found.append([_flipped(layer) if i in changed else layer for i, layer in enumerate(layers)])
    found += [_reordered(layers, order) for order in orders(hypothesis.chain)]
    found += [_regrouped(layers, groups) for groups in (1, 2, 4, 8, 16, 32)]
    networks = [replace(hypothesis, description=canonical(Description(tuple(changed)))) for changed in found]
    shown = [replace(hypothesis, normalisation=normalisation) for normalisation in normalisations]
    return [other for other in _deduplicated([*networks, *shown]) if other != hypothesis]


def _flipped(layer: Layer) -> Layer:
    assert isinstance(layer, Pool | GlobalPool)
    return replace(layer, kind="avg" if layer.kind == "max" else "max")


def _reordered(layers: Sequence[Layer], order: tuple[str, ...]) -> list[Layer]:
    """What stands between two layers with weights in another order."""
    found: list[Layer] = []
    between: list[Layer] = []

    def kind(layer: Layer) -> int:
        return order.index("norm" if isinstance(layer, Norm) else "activation" if isinstance(layer, Activation) else "pool")

    for layer in layers:
        if isinstance(layer, Conv | Linear | GlobalPool):
            found += [*sorted(between, key=kind), layer]
            between = []
        else:
            between.append(layer)
    return found + between


def _regrouped(layers: Sequence[Layer], groups: int) -> list[Layer]:
    widths: dict[int, int] = {}
    width = 0
    for position, layer in enumerate(layers):
        width = layer.out if isinstance(layer, Conv | Linear) else width
        widths[position] = width
    return [
        replace(layer, groups=groups)
        if isinstance(layer, Norm) and layer.kind == "groupnorm" and widths[i] % groups == 0
        else layer
        for i, layer in enumerate(layers)
    ]


def _other_geometries(best: Hypothesis, chains: Sequence[Chain], size: tuple[int, int]) -> Iterator[Hypothesis]:
    """The networks of all other geometries that differ from the best in few layers, in its style."""
    layers = best.description.layers
    activation = next((layer for layer in layers if isinstance(layer, Activation)), Activation("relu"))
    pool: PoolKind = next((layer.kind for layer in layers if isinstance(layer, Pool)), "max")
    shape = [layer for layer in layers if isinstance(layer, Conv | Pool | GlobalPool)]
    for chain in chains:
        near = []
        for geometry in islice(geometries(chain, *size), MAX_GEOMETRIES):
            for order in ORDERS:
                other = assembled(chain, geometry, Style(activation, pool, order))
                theirs = [layer for layer in other.layers if isinstance(layer, Conv | Pool | GlobalPool)]
                apart = sum(a != b for a, b in zip(shape, theirs, strict=False)) + abs(len(shape) - len(theirs))
                if 0 < apart <= 2 and _reordered(other.layers, order) == list(other.layers):
                    near.append((apart, geometry.unusual, Hypothesis(chain, other, best.normalisation)))
                break
        near.sort(key=lambda item: item[:2])
        yield from (hypothesis for _, _, hypothesis in near[:NEAR])


def _deduplicated(hypotheses: Iterable[Hypothesis]) -> list[Hypothesis]:
    return list(dict.fromkeys(hypotheses))


class _Race:
    """Scores hypotheses, remembers what was asked, and says who is clearly ahead."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._known: dict[tuple[Hypothesis, int], Score | None] = {}
        self.tried: set[Hypothesis] = set()

    def scores(self, hypotheses: Sequence[Hypothesis], n: int) -> dict[Hypothesis, Score]:
        """The scores of those that can take the images."""
        n = min(n, len(self._trial))
        asked = [hypothesis for hypothesis in hypotheses if (hypothesis, n) not in self._known]
        for hypothesis, score in zip(asked, self._trial.scores(asked, n), strict=True):
            self._known[hypothesis, n] = score
        self.tried.update(hypotheses)
        return {h: score for h in hypotheses if (score := self._known[h, n]) is not None}

    def best(self, hypotheses: Sequence[Hypothesis], n: int) -> list[Hypothesis]:
        """Those that can take the images, the best first."""
        scores = self.scores(hypotheses, n)
        return sorted(scores, key=lambda hypothesis: scores[hypothesis].mean)  # sorted is stable: the first named wins a tie

    def verdict(self, best: Hypothesis, others: Sequence[Hypothesis]) -> Verdict:
        """Whether `best` is clearly ahead of all `others`, asked of more and more images as long as some are close."""
        left = [other for other in others if other != best]
        comparisons = max(1, len(self.tried | set(left)))
        n = CLIMB
        while True:
            scores = self.scores([best, *left], n)
            mine = scores[best]
            left = [h for h in left if h in scores and not _same(mine, scores[h])]
            left = [h for h in left if not _beaten(mine, scores[h], comparisons)]
            if not left or n >= min(LARGEST, len(self._trial)):
                break
            n *= 2
        if not _odd(best):
            odd = [h for h in left if _odd(h) and _beaten(scores[h], mine, comparisons)]
            if odd:  # it is begun anew from there
                return self._open(min(odd, key=lambda h: scores[h].mean), [best], scores)
        usual = [best, *(h for h in left if not _odd(h))]
        if not _beaten(mine, _guessing(mine, self._trial), comparisons):
            return self._open(best, usual[1:], scores)
        unrest = {h: self._trial.unrest(h, UNREST) for h in usual}
        restless = {h for h in unrest if any(unrest[h].above(other) > CLEAR_UNREST for other in unrest.values())}
        usual = [h for h in usual if h not in restless]
        taken = min(usual, key=lambda h: (_strangeness(h), scores[h].mean))
        doubted = any(
            _standard_errors(scores[taken], scores[h]) > DOUBT or unrest[taken].above(unrest[h]) > DOUBT
            for h in usual
            if h != taken
        )
        found = self._open(taken, [h for h in usual if h != taken], scores)
        if _odd(taken) or unrest[taken].value > RESTLESS:  # the network itself may not be among those that were tried
            told = f"{found.told}; where training in it would leave the weights, they are not"
            return replace(found, told=told if unrest[taken].value > RESTLESS else found.told)
        return replace(found, accepted=not doubted)

    def _open(self, best: Hypothesis, rivals: list[Hypothesis], scores: dict[Hypothesis, Score]) -> Verdict:
        """What is to be said, nothing accepted."""
        rivals = sorted(rivals, key=lambda h: scores[h].mean)
        shown = [best, *rivals][:6]
        told = "; ".join(f"{scores[h].right.mean():.1%} in {h.description}{_fed(h, best)}" for h in shown)
        n = len(scores[best].right)
        return Verdict(best, rivals, f"of {n} images right: {told}", len(self.tried), accepted=False)


def _strangeness(hypothesis: Hypothesis) -> tuple[float, int]:
    """How unusual a network is: paddings and poolings, then activations. The least one is taken where images leave it open."""
    layers = hypothesis.description.layers
    convs = [layer for layer in layers if isinstance(layer, Conv)]
    pools = [layer for layer in layers if isinstance(layer, Pool)]
    padded = [conv.pad == tuple((side - 1) // 2 for side in conv.kernel) for conv in convs if max(conv.kernel) > 1]
    unpadded = [conv.pad == (0, 0) for conv in convs if max(conv.kernel) > 1]
    strange = sum(not (same or valid) for same, valid in zip(padded, unpadded, strict=True))
    mixed = not (all(padded) or all(unpadded))
    unlike = len({layer.kind for layer in pools}) > 1
    overlapping = sum(pool.stride != pool.kernel for pool in pools)
    return strange + mixed / 2 + unlike + overlapping, _commonness(hypothesis)


def _commonness(hypothesis: Hypothesis) -> int:
    """The place of its activations among the common ones: the lower, the commoner."""
    used = [layer for layer in hypothesis.description.layers if isinstance(layer, Activation)]
    known = [COMMON.index(layer) if layer in COMMON else len(COMMON) for layer in used]
    return max(known, default=0) + len(COMMON) * (len(set(used)) > 1)


def _odd(hypothesis: Hypothesis) -> bool:
    """Whether it is a network that few would make: it is thought of only where it is clearly better than every usual one."""
    layers = hypothesis.description.layers
    main = [i for i, layer in enumerate(layers) if isinstance(layer, Conv | Linear)]
    between = [layers[a:b] for a, b in pairwise(main)]
    silent = any(not any(isinstance(layer, Activation) for layer in part) for part in between)
    adaptive = any(isinstance(layer, GlobalPool) and layer.size > 1 for layer in layers)
    return silent or adaptive or _commonness(hypothesis) >= len(COMMON)


def _fed(hypothesis: Hypothesis, best: Hypothesis) -> str:
    return "" if hypothesis.normalisation == best.normalisation else f" with normalisation {hypothesis.normalisation.name}"


def _guessing(like: Score, trial: Trial) -> Score:
    """What always naming the commonest class gives."""
    labels = trial.labels(len(like.right))
    counts = np.bincount(labels)
    shares = counts / counts.sum()
    return Score(labels == counts.argmax(), -np.log(shares[labels]), np.zeros_like(like.logits))


def _same(one: Score, other: Score) -> bool:
    """Whether two networks give the same logits, up to rounding and what softmax does not see."""
    return bool(np.abs(one.logits - other.logits).max() <= SAME * np.abs(one.logits).max())


def _beaten(better: Score, worse: Score, comparisons: int) -> bool:
    """Whether the one is better than the other beyond chance: right more often and of lower loss, or of much lower loss."""
    level = SIGNIFICANCE / comparisons
    wins, losses = int((better.right & ~worse.right).sum()), int((worse.right & ~better.right).sum())
    if better.mean >= worse.mean or wins < losses:
        return False
    return mcnemar(wins, losses) < level or _standard_errors(worse, better) > CLEAR_LOSS


def _standard_errors(one: Score, other: Score) -> float:
    """By how many standard errors the mean loss of the one is above that of the other."""
    difference = one.loss - other.loss
    error = float(difference.std()) / np.sqrt(len(difference))
    return float(difference.mean()) / error if error > 0 else 0.0
