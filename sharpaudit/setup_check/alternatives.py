"""Would the network do clearly better if it were shown the same images in another way?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sharpaudit.card import Check, Preprocessing
from sharpaudit.setup_check.findings import Evidence, Hits, clear, flagged, inapplicable, p_value, passed, percent
from sharpaudit.setup_check.sample import Pixels, Sample

SCREEN = 128
"""An alternative that is worse on the first so many images is given up."""

GAIN = {"normalisation": 0.1, "channel_order": 0.05, "pixels": 0.05}
"""Accuracy that an alternative must gain: more for a normalisation, since other values than a network's own may serve it well."""

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
    pixels: Pixels = lambda pixels: pixels


def tried(sample: Sample, given: Hits) -> dict[str, dict[str, Hits]]:
    """Which answers are right under every alternative worth following, by kind and name; `given`: as things are."""
    kinds = {"normalisation": normalisations, "channel_order": channel_orders, "pixels": ranges}
    if sample.pixels.shape[3] != 3:
        del kinds["channel_order"]
    return {kind: _tried(sample, given, make(sample) if _may_gain(given, kind) else []) for kind, make in kinds.items()}


def checks(found: Mapping[str, Mapping[str, Hits]], given: Hits, best: Hits) -> Iterator[Check]:
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


def ranges(sample: Sample) -> list[Alternative]:
    """Pixels not scaled to 1, or stored in another range, polarity or orientation."""
    raw = _normalised(sample.preprocessing, (0.0,), (1 / 255,))
    highest = int(sample.pixels.max())
    found = [
        Alternative("pixels 0 to 255", raw),
        Alternative("light and dark exchanged", sample.preprocessing, lambda pixels: 255 - pixels),
    ]
    if sample.pixels.shape[3] == 3:
        centred = _normalised(sample.preprocessing, KNOWN["ImageNet's"][0], (1 / 255,))
        found.append(Alternative("pixels 0 to 255, blue first, less ImageNet's mean", centred, blue_first))
    if sample.pixels.shape[1] == sample.pixels.shape[2]:
        found.append(Alternative("rows and columns exchanged", sample.preprocessing, lambda pixels: pixels.transpose(1, 2)))
    if 0 < highest < 128:

        def stretched(pixels: Tensor) -> Tensor:
            return (pixels.float() * (255 / highest)).round().to(torch.uint8)

        found.append(Alternative(f"pixels stretched from 0–{highest} to 0–255", sample.preprocessing, stretched))
    return found


def _may_gain(given: Hits, kind: str) -> bool:
    """Whether there are wrong answers enough for an alternative of that kind to be worth trying."""
    return bool(1 - given.mean() >= GAIN[kind])


def _tried(sample: Sample, given: Hits, alternatives: Sequence[Alternative]) -> dict[str, Hits]:
    """Which answers are right under each alternative that was followed to the end, by name."""
    found: dict[str, Hits] = {}
    for each in alternatives:
        answers = sample.answers(each.pixels, each.preprocessing, first=SCREEN)
        if (answers == sample.labels[:SCREEN]).sum() < given[:SCREEN].sum():
            continue
        if len(given) > SCREEN:
            answers = sample.answers(each.pixels, each.preprocessing)
        found[each.name] = answers == sample.labels
    return found


def _written(name: str, words: str, found: Mapping[str, Hits], given: Hits, best: Hits) -> Check:
    """The check of one kind of alternative; not flagged where something else, the `best`, explains clearly more."""
    accuracy, gain = float(given.mean()), GAIN[name]
    points = f"{100 * gain:.0f} points"
    evidence: Evidence = {"accuracy": accuracy, **{f"accuracy, {each}": float(hits.mean()) for each, hits in found.items()}}
    if not _may_gain(given, name):
        return passed(name, f"no other {words} could be {points} better than {percent(accuracy)}", evidence)
    better = {each: hits for each, hits in found.items() if clear(hits, given, 0)}
    if not better:
        return passed(name, f"no other {words} is clearly better", evidence)
    alternative, hits = max(better.items(), key=lambda item: int(item[1].sum()))
    evidence = {**evidence, "p_value": p_value(hits, given)}
    told = f"with another {words} ({alternative}) {percent(float(hits.mean()))} are right instead of {percent(accuracy)}"
    if not clear(hits, given, gain):
        return passed(name, f"{told}: better, but by less than {points}", evidence)
    if clear(best, hits, 0):
        return passed(name, f"{told}, and something else explains more", evidence)
    return flagged(name, told, evidence)


def _normalised(preprocessing: Preprocessing, mean: Sequence[float], std: Sequence[float]) -> Preprocessing:
    """The same preprocessing with another mean and standard deviation, spread or averaged over the network's channels."""
    channels = preprocessing.input_size[0]
    fitted = [list(values) if len(values) == channels else [float(np.mean(values))] * channels for values in (mean, std)]
    return preprocessing.model_copy(update={"mean": fitted[0], "std": fitted[1]})


def _same(a: Preprocessing, b: Preprocessing) -> bool:
    return np.allclose([a.mean, a.std], [b.mean, b.std], atol=5e-3)
