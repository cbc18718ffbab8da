"""What a layer remembers of its weights is forgotten before other weights come."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.reparametrisation import rescale
from tests import oracles
from tests.cases import case


class Remembering(nn.Module):
    """A classifier that doubles its weight once and keeps the result, as LeViT keeps its indexed biases."""

    def __init__(self, remember: bool) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 5), nn.Linear(5, 3)
        self.remember = remember
        self.cache: dict[str, Tensor] = {}
        self.names = {"not": "a tensor"}

    def forward(self, x: Tensor) -> Tensor:
        twice = self.cache.get("twice", 2 * self.body.weight)
        if self.remember:
            self.cache["twice"] = twice
        return self.head(nn.functional.linear(x.flatten(1), twice, self.body.bias).relu())  # type: ignore[no-any-return]  # modules are called untyped


def test_products_and_perturbed_losses_are_those_of_a_network_without_a_memory() -> None:
    c = case("linear")
    torch.manual_seed(0)
    module = Remembering(True).double()
    plain = Remembering(False).double()
    plain.load_state_dict(module.state_dict())
    module(c.inputs)
    o, truth = (Objective(m, c.inputs, c.labels, batch_size=3) for m in (module, plain))
    v = torch.randn(o.num_parameters, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(o.hvp(v), oracles.dense_hessian(plain, c.inputs, c.labels) @ v)
    torch.testing.assert_close(o.gradient(), truth.gradient())
    with o.perturbed(v), truth.perturbed(v):
        assert o.loss() == truth.loss()
    assert module.names == {"not": "a tensor"}


def test_of_such_a_network_nothing_is_rescaled_that_is_no_parameter() -> None:
    c = case("linear")
    assert rescale(Remembering(True).double(), c.inputs, 10.0) is None
