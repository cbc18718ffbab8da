"""Sixty ways to set a network up wrongly, each for any network; and a hundred set-ups that are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.cli.conftest import DEMO
from tests.setup_check import cases
from tests.setup_check.cases import SetUp, Within, same

Change = Callable[[SetUp], SetUp | None]
"""The same set-up made wrong; None where that cannot be done to it."""


@dataclass(frozen=True)
class Sabotage:
    name: str
    check: str
    """The check that should name it."""
    change: Change


def _normalised(mean: float | None, std: float | None) -> Change:
    """With one mean and deviation for all channels, or what was given where that is None."""

    def change(setup: SetUp) -> SetUp | None:
        old = setup.preprocessing
        new = {
            "mean": old.mean if mean is None else [mean] * len(old.mean),
            "std": old.std if std is None else [std] * len(old.std),
        }
        if np.allclose([new["mean"], new["std"]], [old.mean, old.std], atol=0.02):
            return None
        return setup.but(preprocessing=old.model_copy(update=new))

    return change


def _some(share: float, label_of: Callable[[np.ndarray], np.ndarray], where: str = "first") -> Change:
    """The labels of the first rows, or of random ones, are changed."""

    def change(setup: SetUp) -> SetUp:
        n = len(setup.images)
        rows = np.arange(n) if where == "first" else np.random.default_rng(5).permutation(n)
        chosen = rows[: int(share * n)]
        labels = setup.images.labels.copy()
        labels[chosen] = label_of(labels)[chosen]
        return setup.but(images=replace(setup.images, labels=labels))

    return change


def _ring(*classes: int) -> Callable[[np.ndarray], np.ndarray]:
    """Each of these classes gets the label of the next."""
    order = np.arange(10)
    order[list(classes)] = np.roll(classes, -1)
    return lambda labels: order[labels]


def _stored(change: Callable[[np.ndarray], np.ndarray], channels: int | None = None) -> Change:
    return lambda setup: setup.stored(change) if channels in (None, setup.images.shape[2]) else None


def _layers(setup: SetUp) -> list[str]:
    return [name for name, layer in setup.module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def _fresh(which: int | float, draw: Callable[[Any], object] = lambda layer: layer.reset_parameters()) -> Change:
    """One layer as newly initialised: by its number, or by how deep it lies."""

    def change(setup: SetUp) -> SetUp | None:
        names = _layers(setup)
        name = names[which if isinstance(which, int) else int(which * len(names))]
        copy = deepcopy(setup.module)
        layer = copy.get_submodule(name)
        if sum(p.numel() for p in layer.parameters(recurse=False)) < 256:
            return None
        with torch.random.fork_rng():
            torch.manual_seed(3)
            draw(layer)
        return setup.but(module=copy)

    return change


def _dropping(module: nn.Module) -> nn.Module:
    return nn.Sequential(module, nn.Dropout(0.2)).train()


def _normal(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    nn.init.kaiming_normal_(layer.weight)


def _xavier(layer: nn.Module) -> None:
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    nn.init.xavier_uniform_(layer.weight)


def _norms(change: Callable[[Any], object]) -> Change:
    def changed(setup: SetUp) -> SetUp | None:
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in setup.module.modules()):
            return None
        return setup.but(module=cases.with_layers(setup.module, nn.BatchNorm2d, change))

    return changed


def _around(before: Callable[[torch.Tensor], torch.Tensor], after: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda setup: setup.but(module=Within(setup.module, before, after))


def _up(labels: np.ndarray) -> np.ndarray:
    return (labels + 1) % 10


def _down(labels: np.ndarray) -> np.ndarray:
    return (labels - 1) % 10


SABOTAGES = [
    Sabotage("labels permuted", "labels", _some(1, cases.permuted(1))),
    Sabotage("labels permuted otherwise", "labels", _some(1, cases.permuted(2))),
    Sabotage("labels one too high", "labels", _some(1, _up)),
    Sabotage("labels one too low", "labels", _some(1, _down)),
    Sabotage("labels in reverse", "labels", _some(1, lambda labels: 9 - labels)),
    Sabotage("classes 3 and 5 exchanged", "labels", _some(1, cases.swapped(3, 5))),
    Sabotage("classes 0 and 8 exchanged", "labels", _some(1, cases.swapped(0, 8))),
    Sabotage("three classes in a ring", "labels", _some(1, _ring(1, 4, 7))),
    Sabotage("half of the classes one on", "labels", _some(1, _ring(0, 1, 2, 3, 4))),
    Sabotage("first half of the labels one too high", "labels", _some(0.5, _up)),
    Sabotage("first half of the labels one too low", "labels", _some(0.5, _down)),
    Sabotage("a random half of the labels one too high", "labels", _some(0.5, _up, "random")),
    Sabotage("a third of the labels one too high", "labels", _some(0.34, _up, "random")),
    Sabotage("a quarter of the labels one too low", "labels", _some(0.25, _down, "random")),
    Sabotage("half of the labels permuted", "labels", _some(0.5, _ring(3, 0, 8, 1, 9, 5, 2, 7, 4, 6), "random")),
    Sabotage("labels one row late", "labels", _some(1, lambda labels: np.roll(labels, 1))),
    Sabotage("labels one row early", "labels", _some(1, lambda labels: np.roll(labels, -1))),
    Sabotage("second half of the labels one row late", "labels", _some(0.5, lambda labels: np.roll(labels, 1))),
    Sabotage("not normalised", "normalisation", _normalised(0, 1)),
    Sabotage("mean and std 0.5", "normalisation", _normalised(0.5, 0.5)),
    Sabotage("MNIST's mean and std", "normalisation", _normalised(0.1307, 0.3081)),
    Sabotage("mean 0.45, std 0.22 of colour", "normalisation", _normalised(0.45, 0.22)),
    Sabotage("mean lost", "normalisation", _normalised(0, None)),
    Sabotage("std lost", "normalisation", _normalised(None, 1)),
    Sabotage("mean subtracted from white", "normalisation", _normalised(0.9, None)),
    Sabotage("std a quarter", "normalisation", _normalised(None, 0.06)),
    Sabotage("pixels shown as 0 to 255", "normalisation", _normalised(0, 1 / 255)),
    Sabotage("pixels shown as -128 to 127", "normalisation", _normalised(0.5, 1 / 255)),
    Sabotage("pixels divided twice", "normalisation", _normalised(0, 255)),
    Sabotage("trained on 0 to 255", "pixels", lambda setup: setup.but(module=cases.of_bytes(setup))),
    Sabotage(
        "trained on 0 to 255, blue first",
        "pixels",
        lambda s: s.but(module=cases.of_bytes(s, slice(None, None, -1))) if s.images.shape[2] == 3 else None,
    ),
    Sabotage("blue first", "channel_order", _stored(cases.blue_first, 3)),
    Sabotage("light and dark exchanged", "pixels", _stored(cases.inverted)),
    Sabotage("rows and columns exchanged", "pixels", _stored(cases.transposed)),
    Sabotage("upside down", "pixels", _stored(lambda pixels: pixels[:, ::-1])),
    Sabotage("mirrored", "pixels", _stored(lambda pixels: pixels[:, :, ::-1])),
    Sabotage("turned by 180 degrees", "pixels", _stored(lambda pixels: pixels[:, ::-1, ::-1])),
    Sabotage("turned to the left", "pixels", _stored(lambda pixels: np.rot90(pixels, 1, (1, 2)))),
    Sabotage("turned to the right", "pixels", _stored(lambda pixels: np.rot90(pixels, -1, (1, 2)))),
    Sabotage("transposed along the other diagonal", "pixels", _stored(lambda p: np.rot90(cases.transposed(p), 2, (1, 2)))),
    Sabotage("stored in 0 to 63", "pixels", _stored(lambda pixels: pixels // 4)),
    Sabotage("stored in 0 to 15", "pixels", _stored(lambda pixels: pixels // 16)),
    Sabotage("stored in 0 to 1", "pixels", _stored(lambda pixels: pixels // 128)),
    Sabotage("always the same answer", "predictions", lambda setup: setup.but(module=cases.silenced(setup))),
    Sabotage("untrained", "weights", lambda setup: setup.but(module=cases.untrained(setup))),
    Sabotage("first layer newly initialised", "weights", _fresh(0)),
    Sabotage("second layer newly initialised", "weights", _fresh(1)),
    Sabotage("middle layer newly initialised", "weights", _fresh(0.5)),
    Sabotage("middle layer newly initialised, normal", "weights", _fresh(0.5, _normal)),
    Sabotage("middle layer newly initialised, Xavier", "weights", _fresh(0.5, _xavier)),
    Sabotage("last layer newly initialised", "weights", _fresh(-1)),
    Sabotage("functional dropout", "repeatability", _around(same, cases.randomly_dropped)),
    Sabotage("noise on the input", "repeatability", _around(lambda x: x + 0.1 * torch.randn_like(x), same)),
    Sabotage("normalised over the batch", "repeatability", _around(lambda x: x - x.mean(0), same)),
    Sabotage("dropout in train mode", "repeatability", lambda s: s.but(module=_dropping(deepcopy(s.module)))),
    Sabotage("infinite logits", "repeatability", _around(same, lambda z: z / 0)),
    Sabotage("BatchNorm in train mode", "repeatability", _norms(lambda layer: layer.train())),
    Sabotage("BatchNorm never updated", "batch_norm", _norms(lambda layer: layer.reset_running_stats())),
    Sabotage("BatchNorm of other weights", "batch_norm", _norms(cases.shifted)),
    Sabotage("outputs one on", "labels", _around(same, lambda z: z.roll(1, 1))),
]


def networks() -> Iterator[tuple[str, SetUp]]:
    """Ten: of the demo, and real ones on 256 images, the deepest on 128."""
    for name in ("baseline-seed0", "augmentation-seed1", "sam-seed0", "weight_decay_sam-seed1"):
        yield name, cases.digits(name)
    for name in ("ccexam_mnist.pth", "convexadv_mnist_robust.pth", "convexadv_fashion_robust.pth"):
        yield name, spread(cases.real(name), 256)
    yield "abcrown_resnet2b_adv.pth", spread(cases.real("abcrown_resnet2b_adv.pth"), 256)
    for name in (cases.RESNET20, "chelcacs_resnet20_undertrained.th"):
        yield name, spread(cases.real(name), 128)


def spread(setup: SetUp, n: int, seed: int = 0) -> SetUp:
    """`n` random images, in the order of the data set."""
    rows = np.random.default_rng(seed).permutation(len(setup.images))[:n]
    return setup.but(images=setup.images.take(np.sort(rows)))


def clean() -> Iterator[tuple[str, SetUp]]:
    """A hundred: twenty networks on three samples of 300 images and on two small ones."""
    for path in sorted(DEMO.glob("*.safetensors")):
        yield from _samples(path.stem, cases.digits(path.stem))
    for name in cases.REAL_SETS:
        yield from _samples(name, cases.real(name))


def _samples(name: str, setup: SetUp) -> Iterator[tuple[str, SetUp]]:
    for seed, n in enumerate((300, 300, 300, 80, 30)):
        yield f"{name}, {n} images, sample {seed}", spread(setup, n, seed)


def costs_no_accuracy(wrong: SetUp, right: SetUp) -> bool:
    """Whether the accident changes accuracy by less than two points: a scale of the logits may be the network's own."""
    return cases.accuracy(wrong) > cases.accuracy(right) - 0.02
