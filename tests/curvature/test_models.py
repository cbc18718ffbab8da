"""Standard curvature on the networks of timm and torchvision that are known to break the usual methods, and on their peers.

The truths use plain autograd on the module as it is: finite differences of gradients (float64; the kinks of random weights are
far), and the Gauss-Newton trace as a sum over examples and classes. Attention needs its plain kernel even for a first
derivative's difference, so nothing else of ours is used.
"""

from __future__ import annotations

import copy
import importlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sharpaudit.curvature.gauss_newton.ggn_trace import ggn_trace
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.reparametrisation import rescale
from tests.cases import Case

CLASSES = 3

TIMM: dict[str, tuple[int, dict[str, Any]]] = {
    "vit_tiny_patch16_224": (32, {"img_size": 32}),
    "deit_tiny_patch16_224": (32, {"img_size": 32}),
    "mobilevit_xxs": (64, {}),
    "xcit_nano_12_p16_224": (64, {}),
    "levit_128s": (224, {}),
    "mobilenetv3_small_050": (32, {}),
    "ghostnet_050": (32, {}),
    "efficientnet_b0": (32, {}),
    "convnext_atto": (32, {}),
    "resnet18": (32, {}),
    "densenet121": (32, {}),
    "regnety_002": (32, {}),
    "repvgg_a0": (32, {}),
    "mixer_s32_224": (32, {"img_size": 32}),
    "nf_regnet_b0": (32, {}),
    "swin_tiny_patch4_window7_224": (56, {"img_size": 56}),
    "coatnet_nano_rw_224": (64, {"img_size": 64}),
    "pvt_v2_b0": (64, {}),
    "edgenext_xx_small": (64, {}),
}
TORCHVISION: dict[str, tuple[int, dict[str, Any]]] = {
    "vit": (32, {}),
    "mobilenet_v3_small": (32, {}),
    "shufflenet_v2_x0_5": (32, {}),
}
"""Images' size and the builder's arguments: as small as the network allows."""

DEFAULT = {"timm:mobilenetv3_small_050", "timm:convnext_atto", "timm:regnety_002"}
"""Small enough to run every time."""

NAMES = [f"timm:{name}" for name in TIMM] + [f"torchvision:{name}" for name in TORCHVISION]
EVERY = [pytest.param(name, marks=() if name in DEFAULT else pytest.mark.slow) for name in NAMES]


def model(name: str) -> Case:
    """The network with random weights and three outputs, two images, in float64."""
    source, _, short = name.partition(":")
    size, settings = (TIMM if source == "timm" else TORCHVISION)[short]
    torch.manual_seed(0)
    if source == "timm":
        module = importlib.import_module("timm").create_model(short, num_classes=CLASSES, **settings)
    elif short == "vit":  # the smallest that has a name has 86 million parameters
        vit = importlib.import_module("torchvision.models.vision_transformer").VisionTransformer
        module = vit(32, 16, num_layers=2, num_heads=2, hidden_dim=48, mlp_dim=96, num_classes=CLASSES)
        nn.init.normal_(module.heads.head.weight)
    else:
        module = importlib.import_module("torchvision.models").get_model(short, num_classes=CLASSES, **settings)
    with torch.no_grad():
        for p in module.parameters():
            if p.ndim == 1:  # a bias of exactly 0 behind padding puts a ReLU on its kink
                p.add_(0.05 * torch.randn(p.shape))
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)).double()
    return Case(module.double().eval(), images, torch.tensor([0, 2]))


def direction(o: Objective, seed: int) -> Tensor:
    v = torch.randn(o.num_parameters, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit: Tensor = v / v.norm()
    return unit


def gradient(c: Case, theta: Tensor) -> Tensor:
    """By plain autograd, at other parameters."""
    module = copy.deepcopy(c.module)
    for layer in module.modules():
        getattr(layer, "attention_bias_cache", {}).clear()  # LeViT's, of other parameters
    nn.utils.vector_to_parameters(theta, module.parameters())
    loss = functional.cross_entropy(module(c.inputs), c.labels)
    return flat(torch.autograd.grad(loss, list(module.parameters()), materialize_grads=True))


def flat(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors])


def plain_trace(c: Case) -> float:
    """Of G, by one backward pass for each example and class."""
    total = 0.0
    for image in c.inputs:
        logits = c.module(image[None])[0]
        p = logits.detach().softmax(0)
        for k in range(CLASSES):
            onehot = functional.one_hot(torch.tensor(k), CLASSES).to(p)
            parts = torch.autograd.grad(
                logits, list(c.module.parameters()), onehot - p, retain_graph=True, materialize_grads=True
            )
            total += (p[k] * flat(parts).square().sum()).item()
    return total / len(c.inputs)


def test_there_are_twenty_two() -> None:
    assert len(NAMES) == 22


@pytest.mark.parametrize("name", EVERY)
def test_gradient_products_and_trace(name: str) -> None:
    c = model(name)
    o = Objective(*c, batch_size=2)
    u, v = direction(o, 1), direction(o, 2)
    torch.testing.assert_close(o.gradient(), gradient(c, o.parameters), rtol=1e-6, atol=1e-9)
    step = 1e-5
    truth = (gradient(c, o.parameters + step * v) - gradient(c, o.parameters - step * v)) / (2 * step)
    hv, gv = o.hvp(v), o.ggn_product(v)
    assert (hv - truth).norm() <= 1e-5 * truth.norm()
    assert torch.dot(u, hv).item() == pytest.approx(torch.dot(v, o.hvp(u)).item(), rel=1e-6, abs=1e-10 * hv.norm().item())
    assert torch.dot(u, gv).item() == pytest.approx(torch.dot(v, o.ggn_product(u)).item(), rel=1e-6, abs=1e-10 * gv.norm().item())
    assert torch.dot(v, gv) >= 0
    assert ggn_trace(o).value == pytest.approx(plain_trace(c), rel=1e-8)


@pytest.mark.parametrize("name", EVERY)
def test_rescaling_keeps_the_logits(name: str) -> None:
    c = model(name)
    found = rescale(c.module, c.inputs, 10.0, "units")
    assert found is None or found.change < 1e-9
