"""Small image networks in shapes that no zoo has, trained for seconds and saved as nothing but a state dict.

The outsider's side of the tests of plain networks: made with `torch.nn` alone, without any code of the package.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}
NORMALISATIONS = {"none": (0.0, 1.0), "half": (0.5, 0.5), "own": (None, None)}


@dataclass
class Case:
    """A trained network and what its trainer knows of it."""

    name: str
    """What was drawn, in words."""
    module: nn.Sequential
    pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    """Test images, (n, size, size, channels)."""
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    mean: float
    std: float
    correct: int
    nll: float
    seconds: float = 0.0

    def save(self, folder: Path) -> tuple[Path, Path]:
        """The checkpoint and the test images as files."""
        torch.save(self.module.state_dict(), folder / "weights.pt")
        np.savez(folder / "test.npz", images=self.pixels, labels=self.labels)
        return folder / "weights.pt", folder / "test.npz"


def pictures(
    size: int, channels: int, copies: int, generator: np.random.Generator
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
    """Handwritten digits, each several times: larger or smaller, shifted, tinted, on a noisy ground."""
    digits = load_digits()
    small = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images, labels = [], []
    for _ in range(copies):
        side = int(generator.integers(round(0.6 * size), size + 1))
        drawn = functional.interpolate(small, (side, side), mode="bicubic").clamp(0, 1)
        left, top = generator.integers(0, size - side + 1, 2)
        canvas = functional.pad(drawn, (int(left), size - side - int(left), int(top), size - side - int(top)))
        tint = torch.tensor(generator.uniform(0.4, 1.0, (len(small), channels, 1, 1)), dtype=torch.float32)
        ground = torch.tensor(generator.uniform(0.0, 0.3, (len(small), channels, 1, 1)), dtype=torch.float32)
        noise = torch.tensor(generator.normal(0, 0.18, (len(small), channels, size, size)), dtype=torch.float32)
        images.append((canvas * tint + ground + noise).clamp(0, 1))
        labels.append(digits.target)
    pixels = (torch.cat(images) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels, np.concatenate(labels).astype(np.int64)


def drawn(draw: random.Random, *, size: int, channels: int) -> tuple[str, nn.Sequential]:
    """A network, with how it came out in words."""
    activation = draw.choice(list(ACTIVATIONS))
    convs = draw.choice([0, 1, 2, 2, 3, 3, 4])
    norm = draw.random() < 0.35
    norm_last = norm and draw.random() < 0.3
    pool_kind = draw.choice(["max", "max", "avg"])
    bias = draw.random() < 0.85
    parts: list[nn.Module] = []
    words = [f"{size}px {channels}ch {activation}"]
    side, width = size, channels
    for _ in range(convs):
        kernel = draw.choice([3, 3, 3, 5, 5, 4, 7])
        pad = draw.choice([0, 0, 1, kernel // 2, (kernel - 1) // 2])
        stride = draw.choice([1, 1, 1, 2])
        window = draw.choice([None, None, (2, 2), (2, 2), (3, 2)])
        if kernel > side + 2 * pad:
            break
        after = (side + 2 * pad - kernel) // stride + 1
        if window and after < window[0] + 1:
            window = None
        if window is None and after > 16:
            window = (2, 2)
        out = draw.choice([8, 12, 16, 20, 24])
        parts.append(nn.Conv2d(width, out, kernel, stride, pad, bias=bias or not norm))
        if norm and not norm_last:
            parts.append(nn.BatchNorm2d(out))
        parts.append(ACTIVATIONS[activation]())
        if norm_last:
            parts.append(nn.BatchNorm2d(out))
        if window:
            parts.append((nn.MaxPool2d if pool_kind == "max" else nn.AvgPool2d)(*window))
            after = (after - window[0]) // window[1] + 1
        words.append(f"c{out}k{kernel}p{pad}s{stride}{f'{pool_kind}{window[0]}/{window[1]}' if window else ''}")
        side, width = after, out
    gap = convs > 1 and draw.random() < 0.25
    if gap:
        parts.append(nn.AdaptiveAvgPool2d(1))
        side = 1
        words.append("gap")
    parts.append(nn.Flatten())
    features = width * side * side
    for _ in range(draw.choice([0, 1, 1, 2]) if convs else draw.choice([1, 2, 3])):
        out = draw.choice([25, 32, 50, 64])
        parts += [nn.Linear(features, out), ACTIVATIONS[activation]()]
        if draw.random() < 0.3:
            parts.append(nn.Dropout(0.2))
        words.append(f"l{out}")
        features = out
    parts.append(nn.Linear(features, 10))
    words.append(f"{'norm ' * norm}{'norm-last' * norm_last}")
    return " ".join(words), named(parts, draw)


def named(parts: list[nn.Module], draw: random.Random) -> nn.Sequential:
    """The parts under numbers, under the names of tutorials, or inside something else."""
    manner = draw.choice(["numbers", "tutorial", "wrapped"])
    if manner == "numbers":
        return nn.Sequential(*parts)
    if manner == "wrapped":
        return nn.Sequential(OrderedDict(model=nn.Sequential(*parts)))
    counts: dict[str, int] = {}
    found: OrderedDict[str, nn.Module] = OrderedDict()
    short = {"Conv2d": "conv", "Linear": "fc", "BatchNorm2d": "bn"}
    for part in parts:
        kind = short.get(type(part).__name__, "step")
        counts[kind] = counts.get(kind, 0) + 1
        found[f"{kind}{counts[kind]}"] = part
    return nn.Sequential(found)


def trained(seed: int) -> Case:
    """A network that `seed` draws, trained on most of its images and asked about the rest."""
    draw = random.Random(seed)
    size, channels = draw.choice([16, 16, 20, 20, 24, 24, 28, 28, 32, 32, 40, 48, 64]), draw.choice([1, 3])
    normalisation = draw.choice(list(NORMALISATIONS))
    mean, std = NORMALISATIONS[normalisation]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        words, module = drawn(draw, size=size, channels=channels)
        return fitted(module, f"{seed}: {words} {normalisation}", size, channels, seed=seed, mean=mean, std=std)


class Function(nn.Module):
    """An activation that no list has."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Its value at each number."""
        match self.name:
            case "quick_gelu":
                return x * torch.sigmoid(1.702 * x)
            case "squareplus":
                return (x + torch.sqrt(x * x + 1)) / 2
            case "swish2":
                return x * torch.sigmoid(2 * x)
            case "bent_relu":
                return functional.relu(x) + 0.2 * torch.tanh(x)
        return torch.sin(x)


