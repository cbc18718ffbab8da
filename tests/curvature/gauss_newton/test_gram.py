"""All of the Gauss-Newton matrix against dense matrices in float64, by every way that it can be computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharpaudit.curvature.gauss_newton import gram as module_under_test
from sharpaudit.curvature.gauss_newton.explicit import jacobians
from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.matrix import GaussNewton
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import ARCHITECTURES, Case, case

DAMPING = 1e-3


def compare(found: GaussNewton, c: Case, tolerance: float) -> None:
    """Eigenvalues to `tolerance` of the largest, damped norms to ten times that of each."""
    dense, g = oracles.dense_ggn(c.module, c.inputs), oracles.dense_gradients(*c)
    values = torch.linalg.eigvalsh(dense).clamp_min(0)
    assert len(found.eigenvalues) == len(values)
    np.testing.assert_allclose(found.eigenvalues, values, rtol=0, atol=tolerance * values[-1].item())
    truth = (g @ torch.linalg.inv(dense + DAMPING * torch.eye(len(dense)).double()) * g).sum(1)
    np.testing.assert_allclose(found.damped_norms(DAMPING), truth, rtol=10 * tolerance, atol=10 * tolerance * truth.mean().item())


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("n", [7, 100], ids=["gram", "dense"])
def test_either_order_equals_the_dense_matrix(name: str, n: int) -> None:
    c = case(name, n=n)
    found = Plan(Objective(*c, batch_size=3)).run()
    assert found.by_gram == (2 * n < found.num_parameters)
    compare(found, c, 1e-7)


@pytest.mark.parametrize("row_bytes", [1, 1000, 1 << 30])
def test_groups_of_any_size_give_the_same(row_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of one entry, of a few, of all; with a bound of nothing every weight has its rows formed."""
    monkeypatch.setattr(module_under_test, "GRAPH_BYTES", 2 * row_bytes)
    monkeypatch.setattr(module_under_test, "CHUNK", 4)
    monkeypatch.setattr(module_under_test, "BLOCK", 5)
    for name in ("residual", "grouped", "attention"):
        c = case(name, n=19)
        compare(Plan(Objective(*c, batch_size=3)).run(), c, 1e-9)


class Various(nn.Module):
    """Stride, padding, dilation, groups, a shared weight, norms, many and few output positions, a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, stride=2, padding=1, padding_mode="reflect")
        self.norm = nn.BatchNorm2d(6)
        self.wide = nn.Conv2d(6, 12, 3, dilation=2, groups=2, bias=False)
        self.group_norm = nn.GroupNorm(3, 12)
        self.small = nn.Conv2d(12, 10, 3)
        self.hidden = nn.Linear(10, 10)
        self.scale = nn.Parameter(torch.tensor(1.3))
        self.head = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group_norm(self.wide(self.norm(self.stem(x)).relu())).tanh()
        x = self.small(x).relu().mean((2, 3))
        return self.head(self.scale * self.hidden(self.hidden(x).relu()))  # type: ignore[no-any-return]  # modules are called untyped


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_float32_products_with_float64_sums_are_those_of_float64(dtype: torch.dtype, tolerance: float) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Various().eval()
        inputs, labels = torch.randn(19, 1, 16, 16), torch.randint(4, (19,))
    exact = Case(module.double(), inputs.double(), labels)
    plan = Plan(Objective(module.to(dtype), inputs.to(dtype), labels, batch_size=8))
    found = plan.run()
    compare(found, Case(exact.module.double(), exact.inputs, labels), tolerance)
    assert found.by_gram


def test_impossible_labels_have_a_norm_too() -> None:
    """Logits of ±1,000: the probability of the label underflows, its gradient does not."""
    c = case("linear", n=6)
    with torch.no_grad():
        c.module[1].weight.mul_(300)  # type: ignore[index]  # a Sequential
    labels = (c.module(c.inputs).argmax(1) + 1) % 3
    found = Plan(Objective(c.module, c.inputs, labels, batch_size=4)).run()
    g = oracles.dense_gradients(c.module, c.inputs, labels)
    dense = oracles.dense_ggn(c.module, c.inputs)
    truth = (g @ torch.linalg.inv(dense + DAMPING * torch.eye(len(dense)).double()) * g).sum(1)
    assert found.by_gram
    np.testing.assert_allclose(found.damped_norms(DAMPING), truth, rtol=1e-6)


def test_the_block_of_one_layer() -> None:
    c = case("conv", n=40)
    o = Objective(*c, batch_size=3)
    size = sum(t.numel() for t in o.theta[-2:])
    block = oracles.dense_ggn(c.module, c.inputs)[-size:, -size:]
    torch.testing.assert_close(Plan(o, o.theta[-2:]).run().matrix, block)


def test_jacobians_are_those_of_single_examples_and_are_counted() -> None:
    c = case("unused")
    o = Objective(*c, batch_size=3)
    found = torch.stack(list(jacobians(o)))
    torch.testing.assert_close(found, oracles.dense_jacobian(c.module, c.inputs))
    assert o.passes["backward"] >= 7 * 3


def test_its_cost_is_that_of_products_and_is_known_from_one_example(monkeypatch: pytest.MonkeyPatch) -> None:
    c = case("conv-bn")
    o, one = Objective(*c, batch_size=3), Objective(c.module, c.inputs[:1], c.labels[:1], batch_size=3)
    products = Plan(o).products
    o.gradient()
    assert 1 < products == Plan(o).products, "what was computed before does not count"
    assert Plan(one, examples=len(c.inputs)).products == products
    monkeypatch.setattr(module_under_test, "GRAPH_BYTES", 1000)
    assert Plan(o).products == np.inf
