"""Rescaled networks compute the same function, and nothing is rescaled that must not be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sharpaudit.checkpoints import zoo
from sharpaudit.curvature.reparametrisation import By, Pair, pairs, rescale, scaled
from tests import oracles
from tests.cases import Case, case

ALPHA = 10.0
both = pytest.mark.parametrize("by", ["layers", "units"])

RESCALABLE = {"mlp-relu": 1, "conv": 1, "conv-bn": 3, "grouped": 1, "residual": 2, "layernorm": 1, "attention": 2}
"""Networks and their pairs, counted by hand; no layer takes part in two."""


def raised(found: list[Pair]) -> list[str]:
    return [name for pair in found for name in pair.raised]


class Network(nn.Module):
    """Two convolutions and a head, put together as the test says."""

    def __init__(self, body: str, second: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.first, self.second, self.head = (
            nn.Conv2d(1, 4, 3, padding=1),
            second or nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(64, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        if self.body == "read twice":
            x = functional.gelu(self.second(x)) + x
        elif self.body == "weight twice":
            x = functional.gelu(self.second(functional.gelu(self.second(x))))
        elif self.body == "normalised and plain":
            conv, norm = self.second.children()
            x = conv(functional.gelu(x))
            x = norm(x) + x
        elif self.body == "padded with ones":
            x = functional.gelu(self.second(functional.pad(x, (1, 1, 1, 1), value=1.0))[:, :, 1:-1, 1:-1])
        elif self.body == "detached":
            x = functional.gelu(self.second(x)) + x.detach()
        elif self.body == "channels last":
            return self.head(x.permute(0, 2, 3, 1).flatten(1))  # type: ignore[no-any-return]  # modules are called untyped
        else:
            x = functional.gelu(self.second(x))
        return self.head(functional.gelu(x).flatten(1))  # type: ignore[no-any-return]  # modules are called untyped


def network(body: str, second: nn.Module | None = None) -> Case:
    c = case("conv")
    torch.manual_seed(0)
    return Case(Network(body, second).double().eval(), c.inputs, c.labels)


@both
@pytest.mark.parametrize("name", RESCALABLE)
def test_the_hessian_of_the_rescaled_network_is_that_of_other_units(name: str, by: By) -> None:
    """H' = D⁻¹HD⁻¹ with D read from the weights, by dense matrices of both networks."""
    c = case(name)
    found = rescale(c.module, c.inputs, ALPHA, by)
    assert found is not None and len(found.pairs) == RESCALABLE[name]
    assert found.change < 1e-13
    before, after = oracles.flat_parameters(c.module), oracles.flat_parameters(found.module)
    ratio = torch.where(before == 0, torch.ones_like(before), after / before)
    assert ratio.max().item() == pytest.approx(ALPHA)
    truth = oracles.dense_hessian(*c) / ratio[:, None] / ratio
    moved = oracles.dense_hessian(found.module, c.inputs, c.labels)
    torch.testing.assert_close(moved, truth, rtol=1e-9, atol=1e-9 * truth.abs().max().item())
    steepest = [torch.linalg.eigvalsh(h)[-1].item() for h in (oracles.dense_hessian(*c), moved)]
    assert steepest[1] > 1.5 * steepest[0], "raw curvature moves"


def test_units_have_factors_of_their_own_and_layers_one() -> None:
    c = case("conv")
    for by, factors in (("layers", [10.0] * 4), ("units", [10 ** (k / 3) for k in range(4)])):
        found = rescale(c.module, c.inputs, ALPHA, by)  # type: ignore[arg-type]  # the loop variable is a plain string
        assert found is not None
        weights = [module[0].weight for module in (c.module, found.module)]  # type: ignore[index]  # a Sequential
        torch.testing.assert_close((weights[1] / weights[0]).flatten(1)[:, 0], torch.tensor(factors).double())


@pytest.mark.parametrize("name", ["linear", "mlp-tanh", "mlp-gelu", "mlp-hardswish", "mlp-hardsigmoid", "unused"])
def test_nothing_to_rescale(name: str) -> None:
    c = case(name)
    assert rescale(c.module, c.inputs, ALPHA) is None


@both
def test_depthwise_and_grouped_convolutions(by: By) -> None:
    for groups, outputs in ((4, 4), (4, 8), (2, 4)):
        second = nn.Sequential(nn.Conv2d(4, outputs, 3, padding=1, groups=groups), nn.Conv2d(outputs, 4, 1))
        c = network("plain", second)
        found = rescale(c.module, c.inputs, ALPHA, by)
        assert found is not None and found.change < 1e-13
        assert [pair.by_unit for pair in found.pairs] == [True]
        assert raised(list(found.pairs)) == ["second.0.weight", "second.0.bias"]
        c.module.second[0].weight.requires_grad_(False)  # type: ignore[union-attr, index]  # frozen weights count too
        assert pairs(c.module, c.inputs[:1]) == list(found.pairs)


