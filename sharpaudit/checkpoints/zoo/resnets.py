"""Residual networks: of CIFAR, wide ones (Zagoruyko & Komodakis 2016), and one without normalisation for verifiers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution with padding 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)


class PadShortcut(nn.Module):
    """He et al. (2016), option A: every second pixel, zero channels on both sides; no parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.padding = (outputs - inputs) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Half the resolution, more channels."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.padding, self.padding))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, option_a: bool) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = (nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            self.downsample = PadShortcut(inputs, outputs) if option_a else nn.Sequential(*projection)

    def forward(self, x: Tensor) -> Tensor:
        """relu(f(x) + shortcut(x))."""
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        shortcut: Tensor = self.downsample(x)
        return self.relu2(out + shortcut)  # type: ignore[no-any-return]  # modules are called untyped


class CifarResNet(nn.Module):
    """ResNet-(6n+2) for 32x32 images: three stages of n blocks at 16, 32 and 64 channels, option-A shortcuts."""

    def __init__(self, depth: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        blocks = (depth - 2) // 6
        self.layer1 = _stage(16, 16, blocks, 1, option_a=True)
        self.layer2 = _stage(16, 32, blocks, 2, option_a=True)
        self.layer3 = _stage(32, 64, blocks, 2, option_a=True)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        x = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        return self.linear(x.mean((2, 3)))  # type: ignore[no-any-return]  # modules are called untyped


class ResNet18(nn.Module):
    """ResNet-18 with the CIFAR stem: a 3x3 convolution of stride 1, no max-pooling."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.layer1 = _stage(64, 64, 2, 1, option_a=False)
        self.layer2 = _stage(64, 128, 2, 2, option_a=False)
        self.layer3 = _stage(128, 256, 2, 2, option_a=False)
        self.layer4 = _stage(256, 512, 2, 2, option_a=False)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]  # modules are called untyped


def _stage(inputs: int, outputs: int, blocks: int, stride: int, *, option_a: bool) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, option_a=option_a)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1, option_a=option_a) for _ in range(blocks - 1)))


class PlainBlock(nn.Module):
    """Two 3x3 convolutions with biases, no normalisation, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride, bias=True)
        self.conv2 = conv3x3(outputs, outputs, bias=True)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()
        self.shortcut = nn.Sequential(*[nn.Conv2d(inputs, outputs, 1, stride)] * (stride != 1))

    def forward(self, x: Tensor) -> Tensor:
        """relu(f(x) + shortcut(x))."""
        out = self.conv2(self.relu1(self.conv1(x)))
        return self.relu2(out + self.shortcut(x))  # type: ignore[no-any-return]  # modules are called untyped


class ResNet2b(nn.Module):
    """A residual network without normalisation, of the size that verifiers handle: one stage of two blocks, two linear layers."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, 8, 2, bias=True)
        self.layer1 = nn.Sequential(PlainBlock(8, 16, 2), PlainBlock(16, 16, 1))
        self.linear1 = nn.Linear(16 * (image_size // 4) ** 2, 100)
        self.linear2 = nn.Linear(100, num_classes)
        self.relu1 = nn.ReLU()
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        x = self.layer1(self.relu1(self.conv1(x)))
        return self.linear2(self.relu2(self.linear1(x.flatten(1))))  # type: ignore[no-any-return]  # modules are called untyped


class WideBlock(nn.Module):
    """Pre-activation block of Zagoruyko & Komodakis (2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = conv3x3(outputs, outputs)
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """X + f(x); where the width changes, the shortcut starts after the activation."""
        activated = self.relu1(self.bn1(x))
        out = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        return (x if self.convShortcut is None else self.convShortcut(activated)) + out  # type: ignore[no-any-return]  # modules are called untyped


class WideStage(nn.Module):
    """Blocks of one width, under the name ``layer`` that checkpoints of this family use."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(
            WideBlock(inputs, outputs, stride), *(WideBlock(outputs, outputs, 1) for _ in range(blocks - 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        """All blocks in turn."""
        return self.layer(x)  # type: ignore[no-any-return]  # modules are called untyped


class WideResNet(nn.Module):
    """WRN-depth-width (Zagoruyko & Komodakis 2016)."""

    def __init__(self, depth: int, width: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = conv3x3(in_channels, 16)
        self.block1 = WideStage(16, 16 * width, blocks, 1)
        self.block2 = WideStage(16 * width, 32 * width, blocks, 2)
        self.block3 = WideStage(32 * width, 64 * width, blocks, 2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(64 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        x = self.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]  # modules are called untyped
