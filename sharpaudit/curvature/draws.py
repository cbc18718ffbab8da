"""Which random vectors does an estimator see? A function of the seed and the draw's number alone.

They depend neither on the checkpoint nor on batch size, floating type or device, so estimates for two checkpoints are paired.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, draw: int) -> torch.Generator:
    """A fresh CPU generator for draw number `draw` of the stream `seed`."""
    (state,) = np.random.SeedSequence([seed, draw]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state) >> 1)


def gaussian(size: int, seed: int, draw: int) -> Tensor:
    """A standard normal vector, float32."""
    return torch.randn(size, generator=generator(seed, draw))


def uniform(size: int, seed: int, draw: int) -> Tensor:
    """A vector of independent entries uniform on [−1, 1), float32."""
    return torch.rand(size, generator=generator(seed, draw)).mul_(2).sub_(1)


def rademacher(size: int, seed: int, draw: int) -> Tensor:
    """A vector of independent random signs, float32."""
    return torch.randint(0, 2, (size,), generator=generator(seed, draw), dtype=torch.int8).float().mul_(2).sub_(1)


def permutation(size: int, seed: int, draw: int) -> Tensor:
    """A random order of `size` things."""
    return torch.randperm(size, generator=generator(seed, draw))
