"""Set-ups that are right, and set-ups sabotaged by accidents that people have; of the demo and of real networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sharpaudit.card import Preprocessing, SetupCheck
from sharpaudit.checkpoints import load
from sharpaudit.data import ImageSet, open_images, to_input
from sharpaudit.setup_check import check_setup
from tests.cases import REAL
from tests.cli.conftest import DEMO

CIFAR, MNIST = f"npz:{REAL}/data/cifar10_test1000_lossless.npz", f"mnist:{REAL}/data"
FASHION = f"npz:{REAL}/data/fashion_test10000.npz"
REAL_SETS = {
    "akamaster_resnet20-12fca82f.th": CIFAR,
    "akamaster_resnet32-d509ac18.th": CIFAR,
    "zhengjiakun_resnet20_model.th": CIFAR,
    "chelcacs_resnet20_undertrained.th": CIFAR,
    "abcrown_resnet2b_adv.pth": CIFAR,
    "convexadv_mnist_robust.pth": MNIST,
    "ccexam_mnist.pth": MNIST,
    "convexadv_fashion_robust.pth": FASHION,
}
RESNET20, RESNET32, *_ = REAL_SETS


@dataclass(frozen=True)
class SetUp:
    """A network, how images are shown to it, and the images."""

    module: nn.Module
    preprocessing: Preprocessing
    images: ImageSet

    def but(self, **changes: Any) -> SetUp:
        return replace(self, **changes)

    def normalised(self, mean: float, std: float) -> SetUp:
        channels = self.preprocessing.input_size[0]
        return self.but(preprocessing=self.preprocessing.model_copy(update={"mean": [mean] * channels, "std": [std] * channels}))

    def stored(self, change: Callable[[np.ndarray], np.ndarray]) -> SetUp:
        return self.but(images=replace(self.images, images=np.ascontiguousarray(change(self.images.images[:]))))

    def labelled(self, label_of: Callable[[np.ndarray], np.ndarray]) -> SetUp:
        return self.but(images=replace(self.images, labels=label_of(self.images.labels).astype(np.int64)))

    def first(self, n: int) -> SetUp:
        return self.but(images=self.images.limited(n))

    def checked(self) -> SetupCheck:
        return check_setup(self.module, self.preprocessing, self.images)


class Within(nn.Module):
    """A network with something before or after it."""

    def __init__(self, inner: nn.Module, before: Callable[[Tensor], Tensor], after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.before, self.after = inner, before, after

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.inner(self.before(x)))


def same(x: Tensor) -> Tensor:
    return x


def randomly_dropped(x: Tensor) -> Tensor:
    """Functional dropout as written by those who forget `training=self.training`."""
    return functional.dropout(x, 0.3)


@cache
def digits(name: str = "baseline-seed0", split: str = "digits") -> SetUp:
    model = load(DEMO / f"{name}.safetensors")
    return SetUp(model.module, model.subject.preprocessing, open_images(split))


@cache
def real(name: str = RESNET20) -> SetUp:
    model = load(REAL / "ckpt" / name)
    images = open_images(REAL_SETS[name])
    return SetUp(model.module, model.subject.preprocessing, replace(images, classes=tuple("0123456789")))


def permuted(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    order = np.random.default_rng(seed).permutation(10)
    return lambda labels: order[labels]


def swapped(a: int, b: int) -> Callable[[np.ndarray], np.ndarray]:
    order = np.arange(10)
    order[[a, b]] = b, a
    return lambda labels: order[labels]


def inverted(pixels: np.ndarray) -> np.ndarray:
    return 255 - pixels


def transposed(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(0, 2, 1, 3)


def blue_first(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., ::-1]


def with_layers(module: nn.Module, kind: type[nn.Module], change: Callable[[Any], object]) -> nn.Module:
    """A copy in which `change` was done to every layer of a kind."""
    copy = deepcopy(module)
    for layer in copy.modules():
        if isinstance(layer, kind):
            change(layer)
    return copy


def shifted(layer: Any) -> None:
    """BatchNorm statistics as of other weights."""
    layer.running_mean.add_(layer.running_var.sqrt())
    layer.running_var.mul_(0.25)


def silenced(setup: SetUp) -> nn.Module:
    """The last layer answers with its bias alone."""
    copy = deepcopy(setup.module)
    last = [layer for layer in copy.modules() if isinstance(layer, nn.Linear)][-1]
    nn.init.zeros_(last.weight)
    return copy


def untrained(setup: SetUp) -> nn.Module:
    torch.manual_seed(0)
    return with_layers(setup.module, nn.Module, lambda layer: getattr(layer, "reset_parameters", int)())


def of_bytes(setup: SetUp, order: slice = slice(None)) -> nn.Module:
    """The network as it would be had it been trained on pixels of 0 to 255, perhaps blue first and less ImageNet's mean."""
    centre = torch.tensor([0.485, 0.456, 0.406] if order.step else [0.0]).view(-1, 1, 1)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (setup.preprocessing.mean, setup.preprocessing.std))

    def normalised(x: Tensor) -> Tensor:
        pixels = x / 255 + centre
        return ((pixels.flip(1) if order.step else pixels) - mean) / std

    return Within(setup.module, normalised, same)