class Shortcut(nn.Conv2d):
    """A convolution whose input is added to what it gives: its weights do not show it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The sum."""
        return input + super().forward(input)


STRANGE = (
    "quick_gelu", "squareplus", "swish2", "bent_relu", "sin", "relu then tanh", "gelu then relu", "dilated",
    "a shortcut", "reflected edges", "another normalisation", "one activation missing", "inverted images", "response norm",
    "BatchNorm of another epsilon", "pools that round up", "another slope", "images in another range",
)  # fmt: skip
"""What networks outside of the hypotheses have; those that the hypotheses hold in part may be answered rightly."""


def strange(seed: int) -> Case:
    """A network that is none of those that are thought of: another activation, one here and one there, a dilation."""
    draw = random.Random(seed)
    name = STRANGE[seed % len(STRANGE)]
    size, channels, kernel = draw.choice([16, 20, 24]), draw.choice([1, 3]), draw.choice([3, 5])
    usual = draw.choice([nn.ReLU, nn.Tanh, nn.GELU, nn.ELU])
    first, second = {
        "relu then tanh": (nn.ReLU(), nn.Tanh()),
        "gelu then relu": (nn.GELU(), nn.ReLU()),
        "one activation missing": (nn.Identity(), usual()),
        "another slope": (nn.LeakyReLU(0.35), nn.LeakyReLU(0.35)),
    }.get(name, (usual(), usual()) if STRANGE.index(name) > 4 else (Function(name), Function(name)))
    mean, std = {
        "another normalisation": (draw.uniform(0.2, 0.6), draw.uniform(0.15, 0.6)),
        "inverted images": (1.0, -1.0),
        "images in another range": (0.0, 0.1),
    }.get(name, (0.5, 0.5))
    dilation = 2 if name == "dilated" else 1
    pad = dilation * (kernel // 2)
    size += 2 * (name == "pools that round up")
    pools = [nn.MaxPool2d(2, ceil_mode=name == "pools that round up") for _ in range(2)]
    side = -(-size // 4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        conv: nn.Conv2d = nn.Conv2d(12, 16, kernel, padding=pad, dilation=dilation)
        if name == "reflected edges":
            conv = nn.Conv2d(12, 16, kernel, padding=pad, padding_mode="reflect")
        if name == "a shortcut":
            conv = Shortcut(12, 12, kernel, padding=pad)
        norms = {"response norm": nn.LocalResponseNorm(5, alpha=0.1), "BatchNorm of another epsilon": nn.BatchNorm2d(12, eps=0.1)}
        between = [norms[name]] if name in norms else []
        module = nn.Sequential(
            nn.Conv2d(channels, 12, 3, padding=1), *between, first, pools[0], conv, second, pools[1],
            nn.Flatten(), nn.Linear(conv.out_channels * side**2, 32), second, nn.Linear(32, 10),
        )  # fmt: skip
        return fitted(module, f"{seed}: {name} {size}px {channels}ch k{kernel}", size, channels, seed=seed, mean=mean, std=std)


def fitted(
    module: nn.Sequential,
    name: str,
    size: int,
    channels: int,
    *,
    seed: int,
    mean: float | None,
    std: float | None,
    copies: int = 4,
    epochs: int = 4,
) -> Case:
    """The network trained on most of the pictures; mean and standard deviation are those of them where none are given."""
    pixels, labels = pictures(size, channels, copies, np.random.default_rng(seed))
    order = np.random.default_rng(seed + 1).permutation(len(labels))
    held_out, rest = order[:2000], order[2000:]
    if mean is None or std is None:
        mean, std = float(pixels[rest].mean() / 255), float(pixels[rest].std() / 255)
    images = (torch.tensor(pixels).permute(0, 3, 1, 2) / 255 - mean) / std
    targets = torch.tensor(labels)
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    steps = epochs * (len(rest) // 128 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    module.train()
    for _ in range(epochs):
        for batch in torch.split(torch.tensor(rest)[torch.randperm(len(rest))], 128):
            optimizer.zero_grad()
            torch.autograd.backward(functional.cross_entropy(module(images[batch]), targets[batch]))
            optimizer.step()
            schedule.step()
    module.eval()
    with torch.no_grad():
        logits = torch.cat([module(images[batch]) for batch in torch.split(torch.tensor(held_out), 250)])
    correct = int((logits.argmax(1) == targets[held_out]).sum())
    nll = float(functional.cross_entropy(logits.double(), targets[held_out]))
    return Case(name, module, pixels[held_out], labels[held_out], mean, std, correct, nll)
