"""What do a cheap sensor, too little light and a faulty line do to an image?

All four act on each value alone. Results are cut to whole grey levels as the published sets are (towards zero, not rounded).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from sharpaudit.corruptions.filters import to_bytes
from sharpaudit.corruptions.randomness import LEVELS, Stream, look_up
from sharpaudit.transfer import sent


def gaussian_noise(images: Tensor, stream: Stream, deviation: float) -> Tensor:
    """Adds normal noise of the same deviation (of full scale) everywhere."""
    return to_bytes(stream.normal(images.shape[1:]).mul_(255 * deviation).add_(images))


def speckle_noise(images: Tensor, stream: Stream, deviation: float) -> Tensor:
    """Adds normal noise whose deviation is `deviation` times the value."""
    return to_bytes(stream.normal(images.shape[1:]).mul_(deviation).mul_(images).add_(images))


def shot_noise(images: Tensor, stream: Stream, photons: float) -> Tensor:
    """Counts photons: a Poisson number whose mean is the value, `photons` at full scale."""
    drawn = stream.bits(images.shape[1:])
    drawn += images.to(torch.int32) << 16
    return look_up(_photographs(photons, images.device), drawn)


def impulse_noise(images: Tensor, stream: Stream, amount: float) -> Tensor:
    """Replaces a share `amount` of the values by black or white, with equal chance."""
    drawn = stream.bits(images.shape[1:])
    struck = round(amount * LEVELS)
    return images.masked_fill(drawn < struck, 0).masked_fill_(drawn < struck // 2, 255)


@lru_cache(maxsize=1)
def _photographs(photons: float, device: torch.device) -> Tensor:
    """uint8 (256 · 65,536,): the noisy value for every clean value and every uniform integer, by inversion of the Poisson law."""
    rows = []
    for value in range(256):
        mean = value / 255 * photons
        counts = np.arange(int(mean + 12 * np.sqrt(mean) + 12))
        ends = np.append(np.rint(stats.poisson.cdf(counts[:-1], mean) * LEVELS), LEVELS).astype(np.int64)
        seen = np.minimum(counts / photons, 1) * 255 + 1 / 1024
        rows.append(np.repeat(seen.astype(np.uint8), np.diff(ends, prepend=0)))
    return sent(torch.from_numpy(np.concatenate(rows)), device)
