"""Every exact number on random modules of every make, against dense matrices that share no code with ours; every sampled one by
how often its interval covers; and every probe of geometry, none of which may fail.

A few modules from a fresh seed in every run, forty with `slow`; the seed is printed, and SHARPAUDIT_SEED sets it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple, cast

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from sharpaudit.card import Failed
from sharpaudit.curvature.fisher_rao import fisher_rao
from sharpaudit.curvature.gauss_newton.ggn_trace import ggn_trace
from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.soft_rank import WEIGHT_DECAY, damped_log, ggn_soft_rank, soft_rank
from sharpaudit.curvature.gauss_newton.takeuchi import diagonal_norms
from sharpaudit.curvature.krylov.hessian import SMALL, hessian_spectrum, negative_mass
from sharpaudit.curvature.krylov.lanczos import Krylov
from sharpaudit.curvature.krylov.quadrature import Function
from sharpaudit.curvature.krylov.spectrum import Sum, spectrum
from sharpaudit.curvature.krylov.trace import hutchinson
from sharpaudit.curvature.linearity import piecewise_linear
from sharpaudit.curvature.objective import Objective
from sharpaudit.execute import run
from sharpaudit.plan import plan
from tests import oracles
from tests.benches import bench
from tests.cases import Case
from tests.curvature.random_modules import random_classifier, random_module

SEED = int(os.environ.get("SHARPAUDIT_SEED", 0))
"""The difference quotients of the oracle meet a kink of a ReLU in one module of hundreds, so that fresh seeds are asked for."""
TOLERANCE = 1e-6
DAMPING = 1e-2


class Dense(NamedTuple):
    """A random module and its derivatives."""

    made: str
    """What it is and how to make it again."""
    case: Case
    jacobian: Tensor
    hessian: Tensor
    ggn: Tensor


@cache
def dense(number: int, *, trainable_only: bool = False) -> Dense:
    name, c = random_module(np.random.default_rng([SEED, number]))
    chosen = [p for p in c.module.parameters() if p.requires_grad or not trainable_only]
    before = [p.requires_grad for p in chosen]
    for p in chosen:
        p.requires_grad_()
    found = Dense(
        f"SHARPAUDIT_SEED={SEED}, module {number}: {name}",
        c,
        oracles.stated_jacobian(c.module, c.inputs, chosen),
        oracles.differenced_hessian(*c, chosen),
        oracles.stated_ggn(c.module, c.inputs, chosen),
    )
    for p, flag in zip(chosen, before, strict=True):
        p.requires_grad_(flag)
    return found


each_module = pytest.mark.parametrize("number", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 43))])
each_scope = pytest.mark.parametrize("trainable_only", [False, True], ids=["all", "trainable"])


@each_module
@each_scope
def test_every_exact_number(number: int, trainable_only: bool) -> None:
    true = dense(number, trainable_only=trainable_only)
    print(true.made)
    o = Objective(*true.case, batch_size=4, trainable_only=trainable_only)
    assert o.num_parameters == len(true.hessian)
    curved, flat = true.hessian.abs().max().item(), true.ggn.abs().max().item()
    v = torch.randn(o.num_parameters, generator=torch.Generator().manual_seed(number)).double()

    def same(found: Tensor, exact: Tensor, scale: float = 1.0) -> None:
        torch.testing.assert_close(found, exact, rtol=TOLERANCE, atol=TOLERANCE * scale)

    same(o.hvp(v), true.hessian @ v, curved)
    same(o.ggn_product(v), true.ggn @ v, flat)
    same(o.logit_jvp(v), true.jacobian @ v)

    trace = ggn_trace(o)
    assert trace.value == pytest.approx(true.ggn.trace().item(), rel=TOLERANCE)
    assert sum(trace.layers.values()) == pytest.approx(trace.value)
    if piecewise_linear(o):
        assert trace.value == pytest.approx(true.hessian.trace().item(), rel=TOLERANCE, abs=TOLERANCE * curved)

    found = hessian_spectrum(
        o, top=5, bottom=1, tolerance=1e-6, max_iterations=50, starts=4, max_steps=1000, sums_tolerance=0.01, seed=0
    )
    assert found.density is not None and found.density.whole
    values = torch.linalg.eigvalsh(true.hessian).numpy()

    def near(exact: object) -> object:
        return pytest.approx(exact, rel=TOLERANCE, abs=TOLERANCE * curved)

    assert [e.value for e in found.extremes.top] == near(values[:-6:-1])
    assert found.extremes.bottom[0].value == near(values[0])
    assert found.density.sums["trace"].sampled.value == near(values.sum())
    assert found.density.sums["square"].sampled.value == pytest.approx((values**2).sum(), rel=TOLERANCE)
    share = (values.clip(max=0) ** 2).sum() / (values**2).sum()
    assert negative_mass(found.density).sampled.value == pytest.approx(share, abs=TOLERANCE)

    of_ggn = torch.linalg.eigvalsh(true.ggn).clamp_min(0).numpy()
    whole = Plan(o).run()
    for given in (whole, None):
        rank = ggn_soft_rank(o, DAMPING, whole=given, starts=10, max_steps=1000, tolerance=0.01, seed=0)
        assert rank.rank.sampled.value == pytest.approx((of_ggn / (of_ggn + DAMPING)).sum(), rel=TOLERANCE)
        assert rank.logdet.sampled.value == pytest.approx(np.log(of_ggn + DAMPING).sum(), rel=TOLERANCE)

    p = true.case.module(true.case.inputs).detach().softmax(1)
    residual = p - nn.functional.one_hot(true.case.labels, o.num_classes)
    gradients = torch.einsum("ik,ikp->ip", residual, true.jacobian)
    same(o.gradient(), gradients.mean(0))
    assert fisher_rao(o).value == pytest.approx((gradients @ o.parameters).square().mean().sqrt().item(), rel=TOLERANCE)
    damped = true.ggn + DAMPING * torch.eye(len(true.ggn)).double()
    exact = (gradients * torch.linalg.solve(damped, gradients.T).T).sum(1).numpy()
    np.testing.assert_allclose(whole.damped_norms(DAMPING), exact, rtol=TOLERANCE)
    np.testing.assert_allclose(diagonal_norms(o, DAMPING), (gradients**2 / damped.diagonal()).sum(1).numpy(), rtol=TOLERANCE)


GEOMETRY = [
    ("average_case", {"draws": 4}), ("first_order", {"iterations": 2}), ("fisher_rao", {}), ("information", {}),
    ("keskar", {"iterations": 2}), ("pac_bayes", {"draws": 4, "steps": 4}), ("perturbation", {"draws": 4}),
    ("relative_flatness", {}), ("reparametrisation", {}), ("slices", {"points": 5}), ("spectrum", {}),
    ("worst_case", {"iterations": 2}),
]  # fmt: skip


@pytest.mark.parametrize("number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 40))])
def test_no_probe_fails(number: int) -> None:
    """What is not measured is not applicable, and says why."""
    name, module = random_classifier(np.random.default_rng([SEED, 1, number]), 10)
    print(f"SHARPAUDIT_SEED={SEED}, classifier {number}: {name}")
    on = bench(nn.Sequential(nn.AvgPool2d(2), module).eval(), n=40, probe_examples=20, trainable_only=bool(number % 2))
    for probe, options in GEOMETRY:
        (step,) = plan(probe, {probe: options})
        found = run(step, on)
        assert found.status != "failed", f"{probe}: {found.reason}"
        assert not [m for m in found.measurements if isinstance(m, Failed)]
        assert found.measurements


class Matrix(NamedTuple):
    """What the spectrum asks of an objective, for a Hessian that is known."""

    hessian: Tensor
    inputs: Tensor
    dtype: torch.dtype = torch.float64

    @property
    def num_parameters(self) -> int:
        return len(self.hessian)

    def hvp(self, v: Tensor) -> Tensor:
        return self.hessian @ v


def larger(number: int) -> tuple[str, Matrix, Tensor]:
    """A random module with 300 to 700 parameters, its Hessian and its Gauss-Newton matrix."""
    rng = np.random.default_rng([SEED, 2, number])
    while True:
        name, c = random_module(rng, scale=3)
        o = Objective(*c, batch_size=32)
        if SMALL < o.num_parameters <= 700:
            hessian = torch.stack([o.hvp(e) for e in torch.eye(o.num_parameters).double()])
            ggn = torch.stack([o.ggn_product(e) for e in torch.eye(o.num_parameters).double()])
            return name, Matrix((hessian + hessian.T) / 2, o.inputs), (ggn + ggn.T) / 2


@pytest.mark.slow
def test_sampled_numbers_lie_in_their_intervals_and_converged_ones_stay_there() -> None:
    """With the starts and steps of the probe, over six modules of 40 seeds each; the table is printed with `-s`.

    What is called converged must lie, from twice the starts and twice the steps, in the interval given for it, as often as an
    interval of 95% promises. Half of the starts are the same, so that an estimate of about the truth leaves it in 0.6% of runs;
    of soft rank and log-determinant twice the steps are all eigenvalues, and so the truth, which leaves it in 5%. Each quantity
    may do so as often as 5% explains at a level of 1% for the whole table (exact binomial, Bonferroni).
    """
    misses: Counter[object] = Counter()
    counts: Counter[object] = Counter()
    for number in range(6):
        name, matrix, ggn = larger(number)
        print(f"SHARPAUDIT_SEED={SEED}, larger module {number}: {name}, {matrix.num_parameters} parameters")
        values = torch.linalg.eigvalsh(matrix.hessian).numpy()
        flat = torch.linalg.eigvalsh(ggn).clamp_min(0).numpy()
        functions: dict[str, Function] = {"soft rank": soft_rank(WEIGHT_DECAY), "log-determinant": damped_log(WEIGHT_DECAY)}
        true = {name: f(flat).sum() for name, f in functions.items()}
        true["squares"] = (values**2).sum()
        true["negative mass"] = (values.clip(max=0) ** 2).sum() / true["squares"]

        def sums(
            seed: int, budget: int, matrix: Matrix = matrix, ggn: Tensor = ggn, functions: Mapping[str, Function] = functions
        ) -> tuple[dict[str, Sum], Krylov]:
            found = hessian_spectrum(
                cast(Objective, matrix), top=5, bottom=1, tolerance=1e-3, max_iterations=100, starts=4 * budget,
                max_steps=16 * budget, sums_tolerance=0.05, seed=seed,
            )  # fmt: skip
            assert found.density is not None
            of_ggn = spectrum(
                lambda v: ggn @ v, len(ggn), functions, starts=4 * budget, max_steps=40 * budget, seed=seed, nonnegative=True,
                tolerance=0.05,
            )  # fmt: skip
            mass = negative_mass(found.density)
            return {"squares": found.density.sums["square"], "negative mass": mass, **of_ggn.sums}, found.space

        for seed in range(40):
            once, space = sums(seed, 1)
            twice = sums(seed, 2)[0]
            for what, found in once.items():
                if (interval := found.interval) is not None:
                    counts[what] += 1
                    misses[what, "below"] += true[what] > interval.high
                    misses[what, "above"] += true[what] < interval.low
                    if found.converged:
                        counts[what, "again"] += 1
                        misses[what, "again"] += not interval.low <= twice[what].sampled.value <= interval.high
            interval = hutchinson(matrix.hvp, len(values), draws=60, seed=seed + 1000, known=space).interval()
            counts["trace"] += 1
            misses["trace", "below"] += values.sum() > interval.high
            misses["trace", "above"] += values.sum() < interval.low
    quantities = ("squares", "negative mass", "soft rank", "log-determinant", "trace")
    for what in quantities:
        n, below, above, again = counts[what], misses[what, "below"], misses[what, "above"], misses[what, "again"]
        print(f"{what:<16} n {n}  below {below}  above {above}  left with twice the budget {again} of {counts[what, 'again']}")
        for left, tried in ((below + above, n), (again, counts[what, "again"])):
            assert left <= binom.ppf(1 - 0.01 / (2 * len(quantities)), tried, 0.05), what
