"""What do a wrong focus, frosted glass and a moving camera do to an image?"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sharpaudit.corruptions.filters import blur, interpolate, pad, to_bytes, to_pixels, to_planes, whole, zoomed
from sharpaudit.corruptions.randomness import LEVELS, Stream


def gaussian_blur(images: Tensor, _: Stream, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels."""
    return to_pixels(blur(to_planes(images), sigma))


def defocus_blur(images: Tensor, _: Stream, radius: float, rim: float) -> Tensor:
    """A disc of `radius` pixels whose rim is softened by a Gaussian of deviation `rim`, 3 (5 for large discs) pixels wide.

    The disc is summed row by row as differences of running sums: one subtraction a row, whatever the radius.
    """
    soft = _softness(radius)
    reach = int(radius)
    height, width = images.shape[1:3]
    hard = pad(to_planes(images), reach + soft, "mirror")
    planes = hard
    for dim in (-2, -1):
        length = planes.shape[dim] - 2 * soft
        parts = [planes.narrow(dim, start, length) * weight for start, weight in enumerate(_softener(soft, rim))]
        planes = torch.stack(parts).sum(0)
    running = torch.nn.functional.pad(planes.cumsum(-1), (1, 0))
    total, area = torch.zeros_like(planes[..., :height, :width]), 0
    for row in range(-reach, reach + 1):
        half = int((radius**2 - row**2) ** 0.5)
        area += 2 * half + 1
        band = running[..., reach + row : reach + row + height, :]
        total += band[..., reach + half + 1 : reach + half + 1 + width] - band[..., reach - half : reach - half + width]
    for row, column, weight in _folds(radius, rim):
        total.add_(hard[..., row : row + height, column : column + width], alpha=weight)
    return to_pixels(total.div_(area))


def _softness(radius: float) -> int:
    return 1 if radius <= 8 else 2


def _softener(soft: int, rim: float) -> np.ndarray:
    return whole(np.exp(-0.5 * (np.arange(-soft, soft + 1) / rim) ** 2), bits=16)


@lru_cache(maxsize=32)
def _folds(radius: float, rim: float) -> list[tuple[int, int, float]]:
    """(row, column, weight): what the published kernel has more than the softened disc.

    It is softened on a grid of 17 pixels, or of the diameter if that is more. A disc that touches the grid's border loses what
    is smeared over it and gains its own mirror image: the published images are up to 1.5 % too bright, and so are ours.
    """
    soft, reach = _softness(radius), int(radius)
    size = 2 * max(8, reach) + 1
    at = np.arange(size) - size // 2
    disc = (at[:, None] ** 2 + at**2 <= radius**2).astype(float)
    taps = _softener(soft, rim)

    def softened(plane: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            part = np.stack([plane.take(range(i, plane.shape[axis] - 2 * soft + i), axis) for i in range(2 * soft + 1)])
            plane = np.tensordot(taps, part, 1)
        return plane

    published = np.pad(softened(np.pad(disc, soft, mode="reflect")), soft)
    more = published - softened(np.pad(disc, 2 * soft))
    origin = size // 2 - reach
    return [(int(r) - origin, int(c) - origin, float(more[r, c])) for r, c in np.argwhere(more)]


def glass_blur(images: Tensor, stream: Stream, sigma: float, reach: int, rounds: int) -> Tensor:
    """Blurs, lets every pixel take the value of a near one, and blurs again.

    The published generator walks from the last pixel to the first and means to swap each with a random neighbour, but its
    swap of two views of one array copies instead: a pixel takes its neighbour's value, which is the new one where the
    neighbour's turn has been. That is a pointer from each pixel to its source; chains are followed by doubling.
    """
    height, width = images.shape[1:3]
    pixels = to_pixels(blur(to_planes(images), sigma)).flatten(1, 2)
    source = torch.arange(height * width, device=images.device).expand(len(images), -1)
    row, column = source[:1] // width, source[:1] % width
    moves = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    for turn in range(rounds):
        drawn = stream.bits((2, height * width), draw=turn) * (2 * reach) // LEVELS - reach
        down, right = drawn.unbind(1)
        target = torch.where(moves, (row + down) * width + column + right, row * width + column)
        # Earlier in the walk means later in the picture. Pointers into the second half lead to new values, which move on.
        renewed = (target > row * width + column) & moves.expand_as(target).gather(1, target)
        old = torch.arange(height * width, device=images.device).expand_as(target)
        links = torch.cat([old, target + renewed * height * width], 1)
        for _ in range(6):
            links = links.gather(1, links)
        source = source.gather(1, links[:, height * width :])
    taken = pixels.gather(1, source[..., None].expand_as(pixels)).view(images.shape)
    return to_pixels(blur(to_planes(taken), sigma))


def trail(images: Tensor, degrees: Tensor, reach: int, sigma: float) -> Tensor:
    """float32 (b, h, w, c): whole grey levels smeared one way along each image's angle, by half a Gaussian of `sigma` pixels.

    Steps go to whole pixels, as in ImageMagick's motion blur; beyond the border the nearest pixel is repeated.
    Weights have 16 bits, so the sum is exact in float32.
    """
    steps = range(2 * reach + 1)
    weights = whole(np.exp(-0.5 * (np.array(steps) / sigma) ** 2), bits=16)
    angle = degrees.cpu().double().deg2rad()
    count, height, width, channels = images.shape
    flat = images.reshape(-1, channels).float()
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    first = torch.arange(count, device=images.device)[:, None, None] * height
    total = torch.zeros_like(flat)
    for step, weight in zip(steps, weights, strict=True):
        down = (step * angle.sin() - 0.5).ceil().long().to(images.device)
        right = (step * angle.cos() - 0.5).ceil().long().to(images.device)
        row = (rows + down[:, None]).clamp_(0, height - 1)[:, :, None]
        column = (columns + right[:, None]).clamp_(0, width - 1)[:, None, :]
        total.add_(flat.index_select(0, ((first + row) * width + column).flatten()), alpha=float(weight))
    return total.view(images.shape)


def motion_blur(images: Tensor, stream: Stream, reach: int, sigma: float) -> Tensor:
    """A trail within 45 degrees of the horizontal."""
    return to_bytes(trail(images, stream.uniform((), draw=0) * 90 - 45, reach, sigma))


def zoom_blur(images: Tensor, _: Stream, step: float, count: int) -> Tensor:
    """The mean of the image and of `count` enlargements of its centre, each `step` larger than the last, from 1 on."""
    planes = to_planes(images)
    total = planes.clone()
    for zoom in 1 + step * np.arange(count):
        part = planes
        for dim in (-2, -1):
            part = interpolate(part, dim, _zoom_positions(planes.shape[dim], float(zoom)).to(planes.device))
        total += part
    return to_pixels(total.div_(count + 1))


@lru_cache(maxsize=128)
def _zoom_positions(size: int, zoom: float) -> Tensor:
    """Positions on a grid of 2⁻¹⁶ pixels, so that the interpolation is exact."""
    return torch.from_numpy(np.rint(zoomed(size, zoom) * 65536) / 65536)