def sabotaged_digits() -> Iterator[tuple[str, str, SetUp]]:
    """(what was done, the check that must see it, the set-up)."""
    yield "labels permuted", "labels", digits("augmentation-seed0").labelled(permuted(1))
    yield "labels one too high", "labels", digits().labelled(lambda labels: (labels + 1) % 10)
    yield (
        "labels one too low, 100 images",
        "labels",
        digits("baseline-seed1").first(100).labelled(lambda labels: (labels - 1) % 10),
    )
    yield "two classes exchanged", "labels", digits("sam-seed0").labelled(swapped(3, 8))
    yield "labels in reverse", "labels", digits("weight_decay-seed0").labelled(lambda labels: 9 - labels)
    yield "not normalised", "normalisation", digits("augmentation-seed0").normalised(0, 1)
    yield "not normalised, 200 images", "normalisation", digits("sam-seed1").first(200).normalised(0, 1)
    yield "MNIST's mean and std", "normalisation", digits().normalised(0.1307, 0.3081)
    yield "pixels shown as 0 to 255", "normalisation", digits().normalised(0, 1 / 255)
    yield "dark on light", "pixels", digits("augmentation-seed1").stored(inverted)
    yield "rows and columns exchanged", "pixels", digits().stored(transposed)
    yield "stored in 0 to 15", "pixels", digits("baseline-seed1").stored(lambda pixels: pixels // 16)
    yield "stored in 0 to 1", "pixels", digits("augmentation_sam-seed0").stored(lambda pixels: pixels // 128)
    yield "trained on 0 to 255", "pixels", digits("sam-seed0").but(module=of_bytes(digits("sam-seed0")))
    yield "always the same answer", "predictions", digits().but(module=silenced(digits()))
    yield "untrained", "guessing", digits().but(module=untrained(digits()))
    yield "functional dropout", "repeatability", digits().but(module=Within(digits().module, same, randomly_dropped))
    dropping = nn.Sequential(digits().module, nn.Dropout(0.2)).train()
    yield "dropout in train mode", "repeatability", digits().but(module=dropping)


def sabotaged_real() -> Iterator[tuple[str, str, SetUp]]:
    mnist, fashion, resnet = real("ccexam_mnist.pth"), real("convexadv_fashion_robust.pth"), real()
    norm = nn.BatchNorm2d
    yield "MNIST, labels permuted", "labels", mnist.labelled(permuted(2))
    yield "MNIST, rows and columns exchanged", "pixels", mnist.stored(transposed)
    yield "MNIST, dark on light", "pixels", real("convexadv_mnist_robust.pth").stored(inverted)
    yield "MNIST's network on Fashion", "guessing", mnist.but(images=fashion.images)
    yield "Fashion, pixels shown as 0 to 255", "normalisation", fashion.normalised(0, 1 / 255)
    yield "CIFAR, cat and dog exchanged", "labels", resnet.labelled(swapped(3, 5))
    yield "CIFAR, not normalised", "normalisation", resnet.normalised(0, 1)
    yield "CIFAR, mean and std 0.5: seven points", "normalisation", resnet.normalised(0.5, 0.5)
    yield "CIFAR, blue first", "channel_order", real("zhengjiakun_resnet20_model.th").stored(blue_first)
    yield "CIFAR, trained on 0 to 255 blue first", "pixels", resnet.but(module=of_bytes(resnet, slice(None, None, -1)))
    reset = with_layers(resnet.module, norm, lambda layer: layer.reset_running_stats())
    yield "CIFAR, BatchNorm never updated", "batch_norm", resnet.but(module=reset)
    yield "CIFAR, BatchNorm of other weights", "batch_norm", resnet.but(module=with_layers(resnet.module, norm, shifted))
    training = with_layers(resnet.module, norm, lambda layer: layer.train())
    yield "CIFAR, BatchNorm in train mode", "repeatability", resnet.but(module=training)
    yield "CIFAR, rotated by 180 degrees", "pixels", resnet.stored(lambda pixels: pixels[:, ::-1, ::-1])


def clean_digits() -> Iterator[tuple[str, SetUp]]:
    for path in sorted(DEMO.glob("*.safetensors")):
        yield path.stem, digits(path.stem)
    yield "training images", digits(split="digits:train")
    for n in (1, 2, 5, 12, 30, 80):
        yield f"{n} images", digits("weight_decay_sam-seed1").first(n)
    whole = digits("sam-seed0")
    yield "one class", whole.but(images=whole.images.take(np.flatnonzero(whole.images.labels == 4)))
    yield "two classes", whole.but(images=whole.images.take(np.flatnonzero(np.isin(whole.images.labels, (3, 8)))))
    rare = np.flatnonzero((whole.images.labels == 0) | (np.arange(len(whole.images)) < 12))
    yield "nine in ten of one class", whole.but(images=whole.images.take(rare))


def clean_real() -> Iterator[tuple[str, SetUp]]:
    for name in REAL_SETS:
        yield name, real(name)
    yield "CIFAR, 25 images", real("chelcacs_resnet20_undertrained.th").first(25)
    yield "CIFAR, normalised as published elsewhere", real("abcrown_resnet2b_adv.pth").normalised(0.45, 0.25)


def accuracy(setup: SetUp) -> float:
    """On all images, computed apart from the check."""
    with torch.no_grad():
        logits = setup.module(to_input(torch.tensor(setup.images.images[:]), setup.preprocessing))
    return float((logits.argmax(1).numpy() == setup.images.labels).mean())
