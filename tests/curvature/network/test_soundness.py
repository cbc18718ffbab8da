"""Networks that have no curvature are refused, each for its reason."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from sharpaudit.curvature.network.soundness import check
from sharpaudit.errors import ArchitectureError


class Forward(nn.Module):
    """A network that is the given function; it owns a counter that functions may write to."""

    count: Tensor

    def __init__(self, function: Callable[["Forward", Tensor], object]) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.function = function

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def counted(module: Forward, x: Tensor) -> Tensor:
    module.count += 1
    return x


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "train-mode BatchNorm": (nn.BatchNorm1d(3), "layer '' normalises by the statistics of the batch"),
    "BatchNorm without statistics": (
        nn.BatchNorm1d(3, track_running_stats=False).eval(),
        "normalises by the statistics of the batch",
    ),
    "dropout": (nn.Sequential(nn.Dropout(0.5)), "layer '0' drops units at random"),
    "noise": (Forward(lambda _, x: x + torch.rand(())), "two forward passes of the same images differ"),
    "mixing": (Forward(lambda _, x: x - x.mean(0)), "logits depend on the other images of its batch"),
    "counter": (Forward(counted), "a forward pass changes a buffer"),
    "in place": (Forward(lambda _, x: x.mul_(2)), "writes to the images it is given"),
    "features": (Forward(lambda _, x: x[:, :, None]), r"expected logits of shape \(4, classes\), got \(4, 3, 1\)"),
    "tuple": (Forward(lambda _, x: (x, x)), r"expected logits of shape \(4, classes\), got a tuple"),
    "overflow": (Forward(lambda _, x: x / 0), "the logits are not finite numbers"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    module, message = REFUSED[name]
    images, state = torch.arange(12.0).view(4, 3), torch.get_rng_state()
    with pytest.raises(ArchitectureError, match=message):
        check(module, images)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(images, torch.arange(12.0).view(4, 3))


def test_dropout_of_nothing_is_fine() -> None:
    check(nn.Sequential(nn.Dropout(0.0)), torch.ones(4, 3))
