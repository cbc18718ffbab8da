"""Takeuchi's criterion against dense matrices, and against the gap that it is to predict."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.takeuchi import diagonal_norms, quadrature
from sharpaudit.curvature.network.head import last_linear
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import Case, case

DAMPING = 1e-2


def dense(c: Case, damping: float = DAMPING) -> float:
    """tr(C (G + dI)⁻¹)."""
    g, ggn = oracles.dense_gradients(*c), oracles.dense_ggn(c.module, c.inputs)
    return float(torch.trace(g.T @ g / len(g) @ torch.linalg.inv(ggn + damping * torch.eye(len(ggn)).double())))


@pytest.mark.parametrize("name", ["linear", "mlp-tanh", "conv-bn", "layernorm", "attention"])
def test_exact_equals_the_dense_trace(name: str) -> None:
    c = case(name, n=19)
    found = Plan(Objective(*c, batch_size=4)).run().damped_norms(DAMPING)
    assert found.shape == (19,)
    assert found.mean() == pytest.approx(dense(c))


@pytest.mark.parametrize("name", ["mlp-tanh", "conv-bn"])
def test_quadrature_brackets_and_is_unbiased(name: str) -> None:
    c = case(name, n=19)
    found = quadrature(Objective(*c, batch_size=4), DAMPING, starts=60, max_steps=60, tolerance=0.01, seed=0)
    assert found.converged and found.low.value <= found.high.value
    assert abs(found.sampled.value - dense(c)) < 4 * found.sampled.standard_error
    few = quadrature(Objective(*c, batch_size=4), 1e-6, starts=20, max_steps=3, tolerance=0.01, seed=0)
    assert not few.converged
    assert few.low.value - 4 * few.low.standard_error < dense(c, 1e-6) < few.high.value + 4 * few.high.standard_error


def test_diagonal_leaves_everything_else_out() -> None:
    c = case("conv-bn", n=19)
    g, diagonal = oracles.dense_gradients(*c), oracles.dense_ggn(c.module, c.inputs).diagonal()
    truth = (g.square() / (diagonal + DAMPING)).sum(1)
    np.testing.assert_allclose(diagonal_norms(Objective(*c, batch_size=4), DAMPING), truth)


def test_the_last_layer_is_its_block() -> None:
    c = case("conv-bn", n=19)
    o = Objective(*c, batch_size=4)
    head = last_linear(c.module, c.inputs[:1])
    assert isinstance(head, nn.Linear)
    size = head.weight.numel() + head.bias.numel()
    g, block = oracles.dense_gradients(*c)[:, -size:], oracles.dense_ggn(c.module, c.inputs)[-size:, -size:]
    truth = (g @ torch.linalg.inv(block + DAMPING * torch.eye(size).double()) * g).sum(1)
    np.testing.assert_allclose(Plan(o, o.leaves(head.parameters())).run().damped_norms(DAMPING), truth)


def test_of_a_calibrated_model_it_is_the_soft_rank() -> None:
    """Labels drawn from the model's own probabilities make C = G in expectation: the two agree within 4 standard errors."""
    c = case("linear", n=3000)
    p = c.module(c.inputs).softmax(1).detach()
    labels = torch.multinomial(p, 1, generator=torch.Generator().manual_seed(0)).squeeze(1)
    o = Objective(c.module, c.inputs, labels, batch_size=500)
    whole = Plan(o).run()
    contributions = whole.damped_norms(DAMPING)
    rank = (whole.eigenvalues / (whole.eigenvalues + DAMPING)).sum()
    assert abs(contributions.mean() - rank) < 4 * contributions.std() / 3000**0.5


def test_it_predicts_the_gap_of_logistic_regression() -> None:
    """60 ridge fits to 200 examples of a true model: the mean excess of new over training loss is the mean criterion.

    Both are of order 0.02 nats; their means agree within 20%, about twice the standard error of the measured gap.
    """
    generator = torch.Generator().manual_seed(0)
    truth = 0.5 * torch.randn(2, 6, generator=generator, dtype=torch.float64)
    damping, n = 1e-3, 200

    def draw(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(size, 6, generator=generator, dtype=torch.float64)
        return x, torch.multinomial((x @ truth.T).softmax(1), 1, generator=generator).squeeze(1)

    fresh = draw(20_000)
    gaps, estimates = [], []
    for _ in range(60):
        x, y = draw(n)
        module = nn.Linear(6, 2, bias=False).double()
        nn.init.zeros_(module.weight)
        optimiser = torch.optim.LBFGS(module.parameters(), max_iter=50, tolerance_grad=1e-10)

        def closure() -> torch.Tensor:
            optimiser.zero_grad()  # noqa: B023  # called before the next round
            loss = nn.functional.cross_entropy(module(x), y) + damping / 2 * module.weight.square().sum()  # noqa: B023  # so
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            return loss

        optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch
        with torch.no_grad():
            gaps.append(
                (nn.functional.cross_entropy(module(fresh[0]), fresh[1]) - nn.functional.cross_entropy(module(x), y)).item()
            )
        estimates.append(Plan(Objective(module, x, y, batch_size=200)).run().damped_norms(damping).mean() / n)
    assert np.mean(estimates) == pytest.approx(np.mean(gaps), rel=0.2)


def test_no_gradients_no_gap() -> None:
    """Saturated and right everywhere: every gradient is zero, and so is the criterion."""
    c = case("linear", n=6)
    with torch.no_grad():
        c.module[1].weight.mul_(1e4)  # type: ignore[index]  # a Sequential
    o = Objective(c.module, c.inputs, c.module(c.inputs).argmax(1), batch_size=4)
    found = quadrature(o, DAMPING, starts=2, max_steps=8, tolerance=0.01, seed=0)
    assert found.sampled.value == pytest.approx(0, abs=1e-12) and found.converged
