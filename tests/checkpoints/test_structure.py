"""Networks of the zoo under other names: the same layers in the same order, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sharpaudit.checkpoints import load, zoo
from sharpaudit.errors import ArchitectureError
from sharpaudit.prepare import prepare
from sharpaudit.request import Request

NAMES = ("resnet20", "resnet18", "vgg11_bn", "resnet2b", "vit_small")


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return zoo.build(name).eval()


def renamed(module: nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Its state dict as somebody else would call it: other words, other numbers, something around it."""
    draw, state = random.Random(seed), module.state_dict()
    owners = list(dict.fromkeys(name.rpartition(".")[0] for name in state))
    manner = draw.choice(["numbers", "words", "around"])
    first, word = draw.randint(1, 9), draw.choice(["unit", "block", "m"])
    called = {
        owner: {
            "numbers": f"{first + i}",
            "words": f"{word}{i:03d}",
            "around": f"net.{word}.{owner}" if owner else f"net.{word}",
        }[manner]
        for i, owner in enumerate(owners)
    }
    return {f"{called[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(("seed", "name"), list(enumerate(NAMES)))
def test_a_renamed_network_is_built_as_it_was(seed: int, name: str, tmp_path: Path) -> None:
    truth = built(name)
    torch.save(renamed(truth, seed), tmp_path / "net.pt")
    model = load(tmp_path / "net.pt", architecture=f"zoo:{name}")
    images = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model.module(images), truth(images), atol=1e-4)


def test_without_images_it_is_asked_for_by_name(tmp_path: Path) -> None:
    save_file({f"p.{name}": tensor for name, tensor in built("resnet20").state_dict().items()}, tmp_path / "same.safetensors")
    assert load(tmp_path / "same.safetensors").subject.architecture_origin == "fingerprint"
    torch.save(renamed(built("resnet20"), 2), tmp_path / "net.pt")
    with pytest.raises(ArchitectureError, match="order and shapes of the layers are those of zoo:resnet20") as caught:
        load(tmp_path / "net.pt")
    assert caught.value.hint and "--arch zoo:resnet20 takes them" in caught.value.hint


def test_images_that_it_cannot_answer_refuse_it(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", images=draw.integers(0, 256, (100, 32, 32, 3), np.uint8), labels=draw.integers(0, 10, 100))
    torch.save(renamed(built("resnet20"), 2), tmp_path / "net.pt")
    with pytest.raises(ArchitectureError, match=r"of 100 labelled images it answers \d+ rightly"):
        prepare(Request(checkpoint=tmp_path / "net.pt", data=f"npz:{tmp_path / 'x.npz'}"))


@pytest.mark.parametrize("change", ["two layers change places", "a layer is missing", "a width differs"])
def test_other_layers_are_not_taken_for_it(change: str, tmp_path: Path) -> None:
    state = renamed(built("resnet20"), 2)
    names = list(state)
    wide = [name for name in names if state[name].shape == (32, 32, 3, 3)]
    if change == "two layers change places":
        state[wide[0]], state[names[0]] = state[names[0]], state[wide[0]]
    if change == "a layer is missing":
        names.remove(wide[0])
    if change == "a width differs":
        state[wide[0]] = torch.ones(33, 32, 3, 3)
    torch.save({name: state[name] for name in names}, tmp_path / "net.pt")
    with pytest.raises(ArchitectureError):
        load(tmp_path / "net.pt", architecture="zoo:resnet20")
