"""BatchNorm is folded where that changes nothing, and only there."""

import pytest
import torch
from torch import Tensor, nn

from sharpaudit.curvature.network.folding import foldable, folded
from tests.cases import case


class Shared(nn.Module):
    """The convolution's output is used again beside its BatchNorm, so folding would change the function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head((x + self.norm(x)).flatten(1))  # type: ignore[no-any-return]  # modules are called untyped


def test_folding_keeps_the_logits_and_the_gradients_of_every_parameter() -> None:
    c = case("conv-bn")
    pairs = foldable(c.module, c.inputs)
    assert len(pairs) == 2
    parameters = list(c.module.parameters())
    plain = c.module(c.inputs)
    truth = torch.autograd.grad(plain.square().sum(), parameters)
    with folded(pairs):
        logits = c.module(c.inputs)
    torch.testing.assert_close(logits, plain)
    torch.testing.assert_close(torch.autograd.grad(logits.square().sum(), parameters), truth)
    assert not any("forward" in layer.__dict__ for layer in c.module.modules())


def test_batchnorm_without_scale_and_shift() -> None:
    c = case("conv-bn")
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    pairs = foldable(module, c.inputs)
    with folded(pairs):
        logits = module(c.inputs)
    assert len(pairs) == 1
    torch.testing.assert_close(logits, module(c.inputs))


def test_an_output_that_is_used_twice_is_left_alone() -> None:
    module = Shared().double().eval()
    module.norm.running_mean = torch.ones(2).double()
    assert foldable(module, case("conv").inputs) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [0.0, 1e-9])
def test_an_output_that_hardly_any_logit_shows_is_left_alone(gain: float, dtype: torch.dtype) -> None:
    """As in a residual network whose gains start at zero, or before layers that let almost nothing through: derivatives tell."""

    class Hidden(Shared):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(gain))

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.head(1e-6 * (self.gain * x + self.norm(x)).flatten(1))  # type: ignore[no-any-return]  # modules are called untyped

    assert foldable(Hidden().to(dtype).eval(), case("conv", dtype=dtype).inputs) == []


def test_an_output_that_a_hook_changes_is_left_alone() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3)).double().eval()
    module[1].running_mean.fill_(0.3)  # type: ignore[operator]  # a buffer
    module[0].register_forward_hook(lambda _layer, _inputs, output: 2 * output)
    assert foldable(module, case("conv").inputs) == []


def test_a_convolution_that_runs_twice_is_left_alone() -> None:
    conv, norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)
    module = nn.Sequential(conv, norm, nn.ReLU(), conv, nn.Flatten(), nn.Linear(16, 3)).double().eval()
    assert foldable(module, case("conv").inputs) == []


def test_a_weight_with_more_numbers_than_its_pixels_is_left_alone() -> None:
    """17 channels of one pixel, sixteen images, against 17 × 17 weights and 17 × 15."""
    images = torch.ones(2, 1, 4, 4).double()
    for channels, count in ((17, 0), (15, 1)):
        layers = [nn.Conv2d(1, channels, 4), nn.ReLU(), nn.Conv2d(channels, 17, 1), nn.BatchNorm2d(17), nn.Flatten()]
        assert len(foldable(nn.Sequential(*layers).double().eval(), images)) == count
