"""The exact Gauss-Newton trace against the dense matrix, and when it is the Hessian's."""

import math

import pytest
import torch
from torch import Tensor, nn

from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.gauss_newton.explicit import BACKWARD
from sharpaudit.curvature.gauss_newton.ggn_trace import DRAWS, ggn_trace
from sharpaudit.curvature.linearity import piecewise_linear
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import ARCHITECTURES, Case, Residual, case

COVERED = 40
"""Intervals of the test of their coverage."""

PIECEWISE_LINEAR = {"linear", "mlp-relu", "conv", "conv-bn", "residual", "unused"}


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-7), (torch.float32, 1e-4)])
def test_equals_the_trace_of_the_dense_matrix(name: str, dtype: torch.dtype, tolerance: float) -> None:
    c, exact = case(name, n=19, dtype=dtype), case(name, n=19)
    found = ggn_trace(Objective(*c, batch_size=3))
    assert found.examples.shape == (19,) and found.draws is None
    assert found.value == pytest.approx(oracles.dense_ggn(exact.module, exact.inputs).trace().item(), rel=tolerance)


def test_each_example_adds_its_own_part() -> None:
    c = case("grouped")
    found = ggn_trace(Objective(*c, batch_size=3))
    for i, part in enumerate(found.examples):
        assert part == pytest.approx(oracles.dense_ggn(c.module, c.inputs[i : i + 1]).trace().item())


def test_each_layer_adds_the_trace_of_its_block() -> None:
    c = case("conv-bn")
    found = ggn_trace(Objective(*c, batch_size=3))
    diagonal = oracles.dense_ggn(c.module, c.inputs).diagonal()
    sizes = [layer for layer in c.module.named_children() if list(layer[1].parameters())]
    blocks = torch.split(diagonal, [sum(p.numel() for p in layer.parameters()) for _, layer in sizes])
    assert found.layers == pytest.approx({name: block.sum().item() for (name, _), block in zip(sizes, blocks, strict=True)})
    assert sum(found.layers.values()) == pytest.approx(found.value)


def test_both_ways_to_a_norm_are_taken_and_agree() -> None:
    """Wide inputs at few positions go through Gram matrices, many positions do not; both occur here."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4, 3)).double()
    c = case("conv")
    found = ggn_trace(Objective(module, c.inputs, c.labels, batch_size=3))
    assert found.value == pytest.approx(oracles.dense_ggn(module, c.inputs).trace().item())


class Token(nn.Module):
    """A free parameter that every example is added to, as in a vision transformer."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(16))
        self.head = nn.Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1) + self.token)  # type: ignore[no-any-return]  # modules are called untyped


def twice() -> nn.Module:
    layer = nn.Linear(16, 16)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(16, 3))


class ActivatedNorm(nn.BatchNorm2d):
    """As in timm: a BatchNorm that applies an activation too."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class StandardisedConv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        weight: Tensor = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias, padding=1)


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Tokens(nn.Module):
    """Positions first, images second."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x.flatten(1, 2).transpose(0, 1)).tanh().sum(0))  # type: ignore[no-any-return]  # modules are called untyped


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(input=x.flatten(1))  # type: ignore[no-any-return]  # modules are called untyped


class PlainNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class Hidden(nn.Module):
    """The weight of a layer is used once more, where no layer's class tells."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.head(self.body(x).relu() + 0.1 * x @ self.body.weight)  # type: ignore[no-any-return]  # modules are called untyped


def in_layers(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 3))


OTHERWISE = {
    "in no layer": Token,
    "used twice": twice,
    "used outside": Hidden,
    "circular": lambda: in_layers(nn.Conv2d(1, 2, 3, padding="same", padding_mode="circular")),
    "activation inside": lambda: in_layers(nn.Conv2d(1, 2, 1), ActivatedNorm(2)),
    "other weight": lambda: in_layers(StandardisedConv(1, 2, 3, padding=1)),
    "other dimensions": lambda: in_layers(nn.Conv2d(1, 2, 1), ChannelNorm(2)),
    "same by other means": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 8), PlainNorm(8), nn.Linear(8, 3)),
    "images second": Tokens,
    "by keyword": ByKeyword,
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHERWISE)
def test_what_a_layer_does_is_tried_and_not_read_from_its_class(kind: str) -> None:
    """Four images, of which some see four positions: shapes alone do not tell."""
    c = case("linear", n=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = OTHERWISE[kind]().double().eval()
    found = ggn_trace(Objective(module, c.inputs, c.labels, batch_size=4))
    diagonal = oracles.dense_ggn(module, c.inputs).diagonal()
    assert found.value == pytest.approx(diagonal.sum().item(), rel=1e-10)
    last = sum(p.numel() for p in [*module.modules()][-1].parameters(recurse=False))
    assert list(found.layers.values())[-1] == pytest.approx(diagonal[-last:].sum().item(), rel=1e-10)


def test_classes_are_drawn_where_all_of_them_are_too_dear() -> None:
    c = case("linear")
    flat, token = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).double(), Token().double()
    by_layers, by_gradients = (Objective(module, *c[1:], batch_size=3) for module in (flat, token))
    for o, affordable in ((by_layers, 6), (by_gradients, 6 + 3 * BACKWARD)):
        exact, drawn = ggn_trace(o, most=affordable), ggn_trace(o, most=affordable - 1)
        assert exact.draws is None
        assert drawn.draws is not None and drawn.draws.shape == (DRAWS, 7)
        assert sum(drawn.layers.values()) == pytest.approx(drawn.value) == drawn.draws.mean()


@pytest.mark.parametrize("module", [nn.Sequential(nn.Flatten(), nn.Linear(16, 30)), Token(30)], ids=["layers", "gradients"])
def test_intervals_over_drawn_classes_cover(module: nn.Module) -> None:
    """Thirty classes of 16 examples: 95% of the intervals, give or take three standard deviations."""
    c = case("linear", n=16)
    o = Objective(module.double(), c.inputs, c.labels, batch_size=16)
    exact = ggn_trace(o)
    assert exact.value == pytest.approx(oracles.dense_ggn(module, c.inputs).trace().item())
    below = above = 0
    for seed in range(COVERED):
        drawn = ggn_trace(o, most=0, seed=seed)
        assert drawn.draws is not None
        interval = Sampled.crossed(drawn.draws).interval()
        below, above = below + (exact.value < interval.low), above + (exact.value > interval.high)
    print(f"{COVERED - below - above} of {COVERED} intervals cover, {below} lie above the truth and {above} below")
    assert below + above <= 0.05 * COVERED + 3 * math.sqrt(0.05 * 0.95 * COVERED)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_piecewise_linear_networks_are_recognised(name: str) -> None:
    assert piecewise_linear(Objective(*case(name), batch_size=3)) == (name in PIECEWISE_LINEAR)


@pytest.mark.parametrize("name", sorted(PIECEWISE_LINEAR))
def test_there_the_hessian_has_the_same_trace(name: str) -> None:
    c = case(name)
    found = ggn_trace(Objective(*c, batch_size=3))
    assert found.value == pytest.approx(oracles.dense_hessian(*c).trace().item(), rel=1e-10)


class Looped(nn.Module):
    """One weight, turned once and used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.head = nn.Parameter(torch.randn(16, 16) / 4), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        turned = self.weight.T
        return self.head((x.flatten(1) @ turned).relu() @ turned)  # type: ignore[no-any-return]  # modules are called untyped


class Squared(nn.Module):
    """Quadratic in the weight: two layers whose outputs are multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 9), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.body(x.flatten(1)).unflatten(1, (3, 3))
        return self.head((parts @ parts).sum(1))  # type: ignore[no-any-return]  # modules are called untyped


@pytest.mark.parametrize(
    "module",
    [
        twice(),
        Looped(),
        Squared(),
        nn.Sequential(nn.Flatten(), Residual(nn.Linear(16, 16), nn.SiLU()), nn.Linear(16, 3)),
        in_layers(nn.Conv2d(1, 2, 1), nn.InstanceNorm2d(2)),
    ],
)
def test_shared_multiplied_smooth_and_normalised_networks_are_not(module: nn.Module) -> None:
    c = Case(module.double().eval(), *case("linear")[1:])
    assert not piecewise_linear(Objective(*c, batch_size=3))
