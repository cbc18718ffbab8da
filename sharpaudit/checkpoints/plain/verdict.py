"""Which of several networks were these weights trained in, beyond chance?

Four kinds of evidence, from the same labelled images for all: which answers are right (McNemar), the loss of each image
(paired), whether BatchNorm sees what it saw in training (`running`), and whether the weights are at rest (`stationarity`). The
third is decisive or silent: it rules out networks that do not answer better than those it leaves. Loss and rest are added up:
both say, in nats, what a network explains worse than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpaudit.checkpoints.plain.neighbours import odd, rare, strangeness
from sharpaudit.checkpoints.plain.running import unlike
from sharpaudit.checkpoints.plain.stationarity import BLOCKS, block_of
from sharpaudit.checkpoints.plain.trial import Hypothesis, Score, Trial
from sharpaudit.stats.paired import mcnemar

FIRST = 512
"""Images that are asked first; more as long as some networks are close."""
SIGNIFICANCE = 1e-3
"""Of the whole decision by right answers; it is shared between all comparisons."""
CLEAR_LOSS, CLEAR_NATS = 5.0, 25.0
"""Standard errors, and nats on all images, of a difference in loss that decides where accuracies agree. Small changes of an
activation may better the loss of a trained network without chance: by 9 nats and 7 standard errors in one of 60 networks."""
CLEAR, LIKELY = 3.0, 1.64
"""Standard errors of a difference of all evidence by which a network is told from a rival, and by which it is taken, flagged."""
ODDS = 10.0
"""Nats, strangeness counted in, by which a rival that chance may explain is still too unlikely to ask about; it is flagged."""
MATTERS = 5.0
"""Nats below which such a difference counts for nothing, however certain it is."""
RESTLESS = 8.0
"""Unrest above which a network is not taken. In trained networks the truth had 0.1 to 5, in three that were hardly trained 13
to 31; three wrong networks, taken because the truth was not tried, had 10 to 25."""
WEIGHED = 2048
"""Images that tell the unrest."""
MAX_WEIGHED = 12
"""Networks of which it is asked: those of the lowest loss."""
FAR = 50.0
"""Nats of loss and strangeness together by which a network may be above another and still be thought of."""
ALMOST_ALL = 0.03
"""Share of images that networks may answer differently without it being asked which is right: then either will do, flagged."""
SAME = 1e-4
"""Largest difference of logits, relative to their spread, that is rounding."""


@dataclass(frozen=True)
class Verdict:
    """The network that is best, and what might as well be."""

    best: Hypothesis
    rivals: list[Hypothesis]
    """Networks that the images do not tell from it; empty where it is clearly best."""
    told: str
    """How many images each answers rightly, in words."""
    tried: int
    images: int = 0
    differing: int = 0
    """How many of these images a rival answers otherwise, at most."""
    accepted: bool = False
    """Whether `best` may be taken: it is at rest, and rivals answer almost all images alike, or are seldom used or unlikely."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What speaks against a network, in nats."""

    nats: float
    left_out: NDArray[np.float64]
    """The same without each block of images."""
    unrest: float

    def above(self, other: Evidence, deviations: float) -> bool:
        """Whether it is more than that against another network, by so many standard errors (jackknife) and enough to matter."""
        differences = self.left_out - other.left_out
        error = float(np.sqrt((len(differences) - 1) * differences.var()))
        return self.nats - other.nats > max(deviations * error, MATTERS)


