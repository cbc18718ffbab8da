"""Did BatchNorm see in training what it sees in this network?

BatchNorm keeps the mean and variance of what arrived in each channel. Only in the network of the training does the same arrive
again: with another padding, stride, activation, pooling, order or normalisation of the images it is something else, mostly by
far. Images of a test set and of other moments of the training differ too, and statistics may be stale: so networks are compared,
and nothing is said where none of them comes near.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Moments = Tensor
"""Of what arrives, normalised by the running statistics: sums, sums of squares, counts, and sums of epsilon, (4, channels)."""

REPRODUCED = 5e-3
"""Discrepancy up to which statistics are those of the training: means off by a fifth of a standard deviation, or variances by a
quarter. Networks trained with a falling learning rate had 1e-6 to 1e-4, with a constant one and batches of 16 up to 6e-3, and
with another padding or activation mostly more than 1e-2."""
APART = 10.0
"""How many times that of another network a discrepancy must be, to tell against a network."""
CHANCE = 1e-4
"""What drawing the images, and the last batches of a training, may cause by themselves."""


def moments(norm: nn.BatchNorm1d | nn.BatchNorm2d, before: Tensor) -> Moments:
    """What arrives at a BatchNorm with some images."""
    assert norm.running_mean is not None and norm.running_var is not None
    shape = (1, -1, *[1] * (before.dim() - 2))
    variance = norm.running_var + norm.eps
    normalised = (before - norm.running_mean.view(shape)) / variance.sqrt().view(shape)
    others = [axis for axis in range(before.dim()) if axis != 1]
    count = torch.full_like(variance, normalised.numel() / len(variance))
    return torch.stack([normalised.sum(others), normalised.square().sum(others), count, count * norm.eps / variance]).double()


def discrepancy(arrived: Sequence[Moments]) -> float:
    """How far from its running statistics what arrives at every BatchNorm is, from 0 to 1.

    The squared Hellinger distance of two normal distributions, the mean over all channels. A mean off by d standard deviations
    makes it d²/8, a variance off by a factor exp(r) makes it r²/16. 0 without BatchNorm.
    """
    found = []
    for sums, squares, count, epsilon in arrived:
        mean = sums / count
        variance = ((squares + epsilon) / count - mean**2).clamp_min(torch.finfo(torch.float64).tiny)
        overlap = (2 * variance.sqrt() / (1 + variance)).sqrt() * torch.exp(-(mean**2) / (4 * (1 + variance)))
        found.append(1 - overlap)
    return float(torch.cat(found).mean()) if found else 0.0


def unlike(mine: float, other: float) -> bool:
    """Whether one network gives the statistics of the training by far less well than another, which does give them."""
    return other <= REPRODUCED and mine > APART * max(other, CHANCE)
