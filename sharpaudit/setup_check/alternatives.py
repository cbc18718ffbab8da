"""Would the network do clearly better if it were shown the same images in another way?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sharpaudit.card import Check, Preprocessing
from sharpaudit.setup_check.findings import Evidence, Hits, clear, flagged, inapplicable, lower, p_value, passed, percent
from sharpaudit.setup_check.sample import Answers, Pixels, Sample

SCREEN = 128
"""An alternative that is worse on the first so many images is given up."""

GAIN = {"normalisation": 0.1, "channel_order": 0.05, "pixels": 0.05}
"""Accuracy that an alternative must gain: more for a normalisation, since other values than a network's own may serve it well."""

SHARE, NATS = 0.25, 0.1
"""Of the loss at the best temperature, an alternative that costs no accuracy must save so much, and at least so many nats."""

SCALE, TOO_MUCH = 12.0, 0.5
"""Temperature from which logits are of another scale than in training, where that costs so many nats: overconfident networks need
2 to 6, inputs of 0 to 255 for 0 to 1 a hundred and more."""

DRIFT, CLOSER = 0.5, 4
"""Drift of the first BatchNorm layer's inputs that calls for another explanation, and how much smaller that must make it: for
their own normalisation 0.1 to 0.4 was measured, for another 1.5 and more."""

WORDS = {"normalisation": "normalisation", "channel_order": "channel order", "pixels": "way of storing pixels"}

KNOWN = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
    "mean 0.5, std 0.5": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
KNOWN_OF_GREY = {"MNIST's": ((0.1307,), (0.3081,))}


def blue_first(pixels: Tensor) -> Tensor:
    """The channels in reverse, as OpenCV stores them."""
    return pixels.flip(3)


