"""What do low contrast, an unsteady scanner, too few pixels, a lossy codec and strong colours do to an image?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sharpaudit.corruptions.filters import Edge, blur, positions, to_bytes, to_planes
from sharpaudit.corruptions.randomness import Stream, look_up


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
    stretch = look_up(_stretch(factor, offset).to(images.device), value.int().mul(256).add(least))
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
    """Paints each block of pixels in its mean, as Pillow's box filter does: across, then down, rounded each time."""
    planes = to_planes(images)
    for dim in (-1, -2):
        size = planes.shape[dim]
        small = int(size * side)
        borders = np.floor(np.arange(small + 1) * (size / small) + 0.5).astype(np.int64)
        block = torch.from_numpy(np.repeat(np.arange(small), np.diff(borders))).to(images.device)
        shape = [*planes.shape]
        shape[dim] = small
        summed = planes.new_zeros(shape).index_add_(dim, block, planes)
        width = torch.from_numpy(np.diff(borders)).to(images.device).view([-1, 1][:-dim] if dim == -2 else [-1])
        mean = summed.div_(width).add_(0.5).floor_()
        painted = torch.from_numpy(((np.arange(size) + 0.5) * (small / size)).astype(np.int64)).to(images.device)
        planes = mean.index_select(dim, painted)
    return planes.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def jpeg_compression(images: Tensor, _: Stream, quality: int) -> Tensor:
    """Through the JPEG codec and back, one image at a time."""

    def through(image: np.ndarray) -> np.ndarray:
        file = BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file)).reshape(image.shape)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        decoded = np.stack(list(pool.map(through, images.cpu().numpy())))
    return torch.from_numpy(decoded).to(images.device)


def elastic_transform(images: Tensor, stream: Stream, amplitude: float, smoothing: float, jitter: float) -> Tensor:
    """Moves three corners of a square, and every pixel by a smooth random field; lengths are in image sides."""
    height, width = images.shape[1:3]
    side = min(height, width)
    warped = _affine(to_planes(images), stream.uniform((3, 2), draw=0).cpu() * 2 - 1, side * jitter)
    if amplitude > 0:
        field = stream.uniform((2, height, width), draw=1) * 2 - 1
        field = blur(field, side * smoothing, edge="reflect", truncate=3, bits=16) * (side * amplitude)
        rows, columns = torch.arange(height, device=images.device)[:, None], torch.arange(width, device=images.device)
        down, right = field.mul_(256).round_().div_(256).unbind(1)
        warped = warp(warped, rows + down, columns + right, edge="reflect")
    return to_bytes(warped).permute(0, 2, 3, 1).contiguous()


def _affine(planes: Tensor, moves: Tensor, reach: float) -> Tensor:
    """The planes under the affine map that carries three corners of their central square to corners + reach · moves.

    Positions are rounded to 1/32 pixel, as OpenCV's are.
    """
    height, width = planes.shape[-2:]
    middle = torch.tensor([width // 2, height // 2], dtype=torch.float64)
    corners = middle + min(height, width) // 3 * torch.tensor([[1, 1], [1, -1], [-1, -1]])
    ones = torch.ones(len(moves), 3, 1, dtype=torch.float64)
    back = torch.linalg.solve(torch.cat([corners + moves * reach, ones], 2), corners.expand(len(moves), -1, -1))
    back = back.to(planes.device)[..., None, None]
    x, y = torch.arange(width, device=planes.device), torch.arange(height, device=planes.device)[:, None]
    column, row = (back[:, 0, i] * x + back[:, 1, i] * y + back[:, 2, i] for i in (0, 1))
    return warp(planes, row.mul_(32).round_().div_(32), column.mul_(32).round_().div_(32), edge="mirror")


def warp(planes: Tensor, row: Tensor, column: Tensor, *, edge: Edge) -> Tensor:
    """The float64 planes at fractional (row, column), each (b, h, w), bilinearly interpolated."""
    count, channels, height, width = planes.shape
    top, left = row.floor(), column.floor()
    flat = planes.flatten(2)

    def at(rows: Tensor, columns: Tensor) -> Tensor:
        place = _reflected(rows, height, edge) * width + _reflected(columns, width, edge)
        return flat.gather(2, place.view(count, 1, -1).expand(-1, channels, -1)).view(planes.shape)

    down, right = (row - top)[:, None], (column - left)[:, None]
    upper = at(top, left) * (1 - right) + at(top, left + 1) * right
    lower = at(top + 1, left) * (1 - right) + at(top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


def _reflected(at: Tensor, size: int, edge: Edge) -> Tensor:
    table = torch.from_numpy(positions(size, 4 * size, edge)).to(at.device)
    return look_up(table, (at.long() + 4 * size).clamp_(0, 9 * size - 1))
