"""What are the extreme eigenvalues of a symmetric operator that is known only by its products with vectors?

Lanczos' method (Golub & Van Loan, ch. 10): after m products the operator is represented on the Krylov space of a random start by
an m × m tridiagonal matrix T, whose extreme eigenvalues (Ritz values) approach the operator's from inside. Every new vector is
made orthogonal to all earlier ones, twice (Giraud et al. 2005); without that, rounding lets copies of converged
eigenvalues appear: 15 of λ_max within 60 steps on a ResNet-20.

One start cannot see that an eigenvalue occurs twice until the space is exhausted, and can miss one to which it happens to be
nearly orthogonal; residuals tell of neither. Further starts in the complement of what was found (`spectrum`) can, and check it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from sharpaudit.curvature.draws import gaussian
from sharpaudit.curvature.estimates import Eigenvalue
from sharpaudit.transfer import sent

Product = Callable[[Tensor], Tensor]
"""v ↦ Av for a symmetric A."""

TOLERANCE = 1e-3
"""Relative residual at which an eigenvalue counts as converged. Its error is then at most that, and typically the square."""

ZERO = 1e-3
"""Eigenvalues below this share of the largest are judged as if they were that large: near 0 a relative error means nothing."""

BASIS_BYTES = 1 << 32
"""Bound on the vectors that one run keeps to make the next one orthogonal to: 100 steps with 11 million float32 parameters."""


def affordable(steps: int, size: int, dtype: torch.dtype) -> int:
    """At most so many `steps` that their vectors keep to `BASIS_BYTES`, but at least two."""
    return min(steps, max(2, BASIS_BYTES // (size * dtype.itemsize)))


def shortfall(asked: int, allowed: int) -> str:
    """What to say of a run that was allowed fewer steps than were asked for; nothing where it was not."""
    return f"; {allowed} of {asked} steps, whose vectors fill {BASIS_BYTES / 2**30:.2g} GiB" if allowed < asked else ""


@dataclass(frozen=True)
class Outliers:
    """Some eigenpairs, as far as they are known."""

    values: NDArray[np.float64]
    """Ascending (k,)."""
    vectors: Tensor
    """Orthonormal rows (k, P)."""


@dataclass
class Krylov:
    """The tridiagonal form of `product` on a growing Krylov space.

    Where the space is exhausted (an invariant subspace was found) it goes on with a fresh random vector orthogonal to all
    before, so that multiple eigenvalues are found as often as they occur.
    """

    product: Product
    size: int
    seed: int
    dtype: torch.dtype
    device: torch.device | str = "cpu"
    stream: int = 0
    """Different streams of one seed start from independent vectors."""
    start: Tensor | None = None
    """The first vector, of any length; None draws a random one."""
    known: Outliers | None = None
    """What to leave out: the operator is then that of the complement of these eigenvectors."""
    alpha: list[float] = field(default_factory=list)
    """Diagonal of T."""
    beta: list[float] = field(default_factory=list)
    """beta[j] couples basis vector j to j + 1; the last one leads out of the space."""

    def __post_init__(self) -> None:
        self._rows = 0
        self._basis = torch.empty(0, self.size, dtype=self.dtype, device=self.device)
        self._next = self._fresh() if self.start is None else _unit(self.outside(sent(self.start, self._basis)))

    @property
    def dimension(self) -> int:
        """The most steps there are; after them every Ritz value is an eigenvalue, and all are there."""
        return self.size - (len(self.known.values) if self.known else 0)

    @property
    def complete(self) -> bool:
        """Whether the space is everything."""
        return len(self.alpha) == self.dimension

    def step(self) -> None:
        """Spend one product."""
        j = len(self.alpha)
        self._basis = _with_room(self._basis, j)
        self._basis[j] = self._next
        self._rows = j + 1
        w = self.product(self._next)
        inner = torch.dot(w.double(), self._next.double())
        w = self.outside(w)
        alpha, norm = torch.stack([inner, w.double().norm()]).tolist()
        self.alpha.append(alpha)
        scale = max(map(abs, self.alpha + self.beta))
        if norm > 10 * torch.finfo(self.dtype).eps * scale and not self.complete:
            self.beta.append(norm)
            self._next = w / norm
        else:
            self.beta.append(0.0)
            self._next = w if self.complete else self._fresh()

    def ritz(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvalues of T, ascending, and its eigenvectors in columns."""
        values, vectors = eigh_tridiagonal(np.array(self.alpha), np.array(self.beta[:-1]))
        return np.asarray(values, np.float64), np.asarray(vectors, np.float64)

    def extremes(self, top: int, bottom: int, tolerance: float) -> Extremes:
        """The Ritz values at both ends, as many as there are, with their residuals."""
        values, vectors = self.ritz()
        spent = len(values)
        return Extremes(
            tuple(self._eigenvalue(values, vectors, i, tolerance) for i in range(-1, -1 - min(top, spent), -1)),
            tuple(self._eigenvalue(values, vectors, i, tolerance) for i in range(min(bottom, spent))),
        )

    def leading(self, most: int) -> Outliers:
        """The Ritz pairs of the largest Ritz values, up to `most`, converged or not."""
        values, vectors = self.ritz()
        return self._pairs(values[-most:], vectors[:, -most:])

    def grow(
        self,
        top: int,
        bottom: int,
        tolerance: float,
        max_iterations: int,
        on_progress: Callable[[float], None] = lambda fraction: None,
    ) -> Extremes:
        """Take steps until `top` and `bottom` eigenvalues have converged, or there are `max_iterations`; what has not says so."""
        limit = min(max_iterations, self.dimension)
        while True:
            self.step()
            spent = len(self.alpha)
            on_progress(spent / limit)
            if spent < min(max(top, bottom, 2), limit):
                continue
            ends = self.extremes(top, bottom, tolerance)
            if spent == limit or all(e.converged for e in ends.top + ends.bottom):
                return ends

    def outliers(self, tolerance: float) -> Outliers:
        """All Ritz pairs whose residual is at most `tolerance`, as `extremes` measures it."""
        values, vectors = self.ritz()
        chosen = [i for i in range(len(values)) if self._eigenvalue(values, vectors, i, tolerance).converged]
        return self._pairs(values[chosen], vectors[:, chosen])

    def _pairs(self, values: NDArray[np.float64], vectors: NDArray[np.float64]) -> Outliers:
        basis = self._basis[: len(self.alpha)]
        return Outliers(values, sent(torch.from_numpy(vectors.T.copy()), basis) @ basis)

    def _eigenvalue(self, values: NDArray[np.float64], vectors: NDArray[np.float64], i: int, tolerance: float) -> Eigenvalue:
        """Ritz pair number `i` with its residual β_m·|s_mi| (Golub & Van Loan, theorem 10.1.2)."""
        scale = np.abs(values).max()
        residual = self.beta[-1] * abs(vectors[-1, i])
        size = max(abs(values[i]), ZERO * scale)
        relative = float(residual / size) if size else 0.0
        return Eigenvalue(float(values[i]), relative, len(self.alpha), relative <= tolerance)

    def _fresh(self) -> Tensor:
        draw = self.stream * self.size + len(self.alpha)
        return _unit(self.outside(sent(gaussian(self.size, self.seed, draw), self._basis)))

    def outside(self, w: Tensor) -> Tensor:
        """The part of `w` that is orthogonal to the space, and to what is left out."""
        bases = [self._basis[: self._rows], *([self.known.vectors] if self.known else [])]
        for _ in range(2):
            for basis in bases:
                w = w - basis.T @ (basis @ w)
        return w


