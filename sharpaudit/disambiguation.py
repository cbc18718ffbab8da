"""Several networks fit the weights and compute different functions: in which of them were the weights trained?

Only in that one do they do well, so labelled images tell, if they tell clearly. The rule is `clearly_best`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray

from sharpaudit.checkpoints import Decide, Decision, LoadedModel
from sharpaudit.data import ImageSet, to_input
from sharpaudit.stats.paired import mcnemar

SIGNIFICANCE = 1e-3
SAMPLES = (64, 512)
"""Images that are shown to each network: a few, and more where those leave it open."""


def by_clean_loss(images: Callable[[LoadedModel], ImageSet], seed: int = 0) -> Decide:
    """A judge for `checkpoints.load`: it shows a random sample of labelled images to each network.

    Args:
        images: opens the labelled images as a network is to see them.
        seed: of the sample, which is the same for all networks.
    """

    def decide(models: Sequence[LoadedModel]) -> Decision:
        names = [model.subject.architecture for model in models]
        for size in SAMPLES:
            answers = [_answers(model, _sample(images(model), size, seed)) for model in models]
            found = clearly_best(names, [right for right, _ in answers], [nll for _, nll in answers], looks=len(SAMPLES))
            if found.index is not None:
                break
        return found

    return decide


def clearly_best(names: Sequence[str], correct: ArrayLike, nll: ArrayLike, *, looks: int = 1) -> Decision:
    """The model that is right most often, if against every other one that is beyond chance and its loss is lower as well.

    Beyond chance is an exact McNemar test at 0.001, shared between all comparisons of all looks (Bonferroni). An answer that is
    not finite is wrong.

    Args:
        names: what to call the models.
        correct: whether each example was answered rightly, (models, n).
        nll: negative log-likelihood of each label, (models, n).
        looks: how often the question is put, on more and more examples.
    """
    losses = np.asarray(nll, np.float64)
    finite = np.isfinite(losses)
    right = np.asarray(correct, bool) & finite
    share, loss = right.mean(1), np.where(finite, losses, np.inf).mean(1)
    best, *others = (int(model) for model in np.lexsort((loss, -share)))

    def beaten(other: int) -> bool:
        wins, losses = int((right[best] & ~right[other]).sum()), int((right[other] & ~right[best]).sum())
        return mcnemar(wins, losses) < SIGNIFICANCE / (len(others) * looks) and bool(loss[best] < loss[other])

    shown = ", ".join(f"{share[model]:.1%} in {names[model]}" for model in (best, *others))
    return Decision(best if all(map(beaten, others)) else None, f"of {right.shape[1]} images right: {shown}")


def _sample(images: ImageSet, size: int, seed: int) -> ImageSet:
    """The first `size` of a random order, which is the same for all networks."""
    return images.take(np.random.default_rng(seed).permutation(len(images))[:size])


@torch.inference_mode()
def _answers(model: LoadedModel, images: ImageSet) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each example is answered rightly, and the negative log-likelihood of its label."""
    correct, nll = [], []
    for pixels, labels in images.batches(64):
        logits = model.predictor(to_input(torch.tensor(pixels), model.subject.preprocessing)).double()
        wanted = torch.tensor(labels, dtype=torch.int64)
        correct.append((logits.argmax(1) == wanted).numpy())
        nll.append(F.cross_entropy(logits, wanted, reduction="none").numpy())
    return np.concatenate(correct), np.concatenate(nll)
