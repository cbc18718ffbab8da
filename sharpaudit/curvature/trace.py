r"""What is the trace of a symmetric operator that is known only by its products with vectors?

Hutchinson (1989): E[vᵀAv] = tr A for a vector v of independent random signs, with variance 2 Σ_{i≠j} A_ij². Where a few
eigenvalues carry most of the trace, most of the variance is theirs. With any fixed orthonormal V,

    tr A = tr(VᵀAV) + E[wᵀAw],   w = (I − VVᵀ)v,

and only the rest is sampled. Hutch++ (Meyer et al. 2021) spends products on finding V; the Krylov space of an eigenvalue run has
already done so, and knows tr(VᵀAV) as the trace of its tridiagonal matrix.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from sharpaudit.curvature.draws import rademacher
from sharpaudit.curvature.lanczos import Krylov, Product
from sharpaudit.curvature.records import Sampled


def hutchinson(
    product: Product,
    size: int,
    *,
    draws: int,
    seed: int,
    known: Krylov | None = None,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Sampled:
    """The trace as the mean of `draws` quadratic forms, with its standard error; exact on the space `known`, if given.

    The number of draws is fixed in advance: stopping when the running mean seems settled stops early by luck (PyHessian's rule:
    error above 25 % in one run of ten). `known` must come from another seed or stream, or the draws are not independent of it.
    """
    exact = sum(known.alpha) if known else 0.0
    samples = []
    for draw in range(draws):
        v = rademacher(size, seed, draw).to(device)
        v = known.outside(v.to(known.dtype)) if known else v
        samples.append(exact + torch.dot(v.double(), product(v).double()).item())
        on_progress((draw + 1) / draws)
    return Sampled.of(samples)
