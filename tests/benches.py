"""A small network on real digits, on a bench: enough for every probe to run in a second."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sharpaudit.card import Preprocessing, Subject
from sharpaudit.checkpoints import LoadedModel
from sharpaudit.data import open_images
from sharpaudit.request import BenchSettings
from sharpaudit.workbench import Workbench


def network(seed: int = 0) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU, linear: 10 classes on 8×8 grey images, a few hundred parameters."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 10),
    )
    return layers.eval()


def model(module: nn.Module | None = None) -> LoadedModel:
    """`module`, or the small network, as if it had been loaded from a file."""
    module = module or network()
    preprocessing = Preprocessing(mean=[0.5], std=[0.5], input_size=[1, 8, 8], origin="test")
    subject = Subject(
        file="small.safetensors",
        sha256="0" * 64,
        size_bytes=0,
        format="safetensors",
        architecture="test:small",
        architecture_origin="test",
        num_parameters=sum(p.numel() for p in module.parameters()),
        num_classes=10,
        preprocessing=preprocessing,
    )
    return LoadedModel(module, subject=subject)


def bench(module: nn.Module | None = None, *, train: bool = True, n: int = 97, **settings: Any) -> Workbench:
    """A bench over the first `n` test digits (a number that no batch size divides) and 203 training digits."""
    chosen = BenchSettings(**{"batch_size": 32, "probe_examples": 37, **settings})
    training = open_images("digits:train", limit=203) if train else None
    return Workbench(model(module), open_images("digits", limit=n), training, chosen)
