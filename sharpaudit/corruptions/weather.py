"""What do snow, frost, fog, low sun and a splashed lens do to an image?"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from sharpaudit.corruptions.blur import trail
from sharpaudit.corruptions.filters import interpolate, to_bytes, to_pixels, to_planes, zoomed
from sharpaudit.corruptions.randomness import LEVELS, Stream, look_up
from sharpaudit.corruptions.texture import frost_sheets
from sharpaudit.transfer import sent

LUMA = (0.299, 0.587, 0.114)

FROST_SCALE: dict[int, float] = {32: 0.2, 64: 0.3, 224: 1.0}
"""How large the frosted pane is seen on images of each table."""


def grey(images: Tensor) -> Tensor:
    """float32 (b, h, w, 1): the luma of ITU-R BT.601."""
    if images.shape[-1] == 1:
        return images.float()
    red, green, blue = torch.split(images.float(), 1, dim=-1)
    return red.mul_(LUMA[0]).add_(green.mul_(LUMA[1])).add_(blue.mul_(LUMA[2]))


def snow(
    images: Tensor,
    stream: Stream,
    mean: float,
    deviation: float,
    zoom: float,
    floor: float,
    reach: int,
    sigma: float,
    kept: float,
) -> Tensor:
    """Bright specks of noise, enlarged and smeared downwards, over an image that is whitened where it is dark.

    The flakes fall twice: once as drawn and once turned by 180 degrees.
    """
    height, width = images.shape[1:3]
    flakes = stream.normal((math.ceil(height / zoom), math.ceil(width / zoom))).mul_(deviation).add_(mean)
    for dim, size in ((1, height), (2, width)):
        at = zoomed(size, zoom) - (size - math.ceil(size / zoom)) // 2
        flakes = interpolate(flakes, dim, sent(torch.from_numpy(np.rint(at * 256) / 256), images.device))
    flakes = flakes.masked_fill_(flakes < floor, 0).mul_(255).clamp_(0, 255).floor_()
    layer = trail(flakes[..., None], stream.on_host.uniform((), draw=1) * 90 - 135, reach, sigma).round_()
    clean = images.float()
    whitened = torch.maximum(clean, grey(images) * 1.5 + 127.5)
    return to_bytes(clean.mul_(kept).add_(whitened.mul_(1 - kept)).add_(layer).add_(layer.flip(1, 2)))


def frost(images: Tensor, stream: Stream, image_weight: float, frost_weight: float, scale: float) -> Tensor:
    """A weighted sum of the image and a random part of a frosted pane seen at `scale`."""
    height, width, channels = images.shape[1:]
    sheets = frost_sheets(scale, images.device)
    number, rows, columns = sheets.shape[:3]
    drawn = stream.bits((3,))
    sheet, top, left = (drawn[:, i].long() * n // LEVELS for i, n in enumerate((number, rows, columns)))
    row = (top[:, None] + torch.arange(height, device=images.device)) % rows
    column = (left[:, None] + torch.arange(width, device=images.device)) % columns
    at = (sheet[:, None, None] * rows + row[:, :, None]) * columns + column[:, None, :]
    ice = sheets.view(-1, 3).index_select(0, at.flatten()).view(-1, height, width, 3)
    ice = ice.float() if channels == 3 else grey(ice)
    return to_bytes(ice.mul_(frost_weight).add_(images * image_weight))


def fog(images: Tensor, stream: Stream, thickness: float, decay: float) -> Tensor:
    """Adds a cloud and brings the sum back to the image's own range."""
    height, width = images.shape[1:3]
    cloud = plasma(stream, max(height, width), decay)[:, None, :height, :width] * (255 * thickness)
    brightest = images.flatten(1).amax(1).float()[:, None, None, None]
    return to_pixels(to_planes(images, torch.float32).add_(cloud).mul_(brightest / (brightest + 255 * thickness)))


def plasma(stream: Stream, size: int, decay: float) -> Tensor:
    """float32 (b, n, n) on 0 … 1, n the power of two from `size` on: a random height map, periodic, by the diamond-square method.

    From scale to scale the amplitude of the uniform roughness falls by decay²: the published generator multiplies it in twice.
    """
    levels = max(size - 1, 1).bit_length()
    uniform = stream.bits((4**levels - 1,)).float().add_(0.5).mul_(2 / LEVELS).sub_(1)
    heights = uniform.new_zeros(len(uniform), 1, 1)
    for level in range(levels):
        side = 1 << level
        rough = uniform[:, side**2 - 1 : 4 * side**2 - 1].view(-1, 3, side, side) * (1e4 / decay ** (2 * level))
        below = heights + heights.roll(-1, 1)
        middle = (below + below.roll(-1, 2)) / 4 + rough[:, 0]
        above = ((middle + middle.roll(1, 1)) + (heights + heights.roll(-1, 2))) / 4 + rough[:, 1]
        beside = ((middle + middle.roll(1, 2)) + (heights + heights.roll(-1, 1))) / 4 + rough[:, 2]
        even, odd = torch.stack([heights, above], 3), torch.stack([beside, middle], 3)
        heights = torch.stack([even, odd], 2).view(-1, 2 * side, 2 * side)
    heights -= heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)


def brightness(images: Tensor, _: Stream, added: float) -> Tensor:
    """Adds to the value of the HSV colour, keeping hue and saturation: every channel is scaled by new value over old."""
    return look_up(sent(_brighter(added), images.device), images.amax(-1, keepdim=True).int().mul(256).add(images))


def _brighter(added: float) -> Tensor:
    """uint8 (65536,): a channel's new level by (value, level); black becomes grey."""
    value = np.arange(256)[:, None]
    raised = np.minimum(value + 255 * added, 255)
    return to_bytes(torch.from_numpy(raised * np.where(value > 0, np.arange(256) / np.maximum(value, 1), 1)).flatten())
