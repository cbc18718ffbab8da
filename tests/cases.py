"""Small networks on which everything can be checked against dense matrices, and the real ResNet-20."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

REAL = Path(__file__).parents[2] / "shared" / "real"


class Case(NamedTuple):
    """A network in eval mode with images and labels; the last batch is ragged for the batch sizes that tests use."""

    module: nn.Module
    inputs: Tensor
    labels: Tensor


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]  # modules are called untyped


class Attention(nn.Module):
    """Two-head self-attention through the fused kernel, over patches of four pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        return functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class Unused(nn.Module):
    """A linear classifier with a parameter that takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.Parameter(torch.ones(3))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))  # type: ignore[no-any-return]  # modules are called untyped


def mlp(activation: type[nn.Module], *, bias: bool = True) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(16, 6, bias=bias),
        activation(),
        nn.Linear(6, 5, bias=bias),
        activation(),
        nn.Linear(5, 3, bias=bias),
    )


ARCHITECTURES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3)),
    "mlp-relu": lambda: mlp(nn.ReLU),
    "mlp-tanh": lambda: mlp(nn.Tanh),
    "mlp-gelu": lambda: mlp(nn.GELU),
    "mlp-hardsigmoid": lambda: mlp(nn.Hardsigmoid),
    "mlp-hardswish": lambda: mlp(nn.Hardswish),
    "conv": lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)),
    "conv-bn": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6, 3),
    ),
    "grouped": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=2, dilation=2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 8, 2, stride=2, groups=4),
        nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ),
    "residual": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), Residual(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8)), nn.Linear(8, 3)
    ),
    "layernorm": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8), nn.GELU(), Residual(nn.LayerNorm(8), nn.Linear(8, 8)), nn.Linear(8, 3)
    ),
    "attention": lambda: nn.Sequential(
        nn.Flatten(2), nn.Unflatten(2, (4, 4)), nn.Flatten(1, 2), nn.Linear(4, 6), Residual(nn.LayerNorm(6), Attention(6)),
        nn.LayerNorm(6), Mean(), nn.Linear(6, 3),
    ),
    "unused": Unused,
}  # fmt: skip


def case(name: str, *, seed: int = 0, n: int = 7, dtype: torch.dtype = torch.float64) -> Case:
    """The architecture called `name` with seeded weights, running statistics, images (n, 1, 4, 4) and labels of three classes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = ARCHITECTURES[name]()
    inputs = torch.randn(n, 1, 4, 4, generator=generator)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
        module(torch.randn(32, 1, 4, 4, generator=generator))  # gives BatchNorm statistics that are not 0 and 1
    labels = torch.randint(0, 3, (n,), generator=generator)
    return Case(module.eval().to(dtype), inputs.to(dtype), labels)


class _Block(nn.Module):
    """A basic block with the parameter-free shortcut "A": subsample by two, pad channels with zeros on both sides."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.stride, self.pad = stride, (after - before) // 2

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return functional.relu(out + shortcut)


class Resnet20(nn.Module):
    """CIFAR ResNet-20 with option-A shortcuts (He et al. 2016), in the names of the real checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*[_Block(16, 16, 1) for _ in range(3)])
        self.layer2 = nn.Sequential(_Block(16, 32, 2), _Block(32, 32, 1), _Block(32, 32, 1))
        self.layer3 = nn.Sequential(_Block(32, 64, 2), _Block(64, 64, 1), _Block(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]  # modules are called untyped


def real_resnet20(n: int) -> Case:
    """The akamaster ResNet-20 with the first `n` CIFAR-10 training images, float32; skips where the files are absent."""
    path = REAL / "ckpt" / "akamaster_resnet20-12fca82f.th"
    if not path.exists():
        pytest.skip("needs ../shared/real beside the repository")
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    module = Resnet20()
    module.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    data = np.load(REAL / "data" / "cifar10_train10000_lossless.npz")
    images = torch.from_numpy(data["images"][:n]).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    inputs = (images - mean[:, None, None]) / std[:, None, None]
    return Case(module.eval(), inputs.contiguous(), torch.from_numpy(data["labels"][:n]).long())
