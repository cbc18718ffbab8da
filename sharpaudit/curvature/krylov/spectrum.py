"""How are the eigenvalues of a symmetric operator distributed, and what are sums of functions of them?

Stochastic Lanczos quadrature (Ubaru, Chen and Saad 2017; Golub and Meurant): from a random unit start v, m Lanczos steps give
nodes θ_j (Ritz values) and weights w_j (squared first components of T's eigenvectors) with vᵀf(A)v ≈ Σ_j w_j f(θ_j), exact for
polynomials up to degree 2m − 1. The mean over starts, times the order P, estimates tr f(A) = Σᵢ f(λᵢ).

Eigenpairs that are already known are left out of the starts and counted once each: with them goes most of the variance of the
trace and the Frobenius norm, and the density shows them with their true weight 1/P. Where all P steps cost no more than the
starts would, they are taken, and every eigenvalue is known.

There are two errors, and each is reported: of few starts (the standard error, `moments`) and of too few steps. For an operator
without negative eigenvalues the second is bracketed: the Gauss rule and the Gauss-Radau rule with a node at 0 bound soft rank and
damped log-determinant from both sides (Golub and Meurant). Otherwise the rule is compared with those of three quarters and of
half the steps; and as functions of the sign bend at zero, the two nodes around it say how wrong the rule could be there, for it
knows how many eigenvalues are negative only to about their two weights (Chebyshev, Markov, Stieltjes). Trace and Frobenius norm
need two steps; soft rank and log-determinant can need hundreds, because they bend near zero, where most eigenvalues lie, and
there two successive rules agree long before either is right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sharpaudit.card import Interval
from sharpaudit.curvature.estimates import Eigenvalue, Sampled
from sharpaudit.curvature.krylov.lanczos import Extremes, Krylov, Outliers, Product, affordable
from sharpaudit.curvature.krylov.moments import METHOD, Part, factors
from sharpaudit.curvature.krylov.quadrature import Floats, Function, Rule, gauss, indefinite_error, radau, with_known


@dataclass(frozen=True)
class Sum:
    """An estimate of Σᵢ f(λᵢ), or of something made of such sums."""

    sampled: Sampled
    """Value and standard error over starts, and their number; between the two ends where there are two."""
    low: Sampled
    high: Sampled
    """The ends of the bracket of the steps; all are equal where there is none."""
    steps_error: float
    """Half-width of the bracket, or the largest difference of the rules; the mean over starts."""
    converged: bool
    """Whether that is within the tolerance, relative to the value. The standard error is no part of this verdict."""
    interval: Interval | None
    """Over starts, from the lower end of the bracket to the upper. None for an exact value, and where the starts give none
    (`Sampled.reason`)."""

    @classmethod
    def exact(cls, value: float) -> Sum:
        """A sum over all eigenvalues."""
        known = Sampled(value, 0.0, 1, 0)
        return cls(known, known, known, 0.0, True, None)

    @property
    def relative_error(self) -> float:
        """`steps_error` in units of the value; as it is where the value is 0."""
        return self.steps_error / abs(self.sampled.value or 1.0)


@dataclass(frozen=True)
class Spectrum:
    """What Lanczos quadrature saw of an operator."""

    size: int
    rules: tuple[Rule, ...]
    """One a start; a single one where every eigenvalue is known."""
    num_known: int
    """The first so many nodes of each are eigenvalues that were known before."""
    sums: Mapping[str, Sum]
    sampled_range: tuple[float, float]
    """The smallest and largest Ritz value among what was sampled."""
    products: int
    """Products spent in all."""
    allowed: int
    """Steps each start could take: as many as were asked for, or as memory allows."""
    whole: bool
    """Whether the nodes are all eigenvalues, each as often as it occurs."""

    def density(self, grid: Floats, width: float) -> Floats:
        """The density of eigenvalues at the points of `grid`, smoothed by a Gaussian of standard deviation `width`.

        One row a start, each of integral 1; their differences show how far one start can be trusted.
        """
        shapes = [
            np.exp(-0.5 * ((grid[:, None] - rule.nodes) / width) ** 2) @ rule.weights / (width * np.sqrt(2 * np.pi))
            for rule in self.rules
        ]
        return np.array(shapes)

    def verified(self, ends: Extremes, tolerance: float) -> Extremes:
        """The extreme eigenvalues `ends` of this operator, held against the starts in the complement of what they found.

        Where an eigenvalue turns up beyond one that was listed, the list has missed it: a multiple, or one that the first start
        could not see. What then lies at or beyond its place is no longer called converged. A whole spectrum replaces the list.
        """
        if self.whole:
            values = np.sort(self.rules[0].nodes)
            exact = [Eigenvalue(float(value), 0.0, self.products, True) for value in values]
            return Extremes(tuple(exact[::-1][: len(ends.top)]), tuple(exact[: len(ends.bottom)]))
        low, high = self.sampled_range

        def held(found: Eigenvalue, beyond: float) -> Eigenvalue:
            return replace(found, converged=found.converged and beyond <= tolerance * abs(found.value))

        return Extremes(
            tuple(held(e, high - e.value) for e in ends.top),
            tuple(held(e, e.value - low) for e in ends.bottom),
        )


def spectrum(
    product: Product,
    size: int,
    functions: Mapping[str, Function],
    *,
    starts: int,
    seed: int,
    known: Outliers | None = None,
    min_steps: int = 8,
    max_steps: int = 100,
    nonnegative: bool = False,
    tolerance: float = 0.01,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Spectrum:
    """Sums of `functions` over the eigenvalues of a symmetric operator of order `size`.

    Every start takes steps until its sums have settled to `tolerance`, at most `max_steps`. Say `nonnegative` of a Gauss-Newton
    matrix, and only for functions like those of `soft_rank`, whose even derivatives are negative and odd ones positive. `known`
    must come from another seed or stream.
    """
    if size <= starts * max_steps:
        return whole(Krylov(product, size, seed, dtype, device), functions, on_progress)
    allowed = affordable(max_steps, size, dtype)
    views = []
    for start in range(starts):
        space = Krylov(product, size, seed, dtype, device, stream=start, known=known)
        progress = _part(on_progress, start, starts)
        views.append(_view(space, functions, min_steps, allowed, nonnegative, tolerance, progress))
    rules, num_known = tuple(view.rule for view in views), views[0].num_known
    sums = {
        name: _by_moments([view.scaled(name, size) for view in views], Part.of(rules, num_known, size, function), tolerance)
        for name, function in functions.items()
    }
    nodes = np.concatenate([rule.nodes[num_known:] for rule in rules])
    spent, span = sum(view.steps for view in views), (float(nodes.min()), float(nodes.max()))
    return Spectrum(size, rules, num_known, sums, span, spent, allowed, whole=False)


def whole(
    space: Krylov, functions: Mapping[str, Function], on_progress: Callable[[float], None] = lambda fraction: None
) -> Spectrum:
    """Every eigenvalue, from as many steps as `space` still lacks."""
    while not space.complete:
        space.step()
        on_progress(len(space.alpha) / space.size)
    values = space.ritz()[0]
    rule = Rule(values, np.full(space.size, 1 / space.size))
    sums = {name: Sum.exact(float(function(values).sum())) for name, function in functions.items()}
    return Spectrum(
        space.size, (rule,), space.size, sums, (float(values[0]), float(values[-1])), space.size, space.size, whole=True
    )


def quadratic_form(
    product: Product,
    vectors: Iterable[Tensor],
    function: Function,
    *,
    starts: int,
    min_steps: int = 8,
    max_steps: int = 100,
    tolerance: float = 0.01,
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> Sum:
    """The mean of uᵀf(A)u over `starts` independent random `vectors` u, for an A without negative eigenvalues.

    It is tr(f(A) E[uuᵀ]). `function` as for `spectrum`, or with all even derivatives positive and odd ones negative.
    """
    seen = []
    for start, vector in enumerate(vectors):
        square = vector.double().square().sum().item()
        if square == 0:
            seen.append((0.0, 0.0, 0.0))
            continue
        space = Krylov(product, len(vector), start, vector.dtype, vector.device, start=vector)
        progress = _part(on_progress, start, starts)
        view = _view(space, {"": function}, min_steps, max_steps, True, tolerance, progress)
        seen.append(view.scaled("", square))
    return _by_scatter(seen, tolerance)


@dataclass(frozen=True)
class _View:
    """What one start saw."""

    rule: Rule
    num_known: int
    """The first so many nodes were known before."""
    ends: Mapping[str, tuple[float, float]]
    """Means over the spectrum, by two rules where they bracket, else twice the same."""
    errors: Mapping[str, float]
    """Of the steps."""
    steps: int

    def scaled(self, name: str, size: float) -> tuple[float, float, float]:
        """Both ends and the error, times `size`."""
        low, high = self.ends[name]
        return size * low, size * high, size * self.errors[name]


def _view(
    space: Krylov,
    functions: Mapping[str, Function],
    min_steps: int,
    max_steps: int,
    nonnegative: bool,
    tolerance: float,
    on_progress: Callable[[float], None],
) -> _View:
    """Take steps until the sums of `functions` have settled, or there are `max_steps`."""
    limit = min(max_steps, space.dimension)
    known = space.known.values if space.known else np.empty(0)
    while True:
        space.step()
        steps = len(space.alpha)
        on_progress(steps / limit)
        if steps < min(min_steps, limit):
            continue
        others = [radau(space)] if nonnegative else [gauss(space, max(1, steps * share // 4)) for share in (3, 2)]
        rules = [with_known(rule, known, space.size) for rule in (gauss(space, steps), *others)]
        values = {name: [rule.integral(function) for rule in rules] for name, function in functions.items()}
        if space.complete:
            errors = dict.fromkeys(functions, 0.0)
        elif nonnegative:
            errors = {name: abs(upper - lower) / 2 for name, (upper, lower) in values.items()}
        else:
            sampled = Rule(rules[0].nodes[len(known) :], rules[0].weights[len(known) :])
            errors = {name: indefinite_error(function, sampled, values[name]) for name, function in functions.items()}
        if steps == limit or all(error <= tolerance * abs(values[name][0]) for name, error in errors.items()):
            ends = {name: (seen[0], seen[1] if nonnegative else seen[0]) for name, seen in values.items()}
            return _View(rules[0], len(known), ends, errors, steps)


Seen = tuple[float, float, float]
"""Both ends and the error of the steps, by one start."""


def _by_moments(seen: Sequence[Seen], part: Part, tolerance: float) -> Sum:
    """From what each start saw, of which `part` says how good it is.

    No interval for terms of both signs, and none where every start is sure to see the same.
    """
    low, high, error = _bracket(seen)
    middle = (low + high) / 2
    reason = None
    if part.variance == 0:
        reason = "every start gives the same value"
    elif part.sampled <= 0:
        reason = "the terms of the sum have both signs"

    def sampled(values: Floats) -> Sampled:
        found = float(values.mean())
        return Sampled(found, part.variance**0.5, len(values), len(values) - 1, reason=reason, terms=values)

    interval = None
    if reason is None:
        smaller, larger = factors(replace(part, certain=0.0))
        lower, higher = (part.certain + factor * (end.mean() - part.certain) for factor, end in ((smaller, low), (larger, high)))
        method = METHOD if np.array_equal(low, high) else f"{METHOD}, over a bracket"
        interval = Interval(low=float(lower), high=float(higher), method=method)
    return Sum(sampled(middle), sampled(low), sampled(high), error, error <= tolerance * abs(middle.mean()), interval)


def _by_scatter(seen: Sequence[Seen], tolerance: float) -> Sum:
    """From what each start saw, with Student's interval."""
    low, high, error = _bracket(seen)
    middle, below, above = (Sampled.of(values) for values in ((low + high) / 2, low, high))
    interval = None
    if middle.reason is None:
        ends = below.interval(), above.interval()
        interval = ends[0].model_copy(update={"high": ends[1].high, "method": f"{ends[0].method}, over a bracket"})
    return Sum(middle, below, above, error, error <= tolerance * abs(middle.value), interval)


def _bracket(seen: Sequence[Seen]) -> tuple[Floats, Floats, float]:
    """The lower and the upper ends, and the mean error."""
    table = np.array(seen)
    low, high = np.sort(table[:, :2], axis=1).T
    return low, high, float(table[:, 2].mean())


def _part(on_progress: Callable[[float], None], start: int, starts: int) -> Callable[[float], None]:
    return lambda fraction: on_progress((start + fraction) / starts)
