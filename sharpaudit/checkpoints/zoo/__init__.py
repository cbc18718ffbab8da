"""Which networks does the literature use that neither timm nor torchvision has? Built here, by the names their checkpoints use.

Every entry says where its default preprocessing comes from. Builders take `num_classes`, `in_channels` and, where the weights
depend on it, `image_size`; the loader reads all three from the shapes in the file. ReLUs are modules and never in place, so
curvature code can hook them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from sharpaudit.checkpoints.zoo.convnets import convnet_pooled, convnet_strided, digits_cnn
from sharpaudit.checkpoints.zoo.resnets import CifarResNet, ResNet2b, ResNet18, WideResNet
from sharpaudit.checkpoints.zoo.vgg import CifarVgg
from sharpaudit.checkpoints.zoo.vit import SmallViT

__all__ = ["ENTRIES", "Entry", "build", "digits_cnn"]

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


def _cifar_resnet(depth: int) -> Entry:
    source = "He et al. 2016, section 4.2; statistics of akamaster/pytorch_resnet_cifar10"
    return Entry(partial(CifarResNet, depth), (3, 32, 32), IMAGENET, source)


def _cifar_vgg(depth: int, *, hidden: bool = False) -> Entry:
    head = "hidden layer of Mason-Williams et al. 2025 (arXiv 2510.12451)" if hidden else "one linear layer"
    source = f"Simonyan & Zisserman 2015, {head}, {CIFAR10_STATISTICS}"
    return Entry(partial(CifarVgg, depth, hidden=hidden), (3, 32, 32), CIFAR10, source)


ENTRIES = {
    **{f"resnet{depth}": _cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)},
    "resnet18": Entry(ResNet18, (3, 32, 32), CIFAR10, f"Mason-Williams et al. 2025 (arXiv 2510.12451), {CIFAR10_STATISTICS}"),
    **{f"vgg{depth}_bn": _cifar_vgg(depth) for depth in (11, 13, 16)},
    "vgg19_bn": _cifar_vgg(19, hidden=True),
    "vgg19_bn_plain": _cifar_vgg(19),
    "wrn28_10": Entry(partial(WideResNet, 28, 10), (3, 32, 32), CIFAR10, f"Zagoruyko & Komodakis 2016, {CIFAR10_STATISTICS}"),
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


def build(name: str, **settings: int) -> nn.Module:
    """The network `name` with fresh weights; `settings` as its builder takes them."""
    return ENTRIES[name].build(**settings)
