"""What may have been done to the pixels before a network saw them? The usual ways, and what these images themselves suggest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sharpaudit.checkpoints.fitting import Resolved
from sharpaudit.checkpoints.plain.trial import LabelledImages, Normalisation, enough

KNOWN = {
    1: (
        Normalisation("that of MNIST", (0.1307,), (0.3081,)),
        Normalisation("that of Fashion-MNIST", (0.286,), (0.353,)),
    ),
    3: (
        Normalisation("that of CIFAR-10", (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)),
        Normalisation("that of CIFAR-10, by images", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.201)),
        Normalisation("that of ImageNet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ),
}
"""Usual ones, tried where they are near the statistics of the images."""
NEAR = 0.05
STEP, SHIFT = 1.25, 0.1
"""From a normalisation to others: a factor of the standard deviation, and what is added to the mean."""
ALIKE = 0.01
"""Normalisations that are nearer to each other than this are not told apart."""
OWN = "that of these images"
PARTS = 10
"""Of these, by which it is seen how far chance moves them."""
DEVIATIONS = 2.0
"""Standard errors that chance is allowed."""


def candidates(size: tuple[int, int, int], images: LabelledImages | None) -> list[Normalisation]:
    """What may have been done to the pixels, the likeliest first."""
    channels = size[0]
    found = [Normalisation("none", (0.0,) * channels, (1.0,) * channels)]
    if images:
        own = measured(images.sample(size, enough(size), 0)[0])
        known = [n for n in KNOWN.get(channels, ()) if _apart(n, own.mean, own.std) < NEAR]
        found += [own, *known] if all(_apart(n, own.mean, own.std) >= ALIKE for n in known) else known
    found.append(Normalisation("mean 0.5, std 0.5", (0.5,) * channels, (0.5,) * channels))
    found.append(Normalisation("pixels 0 to 255", (0.0,) * channels, (1 / 255,) * channels))
    return found


def moved(normalisation: Normalisation) -> list[Normalisation]:
    """Normalisations a step away, which somebody may have measured on other images."""
    steps = {"less contrast": (0.0, STEP), "more contrast": (0.0, 1 / STEP), "darker": (SHIFT, 1.0), "brighter": (-SHIFT, 1.0)}
    mean, std = normalisation.mean, normalisation.std
    return [
        Normalisation(name, tuple(m + shift for m in mean), tuple(s * factor for s in std), usual=False)
        for name, (shift, factor) in steps.items()
    ]


def measured(pixels: Tensor) -> Normalisation:
    """Mean and standard deviation of each channel; of all together, where chance explains how the channels differ."""
    parts = [_moments(part) for part in pixels.chunk(PARTS)]
    own = _moments(pixels)
    together = own.mean(1, keepdim=True)
    if len(parts) == PARTS and own.shape[1] > 1:
        gaps = torch.stack([part - part.mean(1, keepdim=True) for part in parts])
        error = gaps.std(0) / math.sqrt(PARTS)
        if bool(((own - together).abs() <= 2 * DEVIATIONS * error).all()):
            own = together.expand_as(own)
    mean, std = own.tolist()
    return Normalisation(OWN, tuple(round(v, 4) for v in mean), tuple(round(v, 4) for v in std))


def within_chance(pixels: Tensor, found: Normalisation) -> list[Normalisation]:
    """The measured mean and standard deviation, moved as far as chance may have moved them, either way."""
    parts = torch.stack([_moments(part) for part in pixels.chunk(PARTS)])
    error = DEVIATIONS * parts.std(0) / math.sqrt(len(parts)) if len(parts) > 1 else parts[0] * 0.1
    (mean_error, std_error), mean, std = error, torch.tensor(found.mean), torch.tensor(found.std)
    moved = [(mean + a * mean_error, std + b * std_error) for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))]
    return [Normalisation(OWN, tuple(m.tolist()), tuple(s.clamp_min(1e-3).tolist())) for m, s in moved]


def stated(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    """The normalisation that a user or a file states."""
    return Normalisation("as stated", tuple(map(float, mean)), tuple(map(float, std)))


def published(fit: Resolved) -> Normalisation:
    """The normalisation of a known network, for as many channels as these weights take."""
    defaults = fit.architecture.defaults(fit.outline)
    assert defaults, "every network of the zoo has them"
    channels = fit.settings.get("in_channels", defaults.input_size[0])
    mean, std = (
        values if len(values) == channels else (math.fsum(values) / len(values),) * channels
        for values in (defaults.mean, defaults.std)
    )
    return Normalisation(f"that of {fit.architecture.spec}", mean, std)


def _moments(pixels: Tensor) -> Tensor:
    """Mean and standard deviation of each channel, (2, channels)."""
    return torch.stack([pixels.mean((0, 2, 3)), pixels.std((0, 2, 3)).clamp_min(1e-3)])


def _apart(known: Normalisation, mean: Sequence[float], std: Sequence[float]) -> float:
    pairs = zip((*known.mean, *known.std), (*mean, *std), strict=True)
    return max(math.fabs(one - other) for one, other in pairs)
