"""The last linear layer is found by what it computes, not by its name."""

import pytest
import torch
from torch import Tensor, nn

from sharpaudit.curvature.network.head import last_linear
from tests.cases import Unused, case


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))  # type: ignore[no-any-return]  # modules are called untyped


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return 10 * self.layer(x)  # type: ignore[no-any-return]  # modules are called untyped


def test_found_in_the_middle_of_the_module_list() -> None:
    module = Unused()
    assert last_linear(module, torch.ones(1, 1, 4, 4)) is module.head


def test_found_behind_an_inactive_dropout() -> None:
    head = nn.Linear(3, 2)
    assert last_linear(nn.Sequential(nn.Linear(3, 3), head, nn.Dropout(0.5)).eval(), torch.ones(1, 3)) is head


def test_found_after_attention() -> None:
    c = case("attention")
    assert last_linear(c.module, c.inputs[:1]) is c.module[-1]  # type: ignore[index]  # a Sequential


@pytest.mark.parametrize("module", [Twice(), Scaled(), nn.Sequential(nn.Linear(3, 3), nn.ReLU()), nn.Identity()])
def test_none_where_the_network_ends_otherwise(module: nn.Module) -> None:
    assert last_linear(module, torch.ones(1, 3)) is None


def test_hooks_are_removed() -> None:
    module = Unused()
    last_linear(module, torch.ones(1, 1, 4, 4))
    assert not module.head._forward_hooks
