"""Do the answers look like those of a network that knows these labels? Only predictions and labels are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sharpaudit.card import Check
from sharpaudit.errors import clean
from sharpaudit.setup_check.findings import LEVEL, Evidence, Hits, clear, flagged, inapplicable, p_value, passed, percent
from sharpaudit.setup_check.sample import Answers
from sharpaudit.stats import clopper_pearson

Classes = NDArray[np.int64]

CONSTANT = 0.95
"""Share of one class among the predictions from which they are called constant."""

MOST_GUESSABLE = 0.6
"""Where guessing is right more often than this, a sample cannot tell guessing from knowing."""

CLOSE = 0.1
"""Accuracy that is surely less than this above guessing is close to it."""

GAIN = 0.1
"""Accuracy that permuted labels must cost."""

MOST_CHANCE = 15
"""Wrong answers that may agree with one slip by chance."""

TIMES = 3
"""With many classes and few images of each an order is learned only in part: this many times the right answers are enough too."""

NAMED = 4
"""Classes of a permutation that a message names."""

EXPLAINED, ASSIGNED = 0.3, 0.5
"""Share of the wrong answers that a usual slip of the labels must make right, or one made up for them, which always explains
some: of the errors of right set-ups 0.1 and 0.3 to 0.45."""

ASSIGNMENT = "some classes for others"

AS_SURE = 0.4
"""Chance that such an answer is surer than a right one: a half where the network knows better than its label, to 0.33 where it
errs."""


def constant(predicted: Classes, labels: Classes, classes: Sequence[str]) -> Check:
    """Whether the network answers one class whatever it is shown."""
    if len(np.unique(labels)) < 2:
        return inapplicable("predictions", "the sample holds a single class")
    from scipy.stats import binomtest

    common = int(np.bincount(predicted).argmax())
    count, share = int((predicted == common).sum()), float((labels == common).mean())
    evidence: Evidence = {"class": clean(classes[common]), "predicted_share": count / len(labels), "label_share": share}
    if count >= CONSTANT * len(labels) and binomtest(count, len(labels), share, "greater").pvalue < LEVEL:
        return flagged(
            "predictions",
            f"'{clean(classes[common])}' is predicted for {percent(count / len(labels))} of the images and is the label of "
            f"{percent(share)}: the network hardly reacts to its input",
            evidence,
        )
    return passed(
        "predictions", f"no class takes all predictions; the most common takes {percent(count / len(labels))}", evidence
    )


def guessing(predicted: Classes, labels: Classes) -> Check:
    """Whether the accuracy is what the same predictions, dealt out at random, would have."""
    from scipy.stats import binomtest

    num_classes = int(max(predicted.max(), labels.max())) + 1
    shares = [np.bincount(answers, minlength=num_classes) / len(labels) for answers in (predicted, labels)]
    chance, hits = float(shares[0] @ shares[1]), int((predicted == labels).sum())
    highest = clopper_pearson(hits, len(labels)).high
    evidence = {"accuracy": hits / len(labels), "guessing": chance, "accuracy_at_most": highest}
    if len(np.unique(labels)) < 2 or chance > MOST_GUESSABLE:
        return inapplicable("guessing", "one class makes up most of the sample")
    by_chance = binomtest(hits, len(labels), chance, "greater").pvalue >= 0.05
    if highest <= chance + CLOSE and (by_chance or highest <= TIMES * chance):
        return flagged(
            "guessing",
            f"right on {percent(hits / len(labels))} of the sample, hardly more than by guessing ({percent(chance)}): untrained "
            "weights, other labels, or images it was not trained on",
            evidence,
        )
    if by_chance:
        return inapplicable("guessing", f"{len(labels)} images are too few to tell the answers from guesses")
    return passed("guessing", f"right on {percent(hits / len(labels))}, by guessing {percent(chance)}", evidence)


@dataclass(frozen=True)
class Relabelled:
    """The answers read in the best other order of the labels."""

    name: str
    order: Classes
    """The label that each output stands for."""
    hits: Hits


def relabelled(predicted: Classes, labels: Classes, num_classes: int) -> Relabelled:
    """Under which other order of the labels are most answers right?

    One of the usual accidents, or the best one-to-one assignment of outputs to labels (Kuhn 1955); whether an answer is right by
    that is judged by the assignment learned on the other half of the sample, so it owes nothing to having been chosen.
    """
    found = [Relabelled(name, order, order[predicted] == labels) for name, order in _accidents(num_classes).items()]
    crossed = _crossed(predicted, labels, num_classes)
    found.append(Relabelled("best assignment", assignment(predicted, labels, num_classes), crossed))
    return max(found, key=lambda each: int(each.hits.sum()))


@dataclass(frozen=True)
class Slip:
    """What would make many of the wrong answers right, while the right ones stay as they are: part of the labels is wrong."""

    name: str
    explained: Hits
    """The wrong answers that are right by it."""
    as_sure: float
    """Chance that one of them is surer than a right answer."""


def slipped(given: Answers, beside: tuple[Classes, Classes], num_classes: int) -> Slip | None:
    """The slip that explains most of the wrong answers, where it is clear: some labels one too high, some one row too late, …

    A network that errs is less sure of it; one that is marked wrong is as sure as ever. That tells the two apart also where a
    natural confusion, as of neighbouring ages, goes the same way.
    """
    wrong = ~given.hits
    if num_classes < 3 or wrong.mean() < GAIN or wrong.sum() < MOST_CHANCE or given.hits.sum() < MOST_CHANCE:
        return None
    predicted, labels = given.predicted, given.labels
    found = {name: order[predicted] == labels for name, order in _accidents(num_classes).items()}
    found |= {"labels one row too early": predicted == beside[0], "labels one row too late": predicted == beside[1]}
    found[ASSIGNMENT] = np.zeros(len(labels), dtype=bool)
    found[ASSIGNMENT][wrong] = _crossed(predicted[wrong], labels[wrong], num_classes)
    needed = dict.fromkeys(found, EXPLAINED) | {ASSIGNMENT: ASSIGNED}
    name, hits = max(found.items(), key=lambda item: int((item[1] & wrong).sum()) / needed[item[0]])
    explained = hits & wrong
    if explained.sum() < max(MOST_CHANCE, needed[name] * wrong.sum()):
        return None
    sure, right = given.confidence[explained][:, None], given.confidence[given.hits]
    as_sure = float((sure > right).mean() + (sure == right).mean() / 2)
    return Slip(name, explained, as_sure) if as_sure >= AS_SURE else None


def labels(given: Hits, other: Relabelled, best: Hits, classes: Sequence[str], slip: Slip | None = None) -> Check:
    """Whether the labels are those of the network's outputs in another order, or some of them are, and the `best` other
    explanation is no better.
    """
    if slip is not None and not clear(other.hits, given, GAIN) and not clear(best, given | slip.explained, 0):
        count, wrong = int(slip.explained.sum()), int((~given).sum())
        return flagged(
            "labels",
            f"part of the labels looks wrong ({slip.name}): so read, {count} of the {wrong} wrong answers are right, and "
            "the network is as sure of them as of its other answers",
            {"accuracy": float(given.mean()), "slip": slip.name, "explained": count / wrong, "as_sure": slip.as_sure},
        )
    accuracy, mapped = float(given.mean()), float(other.hits.mean())
    evidence: Evidence = {"accuracy": accuracy, "order": other.name, "accuracy_in_that_order": mapped}
    if not (clear(other.hits, given, GAIN) or (mapped >= TIMES * accuracy and clear(other.hits, given, 0))):
        return passed("labels", "no other order of the labels is clearly better", evidence)
    if clear(best, other.hits, 0):
        return passed("labels", "images shown in another way explain more than another order of the labels", evidence)
    changed = [label for label, output in enumerate(other.order.tolist()) if label != output]
    meanings = [f"'{clean(classes[i], 20)}' means '{clean(classes[other.order[i]], 20)}'" for i in changed[:NAMED]]
    shown = ", ".join(meanings) + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else "")
    suspicion = "the labels look permuted" + ("" if mapped >= 0.5 else " or of other classes")
    return flagged(
        "labels",
        f"{suspicion} ({other.name}): output {shown}; so read, {percent(mapped)} are right instead of {percent(accuracy)}",
        {**evidence, "p_value": p_value(other.hits, given), "label_of_output": other.order.tolist()},
    )


def assignment(predicted: Classes, labels: Classes, num_classes: int) -> Classes:
    """The label that each output stands for so that most answers are right; itself where nothing speaks against it."""
    from scipy.optimize import linear_sum_assignment

    counts = np.bincount(predicted * num_classes + labels, minlength=num_classes**2).reshape(num_classes, num_classes)
    order: Classes = linear_sum_assignment(counts + 0.51 * np.eye(num_classes), maximize=True)[1]
    return order


def _crossed(predicted: Classes, labels: Classes, num_classes: int) -> NDArray[np.bool_]:
    """Which answers are right by the assignment that the other half of the sample asks for."""
    hits = np.zeros(len(labels), dtype=bool)
    for half in (np.arange(len(labels)) % 2 == 0, np.arange(len(labels)) % 2 == 1):
        hits[half] = assignment(predicted[~half], labels[~half], num_classes)[predicted[half]] == labels[half]
    return hits


def _accidents(num_classes: int) -> dict[str, Classes]:
    """Orders that labels end up in by mistake: the label of each output."""
    numbers = np.arange(num_classes)
    as_text = np.array(sorted(numbers, key=str))
    found = {
        "labels one too high": (numbers + 1) % num_classes,
        "labels one too low": (numbers - 1) % num_classes,
        "folders sorted as numbers, outputs as text": as_text,
        "folders sorted as text, outputs as numbers": np.argsort(as_text),
    }
    return {name: order for name, order in found.items() if (order != numbers).any()}
