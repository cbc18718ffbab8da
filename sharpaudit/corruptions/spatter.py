"""What do drops of water or mud on the lens do to an image?"""

from __future__ import annotations

import torch
from torch import Tensor

from sharpaudit.corruptions.filters import Edge, blur, pad, to_pixels, to_planes
from sharpaudit.corruptions.randomness import Stream
from sharpaudit.transfer import sent

WATER = (175, 238, 238)
"""Pale turquoise."""
MUD = (63, 42, 20)

LOW, HIGH = 50, 150
"""Canny's thresholds on the gradient."""
FARTHEST = 20
"""Distances to an edge are cut here, in pixels."""
UNASKED = 64
"""Steps along weak edges between two looks whether they still grow, on a device, whose every answer is waited for."""
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def spatter(
    images: Tensor, stream: Stream, mean: float, deviation: float, sigma: float, floor: float, strength: float, mud: bool
) -> Tensor:
    """Blurred noise above a threshold is liquid: light water, shaded by the distance from its edge, or opaque mud."""
    drops = stream.normal(images.shape[1:3]).mul_(deviation).add_(mean).double().mul_(65536).round_().div_(65536)
    liquid = blur(drops[:, None], sigma, bits=16)
    liquid = liquid.masked_fill_(liquid < floor, 0)
    clean = to_planes(images, torch.float32)
    colour = torch.tensor(MUD if mud else WATER, dtype=torch.float32)
    if images.shape[-1] == 1:
        colour = colour @ torch.tensor([0.299, 0.587, 0.114])
    colour = sent(colour.view(-1, 1, 1), images.device)
    if mud:
        cover = blur((liquid > floor).double(), strength).float()
        cover.masked_fill_(cover < 0.8, 0)
        mixed = clean.mul_(1 - cover).add_(colour * cover)
    else:
        depth = liquid.mul_(255).floor_().float()
        shade = depth * _relief(depth)
        mixed = clean.add_(shade / shade.amax((2, 3), keepdim=True).clamp_(min=1) * strength * colour)
    return to_pixels(mixed)


def _relief(depth: Tensor) -> Tensor:
    """float32 (b, 1, h, w) on 0 … 255: how the light falls on drops of the given depth (0 … 255)."""
    distance = _distance(_edges(depth))
    height = equalised(_box(distance).floor_())
    lit = torch.zeros_like(height)
    for weights, row in zip(EMBOSS, _windows(height), strict=True):
        for weight, neighbour in zip(weights, row, strict=True):
            lit += weight * neighbour
    return _box(lit.clamp_(0, 255)).round_()


def _windows(planes: Tensor, edge: Edge = "mirror") -> list[list[Tensor]]:
    """The nine neighbours of every pixel as [row][column]."""
    height, width = planes.shape[-2:]
    wide = pad(planes, 1, edge)
    return [[wide[..., r : r + height, c : c + width] for c in range(3)] for r in range(3)]


def _box(planes: Tensor) -> Tensor:
    (a, b, c), (d, e, f), (g, h, i) = _windows(planes)
    return (a + b + c + d + e + f + g + h + i) / 9


def _edges(depth: Tensor) -> Tensor:
    """bool: Canny's edges, with Sobel's gradients and the sum of their absolute values."""
    (a, b, c), (d, _, f), (g, h, i) = _windows(depth, "nearest")
    across, down = (c + 2 * f + i) - (a + 2 * d + g), (g + 2 * h + i) - (a + 2 * b + c)
    size = across.abs() + down.abs()
    padded = torch.nn.functional.pad(size, (1, 1, 1, 1))
    height, width = size.shape[-2:]

    def near(r: int, c: int) -> Tensor:
        return padded[..., 1 + r : 1 + r + height, 1 + c : 1 + c + width]

    flat, steep = down.abs() < across.abs() * 0.41421356, down.abs() > across.abs() * 2.41421356
    falling = (across < 0) == (down < 0)
    before = torch.where(flat, near(0, -1), torch.where(steep, near(-1, 0), torch.where(falling, near(-1, -1), near(-1, 1))))
    after = torch.where(flat, near(0, 1), torch.where(steep, near(1, 0), torch.where(falling, near(1, 1), near(1, -1))))
    crest = (size > LOW) & (size > before) & torch.where(flat | steep, size >= after, size > after)
    edges = crest & (size > HIGH)
    while True:
        before = edges
        for _ in range(1 if edges.device.type == "cpu" else UNASKED):
            edges = _dilated(edges) & crest
        if torch.equal(edges, before):
            return edges


def _dilated(mask: Tensor) -> Tensor:
    wide = torch.nn.functional.pad(mask, (1, 1, 1, 1))
    rows = wide[..., :-2, :] | wide[..., 1:-1, :] | wide[..., 2:, :]
    return rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]


def _distance(edges: Tensor) -> Tensor:
    """float32: Euclidean distance to the nearest edge in pixels, at most `FARTHEST`; along columns, then along rows."""
    squares = torch.where(edges, 0.0, float(FARTHEST**2))
    for dim in (-2, -1):
        nearest, length = squares.clone(), squares.shape[dim]
        for step in range(1, min(FARTHEST, length)):
            if squares.device.type == "cpu" and step**2 >= nearest.amax():
                break  # no pixel has farther to go; a device does the few steps more without being asked
            farther = squares + step**2
            for here, there in ((0, step), (step, 0)):
                part = nearest.narrow(dim, here, length - step)
                torch.minimum(part, farther.narrow(dim, there, length - step), out=part)
        squares = nearest
    return squares.sqrt_()


def equalised(planes: Tensor) -> Tensor:
    """The whole planes (0 … 255) with an even histogram; a constant plane stays."""
    level = planes.flatten(1).long()
    counts = torch.zeros(len(level), 256, dtype=torch.int64, device=planes.device).scatter_add_(1, level, torch.ones_like(level))
    first = counts.gather(1, level.amin(1, keepdim=True))
    rest = level.shape[1] - first
    spread = ((counts.cumsum(1) - first).double() * (255 / rest.clamp(min=1))).round_().clamp_(min=0)
    return torch.where(rest > 0, spread.gather(1, level), level).view(planes.shape).to(planes.dtype)
