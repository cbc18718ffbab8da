r"""What is the trace of a symmetric operator that is known only by its products with vectors?

Hutchinson (1989): E[vᵀAv] = tr A for a vector v of independent random signs, with variance 2 Σ_{i≠j} A_ij².
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from sharpaudit.curvature.draws import rademacher
from sharpaudit.curvature.lanczos import Product
from sharpaudit.curvature.records import Sampled


def hutchinson(
    product: Product,
    size: int,
    *,
    draws: int,
    seed: int,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Sampled:
    """The trace as the mean of `draws` quadratic forms, with its standard error.

    The number of draws is fixed in advance: stopping when the running mean seems settled stops early by luck (PyHessian's rule:
    error above 25 % in one run of ten).
    """
    samples = []
    for draw in range(draws):
        v = rademacher(size, seed, draw).to(device)
        samples.append(torch.dot(v.double(), product(v).double()).item())
        on_progress((draw + 1) / draws)
    return Sampled.of(samples)
