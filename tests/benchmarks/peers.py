"""What do the public libraries offer for the same job? Each as it comes, or the reason why it is not here.

curvlinops is a development dependency. PyHessian and hessian-eigenthings are not; `nox -s bench` installs them.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.cases import Case

Product = Callable[[Tensor], object]


@dataclass(frozen=True)
class Peer:
    """One library on one network and its images."""

    name: str
    product: Product
    """A flat vector ↦ its Hessian product, by the library's own routine."""
    workload: Callable[[], dict[str, float]] | None = None
    """λ_max to 1e-3, the trace from 99 products, a density of 10 starts and 32 steps; returns the first two."""


def peers(c: Case, *, shards: int = 1) -> Iterator[Peer]:
    """The libraries that are installed, on `c` in one batch; those that are missing are named."""
    for name, build in (("curvlinops", _curvlinops), ("hessian_eigenthings", _eigenthings), ("pyhessian", _pyhessian)):
        try:
            library: Any = importlib.import_module(name)
        except ImportError:
            print(f"left out: {name} is not installed")
            continue
        yield from build(library, c)


def _curvlinops(library: Any, c: Case) -> Iterator[Peer]:
    from scipy.sparse.linalg import eigsh

    operator = library.HessianLinearOperator(c.module, nn.CrossEntropyLoss(), list(c.module.parameters()), [(c.inputs, c.labels)])

    def workload() -> dict[str, float]:
        (top,) = eigsh(operator.to_scipy(), k=1, which="LA", tol=1e-3, return_eigenvectors=False)
        trace = library.hutchpp_trace(operator, 99)
        library.lanczos_approximate_spectrum(operator, 32, num_repeats=10, boundaries=(-float(top), float(top)))
        return {"lambda_max": float(top), "trace": float(trace)}

    yield Peer("curvlinops", lambda v: operator @ v, workload)


def _eigenthings(library: Any, c: Case) -> Iterator[Peer]:
    loss = library.supervised_loss(nn.CrossEntropyLoss())
    operator = library.HessianOperator(c.module, [(c.inputs, c.labels)], loss)

    def workload() -> dict[str, float]:
        top = library.lanczos(operator, k=1, max_iter=40, tol=1e-3, seed=0)
        trace = library.trace(operator, num_matvecs=99, seed=0)
        library.spectral_density(operator, num_runs=10, lanczos_steps=32, seed=0)
        return {"lambda_max": float(top.eigenvalues[0]), "trace": float(getattr(trace, "estimate", getattr(trace, "trace", 0.0)))}

    yield Peer("hessian-eigenthings", operator.matvec, workload)


def _pyhessian(library: Any, c: Case) -> Iterator[Peer]:
    sizes = [p.numel() for p in c.module.parameters()]

    def pieces(v: Tensor) -> list[Tensor]:
        return [piece.view_as(p) for piece, p in zip(torch.split(v, sizes), c.module.parameters(), strict=True)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls backward(create_graph=True), which torch warns of
        loader = library.hessian(c.module, nn.CrossEntropyLoss(), dataloader=[(c.inputs, c.labels)], cuda=c.inputs.is_cuda)
        yield Peer("PyHessian, loader", lambda v: loader.dataloader_hv_product(pieces(v)))
        single = library.hessian(c.module, nn.CrossEntropyLoss(), data=(c.inputs, c.labels), cuda=c.inputs.is_cuda)
    product = importlib.import_module("pyhessian.utils").hessian_vector_product

    def workload() -> dict[str, float]:
        values, _ = single.eigenvalues(maxIter=100, tol=1e-3)
        estimates = single.trace(maxIter=99, tol=0.0)
        for _ in range(10):  # its density() calls a function that torch no longer has: as many products, without its algebra
            for _ in range(32):
                product(single.gradsH, single.params, single.params)
        return {"lambda_max": float(values[0]), "trace": float(sum(estimates) / len(estimates))}

    yield Peer("PyHessian, single batch", lambda v: product(single.gradsH, single.params, pieces(v)), workload)
