"""What does the network see of a stored image? Pixels in, normalised tensor out, the same for every probe."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sharpaudit.card import Preprocessing
from sharpaudit.data.geometry import center_crop, resized_sides
from sharpaudit.errors import DataError
from sharpaudit.transfer import sent

LUMINANCE = (0.2989, 0.587, 0.114)
"""ITU-R 601 weights of red, green and blue, rounded as in torchvision."""
RESIZED_AT_ONCE = 1 << 24
"""Pixel values of stored images that are resized together."""


def to_input(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The network's input for stored images: channels adapted, resized if need be, scaled to [0, 1], normalised.

    One channel becomes three by repetition, three become one by luminance; a fourth (alpha) is dropped for both. Images that
    already have the input size are never resampled; others are resized with antialiasing so that the centre crop is `crop_pct`
    of them, and rounded to 8 bits, as torchvision does with stored images.

    Args:
        images: 8-bit pixels (b, h, w, c) on any device.
        preprocessing: mean, std, input size and interpolation of the checkpoint.

    Returns:
        float32 (b, channels, height, width) on the same device.
    """
    channels, height, width = preprocessing.input_size
    if images.shape[1:3] == (height, width):
        pixels = _with_channels(images.permute(0, 3, 1, 2).to(torch.float32), channels)
    else:  # a few at a time: stored images can be much larger than the input, and take four times as much as float32
        few = max(1, RESIZED_AT_ONCE // images[0].numel())
        pixels = torch.cat([_resized(images[at : at + few], preprocessing) for at in range(0, len(images), few)])
    mean, std = (sent(torch.tensor(values).view(-1, 1, 1), pixels.device) for values in (preprocessing.mean, preprocessing.std))
    return pixels.div(255).sub_(mean).div_(std).contiguous()


def _with_channels(pixels: Tensor, channels: int) -> Tensor:
    present = pixels.shape[1]
    if present == channels:
        return pixels
    if (present, channels) == (1, 3):
        return pixels.expand(-1, 3, -1, -1)
    if (present, channels) == (3, 1):
        weights = sent(torch.tensor(LUMINANCE).view(3, 1, 1), pixels.device)
        return (pixels * weights).sum(1, keepdim=True).floor()
    if present == 4 and channels in (1, 3):
        return _with_channels(pixels[:, :3], channels)
    raise DataError(
        f"the images have {present} channels, the network takes {channels}", hint="only 1, 3 and RGBA become 1 or 3 channels"
    )


def _resized(images: Tensor, preprocessing: Preprocessing) -> Tensor:
    channels, *target = preprocessing.input_size
    pixels = _with_channels(images.permute(0, 3, 1, 2).to(torch.float32), channels)
    sides = resized_sides((pixels.shape[2], pixels.shape[3]), (target[0], target[1]), preprocessing.crop_pct)
    mode = preprocessing.interpolation
    if mode == "nearest":
        pixels = functional.interpolate(pixels, sides, mode=mode)
    else:
        pixels = functional.interpolate(pixels, sides, mode=mode, antialias=True, align_corners=False).round_().clamp_(0, 255)
    top, left = center_crop(sides, (target[0], target[1]))
    return pixels[:, :, top : top + target[0], left : left + target[1]]
