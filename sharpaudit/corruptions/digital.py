"""What do low contrast, an unsteady scanner, too few pixels, a lossy codec and strong colours do to an image?"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sharpaudit.corruptions.filters import Edge, blur, positions, to_bytes, to_pixels, to_planes
from sharpaudit.corruptions.randomness import Stream, look_up
from sharpaudit.transfer import sent


def contrast(images: Tensor, _: Stream, factor: float) -> Tensor:
    """Moves every value towards its channel's mean over the image."""
    mean = images.sum((1, 2), keepdim=True, dtype=torch.int64).double() / images[0, ..., 0].numel()
    return to_bytes((images * factor).add_((mean * (1 - factor)).float()))


def saturate(images: Tensor, _: Stream, factor: float, offset: float) -> Tensor:
    """Changes the saturation of the HSV colour to factor · S + offset, keeping hue and value.

    Every channel moves away from the largest one in proportion. Grey has no hue: as in the published sets it counts as red,
    so an offset tints it; images of one channel keep their value.
    """
    if images.shape[-1] == 1:
        return images.clone()
    value, least = images.amax(-1, keepdim=True), images.amin(-1, keepdim=True)
    stretch = look_up(sent(_stretch(factor, offset), images.device), value.int().mul(256).add(least))
    changed = value.sub(images).float().mul_(stretch).neg_().add_(value)
    tinted = value.float() * (1 - min(offset, 1.0))
    changed[..., 1:] = torch.where(value == least, tinted, changed[..., 1:])
    return to_bytes(changed)


def _stretch(factor: float, offset: float) -> Tensor:
    """float32 (65536,): new saturation over old by (value, least channel); 1 where there is none."""
    value, least = np.meshgrid(np.arange(256.0), np.arange(256.0), indexing="ij")
    old = np.where(value > least, (value - least) / np.maximum(value, 1), 0)
    new = np.clip(old * factor + offset, 0, 1)
    return torch.from_numpy(np.divide(new, old, out=np.ones_like(old), where=old > 0)).float().flatten()


def pixelate(images: Tensor, _: Stream, side: float) -> Tensor:
    """Shrinks the image to the share `side` of each side by box averages and enlarges it by repetition, both in Pillow."""
    height, width = images.shape[1:3]

    def through(image: Image.Image) -> Image.Image:
        small = image.resize((int(width * side), int(height * side)), Image.Resampling.BOX)
        return small.resize((width, height), Image.Resampling.NEAREST)

    return _each(images, through)


def jpeg_compression(images: Tensor, _: Stream, quality: int) -> Tensor:
    """Through the JPEG codec and back, in Pillow."""

    def through(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=quality)
        return Image.open(file, formats=["JPEG"])

    return _each(images, through)


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """The images, each changed by Pillow, on the CPU."""
    arrays = images.squeeze(-1).cpu().numpy()
    changed = np.empty_like(arrays)
    for target, array in zip(changed, arrays, strict=True):
        target[...] = np.frombuffer(change(Image.fromarray(array)).tobytes(), np.uint8).reshape(array.shape)
    return sent(torch.from_numpy(changed).view(images.shape), images.device)


def elastic_transform(images: Tensor, stream: Stream, amplitude: float, smoothing: float, jitter: float) -> Tensor:
    """Moves three corners of a square, and every pixel by a smooth random field; lengths are in image sides."""
    height, width = images.shape[1:3]
    side = min(height, width)
    warped = _affine(to_planes(images, torch.float32), stream.on_host.uniform((3, 2), draw=0) * 2 - 1, side * jitter)
    if amplitude > 0:
        field = stream.uniform((2, height, width), draw=1) * 2 - 1
        field = blur(field, side * smoothing, edge="reflect", truncate=3, bits=16) * (side * amplitude)
        rows, columns = torch.arange(height, device=images.device)[:, None], torch.arange(width, device=images.device)
        down, right = field.unbind(1)
        warped = warp(warped, rows + down, columns + right, edge="reflect")
    return to_pixels(warped)


def _affine(planes: Tensor, moves: Tensor, reach: float) -> Tensor:
    """The planes under the affine map that carries three corners of their central square to corners + reach · moves.

    Positions are rounded to 1/32 pixel, as OpenCV's are.
    """
    height, width = planes.shape[-2:]
    middle = torch.tensor([width // 2, height // 2], dtype=torch.float64)
    corners = middle + min(height, width) // 3 * torch.tensor([[1, 1], [1, -1], [-1, -1]])
    ones = torch.ones(len(moves), 3, 1, dtype=torch.float64)
    back = torch.linalg.solve(torch.cat([corners + moves * reach, ones], 2), corners.expand(len(moves), -1, -1))
    back = sent(back, planes.device)[..., None, None]
    x, y = torch.arange(width, device=planes.device), torch.arange(height, device=planes.device)[:, None]
    column, row = (back[:, 0, i] * x + back[:, 1, i] * y + back[:, 2, i] for i in (0, 1))
    return warp(planes, row.mul_(32).round_().div_(32), column.mul_(32).round_().div_(32), edge="mirror")


def warp(planes: Tensor, row: Tensor, column: Tensor, *, edge: Edge) -> Tensor:
    """The planes at fractional (row, column), each float64 (b, h, w), bilinearly interpolated."""
    height, width = planes.shape[-2:]
    top, down = _split(row, height, edge)
    left, right = _split(column, width, edge)
    flat = planes.flatten(2)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        place = (rows * width).add_(columns).flatten(1)[:, None]
        return flat.gather(2, place.expand(flat.shape)).view(planes.shape)

    def between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        return second.sub_(first).mul_(share[:, None].to(planes.dtype)).add_(first)

    upper, lower = (between(at(rows, left[0]), at(rows, left[1]), right) for rows in top)
    return between(upper, lower, down)


def _split(at: Tensor, size: int, edge: Edge) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """The pixels before and after each position, beyond the border those of `edge`, and the share of the second."""
    table = sent(torch.from_numpy(positions(size, 4 * size, edge)), at.device)
    before = at.floor()
    place = before.long().add_(4 * size).clamp_(0, 9 * size - 2)
    return (look_up(table, place), look_up(table, place + 1)), at - before
