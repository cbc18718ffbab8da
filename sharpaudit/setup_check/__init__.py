"""Is the network fed what it was trained on, and are the labels the ones it learned? Asked of a small sample, before any probe.

A wrong set-up gives a perfectly plausible card of another model. So the same images go through the network again as it might
have wanted them, and what is clearly better than the given set-up is flagged, with the numbers; nothing is ever changed. An
alternative is tried only where it could be that much better: of a network that is surely right on all of the sample, none is.

- `sample`: the images, and the network's answers to them
- `network`: layers that were never trained, BatchNorm that never saw data, logits that are no fixed function of one image
- `answers`: constant predictions, guessing, permuted labels, labels of which a part slipped
- `alternatives`: another normalisation, channel order, pixel range or orientation
- `loading`: what the loader took for granted
- `findings`: when a difference is clear, and how a check is written down
"""

from __future__ import annotations

import numpy as np
import torch

from sharpaudit.card import Preprocessing, SetupCheck
from sharpaudit.checkpoints import Predictor
from sharpaudit.data import ImageSet
from sharpaudit.setup_check import alternatives, answers, network
from sharpaudit.setup_check.loading import taken_for_granted
from sharpaudit.setup_check.sample import draw, size

__all__ = ["check_setup", "least_forward", "taken_for_granted"]


def check_setup(
    predictor: Predictor, preprocessing: Preprocessing, images: ImageSet, *, device: str = "cpu", seed: int = 0
) -> SetupCheck:
    """What the sample says about the set-up.

    Args:
        predictor: a network is on `device`; it is left as it was, and so is torch's random generator.
        preprocessing: as it was decided.
        images: the test images.
        device: where the sample goes.
        seed: of the audit; decides which images are looked at.
    """
    sample = draw(predictor, preprocessing, images, device=device, seed=seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        seen = sample.answers()
        given = seen.hits
        relabelled = answers.relabelled(seen.predicted, sample.labels, len(sample.classes))
        slip = answers.slipped(seen, sample.beside, len(sample.classes))
        found = alternatives.tried(sample, seen)
        renewed = network.renewed(sample, given)
        fresh = network.fresh_layers(predictor)
        others = [each.answers.hits for kind in found.values() for each in kind]
        best = max([given, relabelled.hits, renewed, *others], key=np.sum)
        checks = [
            answers.labels(given, relabelled, best, sample.classes, slip),
            answers.constant(seen.predicted, sample.labels, sample.classes),
            answers.guessing(seen.predicted, sample.labels),
            *alternatives.checks(found, seen, best),
            network.weights(predictor, fresh, given),
            network.statistics(predictor, given, renewed, best, fresh),
            network.repeatability(sample),
        ]
    return SetupCheck(n=len(sample.labels), forward=sample.forward, checks=checks)


def least_forward(images: ImageSet) -> int:
    """Images that the check sends through the network at least; the more answers are wrong, the more alternatives are tried."""
    return size(images) + 4 * min(network.PASSED_TWICE, size(images))