@dataclass(frozen=True)
class Alternative:
    """Another way to show the same images."""

    name: str
    preprocessing: Preprocessing
    pixels: Pixels | None = None
    """What is done to the stored images; None where another preprocessing is all."""

    @property
    def flags(self) -> str | None:
        """What to add to the command line for it."""
        if self.pixels is not None:
            return None
        mean, std = (
            ",".join(f"{value:.4g}" for value in (values if len(set(values)) > 1 else values[:1]))
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return f"--mean {mean} --std {std}"


@dataclass(frozen=True, eq=False)
class Tried:
    """An alternative, and what the network answers under it."""

    alternative: Alternative
    answers: Answers


def tried(sample: Sample, given: Answers) -> dict[str, list[Tried]]:
    """Every alternative worth following, by kind; `given`: as things are."""
    kinds = {"normalisation": normalisations, "channel_order": channel_orders, "pixels": pixels}
    if sample.pixels.shape[3] != 3:
        del kinds["channel_order"]
    return {kind: _tried(sample, given, make(sample) if _may_gain(given, kind) else []) for kind, make in kinds.items()}


def checks(found: Mapping[str, Sequence[Tried]], given: Answers, best: Hits) -> Iterator[Check]:
    """The check of each kind of alternative; `best` explains most of all that was tried, whatever its kind."""
    for kind, words in WORDS.items():
        if kind in found:
            yield _written(kind, words, found[kind], given, best)
        else:
            yield inapplicable(kind, "the images have one channel")


def channel_orders(sample: Sample) -> list[Alternative]:
    """Colour images the other way round."""
    return [Alternative("blue, green, red", sample.preprocessing, blue_first)]


def normalisations(sample: Sample) -> list[Alternative]:
    """Usual means and standard deviations, and those of the sample itself."""
    channels = sample.preprocessing.input_size[0]
    values = sample.pixels[:SCREEN].float() / 255
    own = (values.mean((0, 1, 2)).tolist(), values.std((0, 1, 2)).clamp_min(1e-3).tolist())
    known = {**KNOWN, **(KNOWN_OF_GREY if channels == 1 else {}), "that of these images": own}
    found = [Alternative(name, _normalised(sample.preprocessing, mean, std)) for name, (mean, std) in known.items()]
    return [each for each in found if not _same(each.preprocessing, sample.preprocessing)]


def pixels(sample: Sample) -> list[Alternative]:
    """Pixels not scaled to 1, or stored in another range, polarity or orientation."""
    as_given = sample.preprocessing
    highest = int(sample.pixels.max())
    found = [
        Alternative("pixels 0 to 255", _normalised(as_given, (0.0,), (1 / 255,))),
        Alternative("light and dark exchanged", as_given, lambda images: 255 - images),
    ]
    if sample.pixels.shape[3] == 3:
        centred = _normalised(as_given, KNOWN["ImageNet's"][0], (1 / 255,))
        found.append(Alternative("pixels 0 to 255, blue first, less ImageNet's mean", centred, blue_first))
    if sample.pixels.shape[1] == sample.pixels.shape[2]:
        found += [Alternative(name, as_given, _turned(quarters, across=True)) for quarters, name in TRANSPOSED.items()]
        found += [Alternative(name, as_given, _turned(quarters)) for quarters, name in TURNED.items()]
    found.append(Alternative("turned by 180 degrees", as_given, lambda images: images.flip(1, 2)))
    found.append(Alternative("upside down", as_given, lambda images: images.flip(1)))
    found.append(Alternative("mirrored", as_given, lambda images: images.flip(2)))
    if 0 < highest < 128:

        def stretched(images: Tensor) -> Tensor:
            return (images.float() * (255 / highest)).round().to(torch.uint8)

        found.append(Alternative(f"pixels stretched from 0–{highest} to 0–255", as_given, stretched))
    return found


TRANSPOSED = {0: "rows and columns exchanged", 2: "rows and columns exchanged, turned by 180 degrees"}
TURNED = {1: "turned by 90 degrees to the left", -1: "turned by 90 degrees to the right"}


def _turned(quarters: int, across: bool = False) -> Pixels:
    return lambda images: (images.transpose(1, 2) if across else images).rot90(quarters, (1, 2))


def _may_gain(given: Answers, kind: str) -> bool:
    """Whether the answers leave enough to be desired for an alternative of that kind to be worth trying."""
    wrong, unsure = 1 - given.hits.mean() >= GAIN[kind], given.tempered.mean() >= NATS
    return bool(wrong or unsure or given.nll.mean() >= TOO_MUCH or _drifted(given))


def _drifted(given: Answers) -> bool:
    return given.drift is not None and given.drift >= DRIFT


def _tried(sample: Sample, given: Answers, alternatives: Sequence[Alternative]) -> list[Tried]:
    """The alternatives that were followed to the end."""
    found = []
    base = given.first(SCREEN)
    for each in alternatives:
        change = each.pixels or (lambda images: images)
        answers = sample.answers(change, each.preprocessing, first=SCREEN)
        if answers.hits.sum() < base.hits.sum() and answers.tempered.mean() >= base.tempered.mean():
            continue
        if len(given.labels) > SCREEN:
            answers = sample.answers(change, each.preprocessing)
        found.append(Tried(each, answers))
    return found


def _grounds(other: Answers, given: Answers, gain: float) -> str | None:
    """Why `other` is clearly better than what was given, in words; None where it is not.

    By accuracy; or, where it costs none, by what the probabilities tell apart, by their scale, or by the statistics that
    the first BatchNorm layer has stored.
    """
    if clear(other.hits, given.hits, gain):
        return ""
    if other.hits.mean() < given.hits.mean() - 0.01 or clear(given.hits, other.hits, 0):
        return None
    if lower(other.tempered, given.tempered, SHARE, NATS):
        return f"and the loss at its best temperature is {other.tempered.mean():.2f} instead of {given.tempered.mean():.2f} nats"
    far, near = (abs(math.log(answers.temperature)) for answers in (given, other))
    if far >= math.log(SCALE) and near <= far / 2 and other.nll.mean() <= given.nll.mean() - TOO_MUCH:
        return f"and the loss is {other.nll.mean():.2f} instead of {given.nll.mean():.2f} nats: the logits are of another scale"
    if given.drift is not None and other.drift is not None and _drifted(given) and CLOSER * other.drift <= given.drift:
        return "and the first BatchNorm layer is given what it was given in training, which it is not now"
    return None


def _written(name: str, words: str, found: Sequence[Tried], given: Answers, best: Hits) -> Check:
    """The check of one kind of alternative; not flagged where something else, the `best`, explains clearly more."""
    accuracy, gain = float(given.hits.mean()), GAIN[name]
    points = f"{100 * gain:.0f} points"
    evidence: Evidence = {
        "accuracy": accuracy,
        **{f"accuracy, {each.alternative.name}": float(each.answers.hits.mean()) for each in found},
    }
    if not _may_gain(given, name):
        return passed(name, f"no other {words} could be {points} better than {percent(accuracy)}", evidence)
    grounds = {each: why for each in found if (why := _grounds(each.answers, given, gain)) is not None}
    if not grounds:
        slightly = [each for each in found if clear(each.answers.hits, given.hits, 0)]
        if not slightly:
            return passed(name, f"no other {words} is clearly better", evidence)
        told = _told(max(slightly, key=_merit), words, accuracy)
        return passed(name, f"{told}: better, but by less than {points}", evidence)
    better = max(grounds, key=_merit)
    told = ", ".join(filter(None, [_told(better, words, accuracy), grounds[better]]))
    if clear(best, better.answers.hits, 0):
        return passed(name, f"{told}, and something else explains more", evidence)
    flags = better.alternative.flags
    advice = f"; if it was trained so, add {flags}" if flags else ""
    return flagged(name, told + advice, {**evidence, "p_value": p_value(better.answers.hits, given.hits)})


def _merit(each: Tried) -> tuple[int, float]:
    return int(each.answers.hits.sum()), -float(each.answers.tempered.mean())


def _told(each: Tried, words: str, accuracy: float) -> str:
    right = percent(float(each.answers.hits.mean()))
    return f"with another {words} ({each.alternative.name}) {right} are right instead of {percent(accuracy)}"


def _normalised(preprocessing: Preprocessing, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """The same preprocessing with another mean and standard deviation, spread or averaged over the network's channels."""
    channels = preprocessing.input_size[0]
    fitted = [list(values) if len(values) == channels else [float(np.mean(values))] * channels for values in (mean, std)]
    return preprocessing.model_copy(update={"mean": fitted[0], "std": fitted[1]})


def _same(a: Preprocessing, b: Preprocessing) -> bool:
    return np.allclose([a.mean, a.std], [b.mean, b.std], atol=5e-3)
