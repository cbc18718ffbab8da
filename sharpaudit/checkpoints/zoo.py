"""Which networks does the literature use that neither timm nor torchvision has? Built here, by the names their checkpoints use.

Every entry says where its default preprocessing comes from. Builders take `num_classes`, `in_channels` and, where the weights
depend on it, `image_size`; the loader reads all three from the shapes in the file. ReLUs are modules and never in place, so
curvature code can hook them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
MNIST = ((0.1307,), (0.3081,))
UNIT_GREY = ((0.0,), (1.0,))
CIFAR10_STATISTICS = "statistics of the CIFAR-10 training set"


@dataclass(frozen=True)
class Entry:
    """A network of the zoo and what its authors did to the images."""

    build: Callable[..., nn.Module]
    """Takes `num_classes`, `in_channels` and perhaps `image_size` by keyword."""
    input_size: tuple[int, int, int]
    statistics: tuple[tuple[float, ...], tuple[float, ...]]
    """Mean and standard deviation per channel, on pixels in [0, 1]."""
    source: str
    """Where architecture and statistics come from."""


def build(name: str, **settings: int) -> nn.Module:
    """The network `name` with fresh weights; `settings` as its builder takes them."""
    return ENTRIES[name].build(**settings)


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


VGG_WIDTHS = {
    11: ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2),
    13: ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2),
    16: ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
    19: ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4),
}
"""Convolutions between poolings (Simonyan & Zisserman 2015, table 1, columns A, B, D, E)."""


class CifarVgg(nn.Module):
    """VGG with batch norm for 32x32 images: one linear layer on the 512 features, behind a hidden one where `hidden`."""

    def __init__(self, depth: int, *, hidden: bool = False, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for widths in VGG_WIDTHS[depth]:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.hidden = nn.Sequential(*[nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU()] * hidden)
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.classifier(self.hidden(self.features(x).mean((2, 3))))  # type: ignore[no-any-return]  # modules are called untyped


class Attention(nn.Module):
    """Multi-head self-attention written out as two products and a softmax, so that every derivative exists."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, tokens, width) to the same shape."""
        n, tokens, width = x.shape
        query, key, value = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) / (width // self.heads) ** 0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(n, tokens, width))  # type: ignore[no-any-return]  # modules are called untyped


class TransformerBlock(nn.Module):
    """Pre-norm transformer block (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Attention, then the MLP, each added."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]  # modules are called untyped


class SmallViT(nn.Module):
    """A vision transformer for small images: patch 4, width 192, depth 9, 12 heads, the sizes of Lee et al. (2021)."""

    def __init__(self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(in_channels, 192, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 192))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + (image_size // 4) ** 2, 192) * 0.02)
        self.blocks = nn.Sequential(*(TransformerBlock(192, 12, 384) for _ in range(9)))
        self.norm = nn.LayerNorm(192)
        self.head = nn.Linear(192, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes), from the class token."""
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])  # type: ignore[no-any-return]  # modules are called untyped


class FeaturesClassifier(nn.Module):
    """Convolutions under the name ``features``, flattened into ``classifier``."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.classifier(self.features(x).flatten(1))  # type: ignore[no-any-return]  # modules are called untyped


def _pooled_features(in_channels: int, width: int) -> nn.Sequential:
    """Twice: a 3x3 convolution (the second doubles the width), ReLU, max-pooling by 2."""
    first, second = conv3x3(in_channels, width, bias=True), conv3x3(width, 2 * width, bias=True)
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2))


def convnet_pooled(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> nn.Module:
    """Two convolutions of 32 and 64 channels with max-pooling, then 128 hidden units."""
    hidden = nn.Linear(64 * (image_size // 4) ** 2, 128)
    return FeaturesClassifier(_pooled_features(in_channels, 32), nn.Sequential(hidden, nn.ReLU(), nn.Linear(128, num_classes)))


def convnet_strided(num_classes: int = 10, in_channels: int = 1, image_size: int = 28) -> nn.Module:
    """Two 4x4 convolutions of stride 2, 16 and 32 channels, then 100 hidden units; numbered layers."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (image_size // 4) ** 2, 100),
        nn.ReLU(),
        nn.Linear(100, num_classes),
    )


def digits_cnn(num_classes: int = 10, in_channels: int = 1, image_size: int = 8) -> nn.Module:
    """6,090 parameters for 8x8 grey digits: two convolutions of 16 and 32 channels with max-pooling, one linear layer."""
    return FeaturesClassifier(_pooled_features(in_channels, 16), nn.Linear(32 * (image_size // 4) ** 2, num_classes))


def _cifar_resnet(depth: int) -> Entry:
    def build(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
        return CifarResNet(depth, num_classes, in_channels)

    return Entry(build, (3, 32, 32), IMAGENET, "He et al. 2016, section 4.2; statistics of akamaster/pytorch_resnet_cifar10")


def _cifar_vgg(depth: int, *, hidden: bool = False) -> Entry:
    def build(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
        return CifarVgg(depth, hidden=hidden, num_classes=num_classes, in_channels=in_channels)

    head = "hidden layer of Mason-Williams et al. 2025 (arXiv 2510.12451)" if hidden else "one linear layer"
    return Entry(build, (3, 32, 32), CIFAR10, f"Simonyan & Zisserman 2015, {head}, {CIFAR10_STATISTICS}")


def _wide_resnet(num_classes: int = 10, in_channels: int = 3) -> nn.Module:
    return WideResNet(28, 10, num_classes, in_channels)


ENTRIES = {
    **{f"resnet{depth}": _cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)},
    "resnet18": Entry(ResNet18, (3, 32, 32), CIFAR10, f"Mason-Williams et al. 2025 (arXiv 2510.12451), {CIFAR10_STATISTICS}"),
    **{f"vgg{depth}_bn": _cifar_vgg(depth) for depth in (11, 13, 16)},
    "vgg19_bn": _cifar_vgg(19, hidden=True),
    "vgg19_bn_plain": _cifar_vgg(19),
    "wrn28_10": Entry(_wide_resnet, (3, 32, 32), CIFAR10, f"Zagoruyko & Komodakis 2016, {CIFAR10_STATISTICS}"),
    "vit_small": Entry(SmallViT, (3, 32, 32), CIFAR10, f"Lee et al. 2021 (arXiv 2112.13492), {CIFAR10_STATISTICS}"),
    "resnet2b": Entry(
        ResNet2b,
        (3, 32, 32),
        ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
        "alpha-beta-CROWN, cifar10_resnet2b and its statistics",
    ),
    "convnet_strided": Entry(convnet_strided, (1, 28, 28), UNIT_GREY, "Wong & Kolter 2018, mnist model; pixels in [0, 1]"),
    "convnet_pooled": Entry(convnet_pooled, (1, 28, 28), MNIST, "the usual two-convolution MNIST network and statistics"),
    "digits_cnn": Entry(digits_cnn, (1, 8, 8), UNIT_GREY, "sharpaudit's demonstration networks; pixels in [0, 1]"),
}
"""Every network by the name that follows ``zoo:``."""
