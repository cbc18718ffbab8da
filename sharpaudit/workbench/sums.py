"""How does a sum over a spectrum become a measurement? With the interval of its quadrature, and the terms it is a mean of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from sharpaudit.card import Interval, Measured
from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.matrix import GaussNewton
from sharpaudit.curvature.gauss_newton.soft_rank import SoftRank, ggn_soft_rank
from sharpaudit.curvature.krylov.spectrum import Sum
from sharpaudit.metrics.measured import measured
from sharpaudit.metrics.terms import Terms
from sharpaudit.stats import Estimate
from sharpaudit.workbench import Workbench

ALL_KNOWN = "all eigenvalues on this probe set are known; no interval over images"


def gauss_newton_of(bench: Workbench, products: int, on_progress: Callable[[float], None]) -> GaussNewton | None:
    """All of G, if that costs less than `products` products with it; computed once for all probes."""
    plan = bench.once("plan of G", lambda: Plan(bench.objective))
    return bench.once("all of G", lambda: plan.run(on_progress)) if plan.products <= products else None


def soft_rank_of(
    bench: Workbench, damping: float, starts: int, max_steps: int, tolerance: float, on_progress: Callable[[float], None]
) -> SoftRank:
    """Soft rank and log-determinant of G, computed once for all probes that ask for the same."""
    return bench.once(
        ("soft rank", damping, starts, max_steps, tolerance),
        lambda: ggn_soft_rank(
            bench.objective,
            damping,
            whole=gauss_newton_of(bench, starts * max_steps, on_progress),
            starts=starts,
            max_steps=max_steps,
            tolerance=tolerance,
            seed=bench.settings.seed,
            on_progress=on_progress,
        ),
    )


def share(value: float) -> float:
    """A share, which bounds of a quadrature may leave."""
    return min(1.0, value)


def sum_and_terms(
    name: str,
    found: Sum,
    method: str,
    n: int,
    products: int,
    options: Mapping[str, float | int],
    transform: Callable[[float], float] = float,
) -> Iterator[Measured | Terms]:
    """A sum over the spectrum, or a monotone function of one that is not negative where `transform` is given.

    The residual is the error of the steps, relative except for shares.
    """
    ci = found.interval
    if ci is not None and transform is not float:
        ci = Interval(low=float(transform(max(0.0, ci.low))), high=float(transform(ci.high)), level=ci.level, method=ci.method)
    value = float(transform(found.sampled.value))
    yield measured(
        name,
        Estimate(value, ci, found.sampled.reason or ALL_KNOWN),
        n,
        method,
        options,
        converged=found.converged,
        iterations=products,
        residual=found.steps_error if transform is share else found.relative_error,
    )
    if found.sampled.terms is not None:
        yield Terms.around(name, value, [transform(start) for start in found.sampled.terms], "draws")
