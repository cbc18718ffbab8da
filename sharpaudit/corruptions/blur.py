"""What do a wrong focus, frosted glass and a moving camera do to an image?"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sharpaudit.corruptions.filters import blur, gaussian, interpolate, pad, to_bytes, to_pixels, to_planes, whole, zoomed
from sharpaudit.corruptions.randomness import LEVELS, Stream
from sharpaudit.transfer import sent


def gaussian_blur(images: Tensor, _: Stream, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels."""
    return to_pixels(blur(to_planes(images), sigma))


def defocus_blur(images: Tensor, _: Stream, radius: float, rim: float) -> Tensor:
    """A disc of `radius` pixels whose rim is softened by a Gaussian of deviation `rim`, 3 (5 for large discs) pixels wide.

    The disc is summed row by row as differences of running sums, whatever its radius; sums of pixels are exact in float32.
    """
    reach, soft = int(radius), 1 if radius <= 8 else 2
    height, width = (size + 2 * soft for size in images.shape[1:3])
    wide = pad(to_planes(images, torch.float32), reach + soft, "mirror")
    running = torch.nn.functional.pad(wide.cumsum(-1), (1, 0))
    total = wide.new_zeros((*wide.shape[:2], height, width))
    for row in range(reach + 1):
        half = int((radius**2 - row**2) ** 0.5)
        band = running[..., reach + row :, :][..., :height, :]
        if row:
            band = band + running[..., reach - row :, :][..., :height, :]
        total += band[..., reach + half + 1 :][..., :width]
        total -= band[..., reach - half :][..., :width]
    softener = whole(np.exp(-0.5 * (np.arange(-soft, soft + 1) / rim) ** 2), bits=16)
    softened = total.double()
    for dim in (-2, -1):
        softened = _softened(softened, dim, softener)
    return to_pixels(softened.mul_(_gain(radius, rim)))


def _softened(planes: Tensor, dim: int, weights: np.ndarray) -> Tensor:
    """The part of the planes that a symmetric filter along `dim` fits into."""
    soft = len(weights) // 2
    length = planes.shape[dim] - 2 * soft
    total = planes.narrow(dim, soft, length) * float(weights[soft])
    for at in range(soft):
        total.add_(planes.narrow(dim, at, length) + planes.narrow(dim, 2 * soft - at, length), alpha=float(weights[at]))
    return total


@lru_cache(maxsize=32)
def _gain(radius: float, rim: float) -> float:
    """What the sum over the disc is multiplied by: 1 / its area, and up to 1.5% more.

    The published kernel is softened on a grid of 17 pixels, or of the diameter if that is more, with a mirror at its border. A
    disc that touches the border loses less than it gains from its mirror image, and the published images are too bright by that.
    """
    soft, reach = (1, 8) if radius <= 8 else (2, int(radius))
    at = np.arange(-reach, reach + 1)
    disc = at[:, None] ** 2 + at**2 <= radius**2
    mirror = gaussian(len(at), rim, "mirror", soft / rim, 16, torch.device("cpu")).numpy()
    return float((mirror @ disc @ mirror.T).sum() / disc.sum() / disc.sum())


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
        for _ in range(6 if reach > 1 else 0):  # a chain beyond 64 has a chance below 0.42⁶⁴; a reach of 1 looks back only
            links = links.gather(1, links)
        source = source.gather(1, links[:, height * width :])
    taken = pixels.gather(1, source[..., None].expand_as(pixels)).view(images.shape)
    return to_pixels(blur(to_planes(taken), sigma))


def trail(images: Tensor, degrees: Tensor, reach: int, sigma: float) -> Tensor:
    """float32 (b, h, w, c): whole grey levels smeared one way along each image's angle, by half a Gaussian of `sigma` pixels.

    `degrees` are on the CPU. Steps go to whole pixels, as in ImageMagick's motion blur; beyond the border the nearest pixel is
    repeated. Weights have 16 bits, so the sum is exact in float32.
    """
    steps = np.arange(2 * reach + 1)
    weights = whole(np.exp(-0.5 * (steps / sigma) ** 2), bits=16).tolist()
    angle = np.deg2rad(degrees.numpy())[:, None]
    down, right = (np.ceil(steps * move(angle) - 0.5).astype(int) + 2 * reach for move in (np.sin, np.cos))
    height, width = images.shape[1:3]
    wide = pad(images.float(), 2 * reach, "nearest", dims=(1, 2))
    total = torch.zeros_like(images, dtype=torch.float32)
    if images.device.type != "cpu":  # one step of all images at a time: an accelerator waits for the host between operations
        columns = wide.shape[2]
        flat, start = wide.flatten(1, 2), np.arange(height)[:, None] * columns + np.arange(width)
        here = sent(torch.from_numpy(start.flatten()), images.device)
        moved = sent(torch.from_numpy(down * columns + right), images.device)
        for step, weight in enumerate(weights):
            place = (moved[:, step, None] + here)[..., None].expand(-1, -1, images.shape[-1])
            total.add_(flat.gather(1, place).view(images.shape), alpha=weight)
        return total
    for image, smeared, rows, columns in zip(wide, total, down.tolist(), right.tolist(), strict=True):
        for row, column, weight in zip(rows, columns, weights, strict=True):
            smeared.add_(image[row : row + height, column : column + width], alpha=weight)
    return total


def motion_blur(images: Tensor, stream: Stream, reach: int, sigma: float) -> Tensor:
    """A trail within 45 degrees of the horizontal."""
    return to_bytes(trail(images, stream.on_host.uniform((), draw=0) * 90 - 45, reach, sigma))


def zoom_blur(images: Tensor, _: Stream, step: float, count: int) -> Tensor:
    """The mean of the image and of `count` enlargements of its centre, each `step` larger than the last, from 1 on."""
    planes = to_planes(images, torch.float32)
    total = planes.clone()
    for zoom in 1 + step * np.arange(count):
        part = planes
        for dim in (-2, -1):
            part = interpolate(part, dim, sent(_zoom_positions(planes.shape[dim], float(zoom)), planes.device))
        total += part
    return to_pixels(total.div_(count + 1))


@lru_cache(maxsize=128)
def _zoom_positions(size: int, zoom: float) -> Tensor:
    return torch.from_numpy(zoomed(size, zoom))
