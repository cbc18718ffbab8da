"""Weights that almost fit a network are refused, whether it is named or looked for; the refusal names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sharpaudit.checkpoints import load, zoo
from sharpaudit.errors import ArchitectureError, ExitCode

State = dict[str, torch.Tensor]
Change = Callable[[State], State]


def without(name: str) -> Change:
    return lambda state: {key: value for key, value in state.items() if key != name}


def plus(name: str, *shape: int) -> Change:
    return lambda state: {**state, name: torch.ones(shape)}


def swap(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda state: {**state, name: change(state[name])}


def renamed(change: Callable[[str], str]) -> Change:
    return lambda state: {change(key): value for key, value in state.items()}


def half(prefix: str) -> Change:
    """The prefix before every second name."""
    return lambda state: {(prefix + key if index % 2 else key): value for index, (key, value) in enumerate(state.items())}


def upto(count: int) -> Change:
    return lambda state: dict(list(state.items())[:count])


RESNET: dict[str, tuple[Change, str]] = {
    "one weight missing": (without("layer2.1.conv1.weight"), "1 missing (layer2.1.conv1.weight)"),
    "one bias missing": (without("linear.bias"), "1 missing (linear.bias)"),
    "one running mean missing": (without("bn1.running_mean"), "1 missing (bn1.running_mean)"),
    "one of many counters missing": (without("bn1.num_batches_tracked"), "1 missing (bn1.num_batches_tracked)"),
    "a whole block missing": (lambda s: {k: v for k, v in s.items() if "layer3.2" not in k}, "12 missing (layer3.2.conv1.weight"),
    "cut in the middle": (upto(60), "missing"),
    "one more tensor": (plus("layer4.0.conv1.weight", 64, 64, 3, 3), "1 unexpected (layer4.0.conv1.weight)"),
    "one more bias": (plus("conv1.bias", 16), "1 unexpected (conv1.bias)"),
    "one scalar more": (plus("total_ops", 1), "1 unexpected (total_ops)"),
    "the head transposed, so that 64 classes are read": (
        swap("linear.weight", lambda v: v.t().contiguous()),
        "linear.weight [64, 10] instead of [64, 64]",
    ),
    "channels last as a shape": (
        swap("layer2.0.conv1.weight", lambda v: v.permute(0, 2, 3, 1).contiguous()),
        "layer2.0.conv1.weight [32, 3, 3, 16] instead of [32, 16, 3, 3]",
    ),
    "head and its bias of different sizes": (swap("linear.bias", lambda v: v[:9]), "linear.bias [9] instead of [10]"),
    "a flattened kernel": (swap("layer1.0.conv1.weight", lambda v: v.flatten(1)), "layer1.0.conv1.weight [16, 144]"),
    "a kernel of 1x1": (swap("layer1.0.conv1.weight", lambda v: v[:, :, :1, :1]), "layer1.0.conv1.weight [16, 16, 1, 1]"),
    "a running mean of the wrong length": (swap("bn1.running_mean", lambda v: v[:15]), "bn1.running_mean [15] instead of [16]"),
    "a running variance with an axis more": (swap("bn1.running_var", lambda v: v[None]), "bn1.running_var [1, 16]"),
    "a counter for every channel": (
        swap("bn1.num_batches_tracked", lambda v: torch.ones(16, dtype=torch.int64)),
        "bn1.num_batches_tracked [16] instead of []",
    ),
    "an input channel less in one layer": (
        swap("layer2.0.conv1.weight", lambda v: v[:, :15]),
        "layer2.0.conv1.weight [32, 15, 3, 3]",
    ),
    "one wrong letter": (
        renamed(lambda k: k.replace("layer3.1.bn2.bias", "layer3.1.bn2.bais")),
        "layer3.1.bn2.bais resembles layer3.1.bn2.bias",
    ),
    "one capital letter": (renamed(lambda k: k.replace("linear.w", "Linear.w")), "Linear.weight resembles linear.weight"),
    "half the prefix": (half("module."), "fit under 'module.'"),
    "half of a foreign prefix": (half("backbone."), "fit under 'backbone.'"),
    "mixed prefixes": (
        lambda s: {(f"model.{k}" if "layer" in k else f"net.{k}"): v for k, v in s.items()},
        "fit under 'model.'",
    ),
    "separators of another library": (renamed(lambda k: k.replace(".", "/")), "0 of 116 names match"),
    "a space after a name": (renamed(lambda k: k + " " * (k == "linear.bias")), "1 missing (linear.bias)"),
}
"""The network fits except for this; and words of the refusal where it is named. A ResNet-20 has 116 tensors with its counters."""

OTHER_NAMES: dict[str, Change] = {
    "another name for the head": renamed(lambda k: k.replace("linear.", "fc.")),
    "one layer counted from one": renamed(lambda k: k.replace("layer3.2", "layer3.3")),
    "a prefix with another separator": renamed(lambda k: f"module/{k}"),
    "Latin and Cyrillic": renamed(lambda k: k.replace("conv1.weight", "соnv1.weight")),
}
"""The same layers in the same order under other names."""


def written(folder: Path, network: str, change: Change) -> Path:
    torch.manual_seed(0)
    state = {
        name: value + 0.5 if value.is_floating_point() else value + 9 for name, value in zoo.build(network).state_dict().items()
    }
    torch.save(change(state), folder / "weights.pt")
    return folder / "weights.pt"


def test_the_network_itself_is_accepted(tmp_path: Path) -> None:
    assert load(written(tmp_path, "resnet20", dict)).subject.architecture == "zoo:resnet20"


@pytest.mark.parametrize("name", OTHER_NAMES)
def test_other_names_are_taken_where_the_network_is_named(name: str, tmp_path: Path) -> None:
    truth = load(written(tmp_path, "resnet20", dict)).module
    path = written(tmp_path, "resnet20", OTHER_NAMES[name])
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(load(path, architecture="zoo:resnet20").module(images), truth(images))
    with pytest.raises(ArchitectureError, match="those of zoo:resnet20, the names are not"):
        load(path)


@pytest.mark.parametrize("named", [True, False], ids=["named", "looked for"])
@pytest.mark.parametrize("name", RESNET)
def test_is_refused(name: str, named: bool, tmp_path: Path) -> None:
    change, words = RESNET[name]
    path = written(tmp_path, "resnet20", change)
    with pytest.raises(ArchitectureError, match=re.escape(words) if named else None) as caught:
        load(path, architecture="zoo:resnet20" if named else None)
    assert caught.value.exit_code == ExitCode.INPUT
    assert caught.value.path == str(path)
    assert caught.value.hint
