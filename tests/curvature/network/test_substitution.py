"""A network computes with other tensors, and is itself again afterwards."""

import torch
from torch import nn

from sharpaudit.curvature.network.substitution import substituted


def test_a_module_under_two_names_computes_with_the_substitute_and_gets_its_own_back() -> None:
    layer = nn.Linear(2, 2, bias=False)
    tied = nn.Linear(2, 2, bias=False)
    tied.weight = layer.weight
    module, weight, x = nn.Sequential(layer, nn.Tanh(), layer, tied), layer.weight, torch.ones(1, 2)
    other = 2 * torch.eye(2)
    with substituted(module, {id(weight): other}):
        found = module(x)
    torch.testing.assert_close(found, 4 * torch.tanh(2 * x))
    assert layer.weight is weight and tied.weight is weight


def test_buffers_too_and_after_an_error() -> None:
    module = nn.BatchNorm1d(2).eval()
    assert module.running_mean is not None
    mean = module.running_mean
    try:
        with substituted(module, {id(mean): torch.ones(2)}):
            torch.testing.assert_close(module(torch.ones(1, 2)), torch.zeros(1, 2))
            raise RuntimeError
    except RuntimeError:
        assert module.running_mean is mean