@pytest.mark.parametrize("body", ["read twice", "weight twice", "normalised and plain"])
def test_a_layer_with_two_readers_and_a_weight_that_is_used_twice_are_left_alone(body: str) -> None:
    c = network(body, nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)) if body == "normalised and plain" else None)
    assert pairs(c.module, c.inputs[:1]) == []
    assert rescale(c.module, c.inputs, ALPHA) is None


@pytest.mark.parametrize("body", ["padded with ones", "detached"])
def test_what_the_graph_promises_and_the_logits_refute_is_not_claimed(body: str) -> None:
    c = network(body)
    assert len(pairs(c.module, c.inputs[:1])) == 1
    assert rescale(c.module, c.inputs, ALPHA) is None


def test_one_false_pair_does_not_spoil_the_others() -> None:
    c = network("padded with ones")
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Conv2d(1, 1, 1), nn.Tanh(), c.module).double()
    assert len(pairs(module, c.inputs[:1])) == 2
    found = rescale(module, c.inputs, ALPHA)
    assert found is not None and raised(list(found.pairs)) == ["0.weight", "0.bias"]


def test_units_that_do_not_follow_the_flattened_order_are_rescaled_as_one() -> None:
    c = network("channels last")
    found = rescale(c.module, c.inputs, ALPHA, "units")
    assert found is not None and [pair.by_unit for pair in found.pairs] == [False]
    assert found.change < 1e-13


def test_transposed_convolutions_are_left_alone() -> None:
    c = case("conv")
    module = nn.Sequential(
        nn.ConvTranspose2d(1, 1, 3), nn.ReLU(), nn.ConvTranspose2d(1, 1, 3), nn.Flatten(), nn.Tanh(), nn.Linear(64, 3)
    )
    assert rescale(module, c.inputs, ALPHA) is None


@pytest.mark.parametrize("spoiled", [0.0, float("nan")])
def test_constant_or_undefined_logits_prove_nothing(spoiled: float) -> None:
    c = case("mlp-relu")
    with torch.no_grad():
        for p in list(c.module.parameters())[-2:]:
            p.fill_(spoiled)
    assert rescale(c.module, c.inputs, ALPHA) is None


def test_the_network_is_left_alone_and_float32_is_verified_in_float64() -> None:
    c = case("conv-bn", dtype=torch.float32)
    before = copy.deepcopy(c.module.state_dict())
    found = rescale(c.module, c.inputs, ALPHA)
    assert found is not None and found.change < 1e-13
    assert {p.dtype for p in found.module.parameters()} == {torch.float64}
    assert all(torch.equal(value, before[name]) for name, value in c.module.state_dict().items())
    assert all(p.grad is None for p in c.module.parameters())


def test_no_pair_crosses_a_residual_sum() -> None:
    module = zoo.build("resnet20").eval()
    found = pairs(module, torch.randn(1, 3, 32, 32))
    crossing = [pair for pair in found if pair.lowered is not None]
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1, 2)]
    assert {(p.raised, p.lowered) for p in crossing} == {
        ((f"{block}.bn1.weight", f"{block}.bn1.bias"), f"{block}.conv2.weight") for block in blocks
    }
    followed = {name for pair in found if pair.statistics for name in pair.raised}
    assert followed == {"conv1.weight", *(f"{block}.conv1.weight" for block in blocks)}


def test_a_transformer_trades_between_its_norms_and_the_layers_they_feed() -> None:
    """Nothing passes a sum, a softmax or a GELU; scale and shift of a LayerNorm and the linear layer behind it do trade."""
    found = pairs(zoo.build("vit_small").eval(), torch.randn(1, 3, 32, 32))
    assert found and all("norm" in name for name in raised(found))
    assert all(pair.statistics is None for pair in found)


@both
@pytest.mark.parametrize("name", ["digits_cnn", "convnet_pooled", "resnet2b", "vgg11_bn", "vit_small"])
def test_networks_of_the_zoo_keep_their_logits(name: str, by: By) -> None:
    torch.manual_seed(0)
    found = rescale(zoo.build(name).eval(), torch.randn(2, *zoo.ENTRIES[name].input_size), ALPHA, by)
    assert found is not None and found.pairs and found.change < 1e-12


@both
@pytest.mark.parametrize("name", ["mobilenetv2_050", "mobilenetv3_small_050"])
def test_mobile_networks_keep_their_logits(name: str, by: By) -> None:
    import timm

    torch.manual_seed(0)
    found = rescale(timm.create_model(name, num_classes=10).eval(), torch.randn(2, 3, 32, 32), ALPHA, by)
    assert found is not None and found.change < 1e-12


def test_scaling_what_does_not_belong_together_moves_the_logits() -> None:
    """`scaled` proves nothing by itself; `rescale` does."""
    c = case("residual")
    moved = scaled(c.module, [Pair(("1.weight", "1.bias"), "4.weight")], ALPHA, "layers")
    assert (moved(c.inputs) - c.module(c.inputs)).abs().max() > 0.1