class Race:
    """Scores hypotheses, remembers what was asked, and says who is clearly ahead."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._known: dict[tuple[Hypothesis, int], Score | None] = {}
        self._evidence: dict[Hypothesis, Evidence] = {}
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
        """Those that can take the images, the likeliest first."""
        scores = self.scores(hypotheses, n)
        return sorted(scores, key=lambda h: _unlikeliness(h, scores[h]))  # sorted is stable: the first named wins a tie

    def verdict(self, best: Hypothesis, others: Sequence[Hypothesis]) -> Verdict:
        """Whether one is clearly ahead of all others, asked of more and more images as long as some are close."""
        left = [other for other in others if other != best]
        comparisons = max(1, len(self.tried | set(left)))
        n = FIRST
        scores = self.scores([best, *left], n)
        kept = _kept(scores, comparisons)
        if best not in kept:  # it is begun anew from there
            return self._open(kept[0], [best], scores)
        left = [h for h in left if h in kept]
        while True:
            scores = self.scores([best, *left], n)
            mine = scores[best]
            left = [h for h in left if h in scores and not same(mine, scores[h])]
            left = [h for h in left if not beaten(mine, scores[h], comparisons)]
            if not left or n >= len(self._trial):
                break
            n *= 4
        usual = [best, *(h for h in left if not odd(h))]
        clearly_odd = [h for h in left if odd(h) and beaten(scores[h], mine, comparisons)]
        if clearly_odd and not odd(best):  # it is begun anew from there
            return self._open(min(clearly_odd, key=lambda h: scores[h].mean), [best], scores)
        if not beaten(mine, guessing(mine, self._trial), comparisons):
            return self._open(best, usual[1:], scores)
        usual = sorted(usual, key=lambda h: _unlikeliness(h, scores[h]))
        nearest = _unlikeliness(usual[0], scores[usual[0]])
        usual = [h for h in usual if _unlikeliness(h, scores[h]) < nearest + FAR]
        weighed = {h: self._weighed(h) for h in usual[:MAX_WEIGHED]}
        taken = min(weighed, key=lambda h: weighed[h].nats + strangeness(h))

        def within(deviations: float, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
            return [h for h in hypotheses if not (h in weighed and weighed[h].above(weighed[taken], deviations))]

        def unlikely(h: Hypothesis) -> bool:
            return h in weighed and weighed[h].nats + strangeness(h) > weighed[taken].nats + strangeness(taken) + ODDS

        near = [h for h in left if h.description == taken.description and not h.normalisation.usual]  # never taken, but said
        rivals = within(CLEAR, [h for h in (*usual, *near) if h != taken])
        close = within(LIKELY, [h for h in rivals if not rare(h) and not unlikely(h)])
        return self._closed(taken, rivals, close, scores, weighed[taken].unrest)

    def _weighed(self, hypothesis: Hypothesis) -> Evidence:
        """All evidence against one network."""
        if hypothesis not in self._evidence:
            score = self.scores([hypothesis], len(self._trial))[hypothesis]
            found = self._trial.stationarity(hypothesis, score, WEIGHED)
            n = min(WEIGHED, len(self._trial))
            loss, block = score.loss[:n], block_of(n)
            left_out = np.array([n * loss[block != each].mean() for each in range(BLOCKS)])
            self._evidence[hypothesis] = Evidence(
                n * float(loss.mean()) + found.statistic, left_out + found.left_out, found.unrest
            )
        return self._evidence[hypothesis]

    def _closed(
        self,
        best: Hypothesis,
        rivals: list[Hypothesis],
        close: list[Hypothesis],
        scores: dict[Hypothesis, Score],
        unrest: float,
    ) -> Verdict:
        """The verdict for `best`, which is refused where it is hardly the network of these weights, or close rivals differ."""
        found = self._open(best, rivals, scores)
        n, answers = found.images, scores[best].logits.argmax(1)
        differing = {h: int((scores[h].logits.argmax(1) != answers).sum()) for h in rivals}
        told = found.told
        if unrest > RESTLESS:  # the network itself may not be among those that were tried
            told += "; where training in it would leave the weights, they are not"
        alike = all(differing[h] <= ALMOST_ALL * n for h in close)
        accepted = not odd(best) and unrest <= RESTLESS and alike
        return Verdict(best, found.rivals, told, found.tried, n, max(differing.values(), default=0), accepted)

    def _open(self, best: Hypothesis, rivals: list[Hypothesis], scores: dict[Hypothesis, Score]) -> Verdict:
        """What is to be said, nothing accepted."""
        rivals = sorted(rivals, key=lambda h: (not h.normalisation.usual, scores[h].mean))
        n = len(scores[best].right)
        shown = [best, *rivals][:6]
        told = "; ".join(f"{int(scores[h].right.sum()):,} in {h.description}{_fed(h, best)}" for h in shown)
        return Verdict(best, rivals, f"of {n:,} images right: {told}", len(self.tried), n)


def _unlikeliness(hypothesis: Hypothesis, score: Score) -> float:
    """What speaks against a network at first sight, in nats: its loss on all images, and that few would make it."""
    return float(score.loss.sum()) + strangeness(hypothesis)


def _kept(scores: dict[Hypothesis, Score], comparisons: int) -> list[Hypothesis]:
    """The networks that running statistics do not rule out, and those that answer better all the same; the likeliest first."""
    ranked = sorted(scores, key=lambda h: _unlikeliness(h, scores[h]))
    least = min(score.discrepancy for score in scores.values())
    out = {h for h in ranked if unlike(scores[h].discrepancy, least)}
    first = next(h for h in ranked if h not in out)
    return [h for h in ranked if h not in out or beaten(scores[h], scores[first], comparisons)]


def _fed(hypothesis: Hypothesis, best: Hypothesis) -> str:
    return "" if hypothesis.normalisation == best.normalisation else f" with normalisation {hypothesis.normalisation.name}"


def guessing(like: Score, trial: Trial) -> Score:
    """What always naming the commonest class gives."""
    labels = trial.labels(len(like.right))
    counts = np.bincount(labels)
    shares = counts / counts.sum()
    return Score(labels == counts.argmax(), -np.log(shares[labels]), np.zeros_like(like.logits))


def same(one: Score, other: Score) -> bool:
    """Whether two networks give the same logits, up to rounding and what softmax does not see."""
    return bool(np.abs(one.logits - other.logits).max() <= SAME * np.abs(one.logits).max())


def beaten(better: Score, worse: Score, comparisons: int) -> bool:
    """Whether the one is better than the other beyond chance: right more often and of lower loss, or of much lower loss."""
    level = SIGNIFICANCE / comparisons
    wins, losses = int((better.right & ~worse.right).sum()), int((worse.right & ~better.right).sum())
    if better.mean >= worse.mean or wins < losses:
        return False
    difference = worse.loss - better.loss
    error = float(difference.std()) / np.sqrt(len(difference))
    much = bool(difference.mean() > CLEAR_LOSS * error and difference.sum() > CLEAR_NATS)
    return much or mcnemar(wins, losses) < level