@dataclass(frozen=True)
class Extremes:
    """Both ends of a spectrum."""

    top: tuple[Eigenvalue, ...]
    """The algebraically largest, descending."""
    bottom: tuple[Eigenvalue, ...]
    """The algebraically smallest, ascending."""


def extreme_eigenvalues(
    product: Product,
    size: int,
    *,
    seed: int,
    top: int = 1,
    bottom: int = 0,
    tolerance: float = TOLERANCE,
    max_iterations: int = 100,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Extremes:
    """The largest `top` and smallest `bottom` eigenvalues of a symmetric operator of order `size`.

    Stops when all of them have converged, or after `max_iterations` products; what has not converged says so. Power iteration
    would find the largest in magnitude, which may be negative; this does not.
    """
    return Krylov(product, size, seed, dtype, device).grow(top, bottom, tolerance, max_iterations, on_progress)


def _unit(w: Tensor) -> Tensor:
    unit: Tensor = w / w.double().norm()
    return unit


def _with_room(basis: Tensor, used: int) -> Tensor:
    """A basis with at least one free row; grows by a quarter, so that memory follows the iterations."""
    if used < len(basis):
        return basis
    grown = basis.new_empty((used + max(8, used // 4), basis.shape[1]))
    grown[:used] = basis[:used]
    return grown
