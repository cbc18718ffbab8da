"""How are images blurred, stretched and rounded so that the bytes are the same in every batch and on every device?

By sums that cannot round. The weights of every filter are whole multiples of a power of two, so few that each sum of products is
exact in its floating-point type; then the order in which a BLAS, a batch or a GPU adds them up does not matter, nor whether it
fuses. What is not exact is elementwise, one operation a kernel, which IEEE 754 fixes to the last bit.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from sharpaudit.transfer import sent

WEIGHT_BITS = 22
"""Weights of one pass are multiples of 2⁻²²: pixels (8 bits) and two passes fill 52 of the 53 bits of float64."""

TILE = 32
"""Pixels a side of a tile of a band matrix; the fastest at 224 pixels, and one tile at 32."""

Edge = Literal["nearest", "reflect", "mirror"]
"""What lies beyond the border: aaa|abc, cba|abc, cb|abc."""


def to_bytes(values: Tensor) -> Tensor:
    """uint8: values on 0 … 255 cut towards zero, as the published sets are.

    The 1/1024 keeps a value that is a whole number but for rounding from falling to the next lower one.
    """
    return values.add_(1 / 1024).clamp_(0, 255).to(torch.uint8)


def to_planes(images: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """(b, c, h, w) of images (b, h, w, c)."""
    return images.permute(0, 3, 1, 2).to(dtype, memory_format=torch.contiguous_format)


def to_pixels(planes: Tensor) -> Tensor:
    """uint8 images (b, h, w, c) of planes (b, c, h, w)."""
    return to_bytes(planes).permute(0, 2, 3, 1).contiguous()


def whole(weights: np.ndarray, bits: int = WEIGHT_BITS) -> np.ndarray:
    """The weights as multiples of 2⁻ᵇⁱᵗˢ; their sum is 1 exactly, the largest one taking up what rounding left."""
    units: np.ndarray = np.rint(weights / weights.sum() * (1 << bits))
    units.flat[units.argmax()] += (1 << bits) - units.sum()
    return units / (1 << bits)


def positions(size: int, reach: int, edge: Edge) -> np.ndarray:
    """Which of `size` pixels stands at each of -reach … size + reach - 1."""
    at = np.arange(-reach, size + reach)
    if edge == "nearest":
        return at.clip(0, size - 1)
    period = 2 * size if edge == "reflect" else max(2 * size - 2, 1)
    at = at % period
    return np.minimum(at, period - at - (edge == "reflect")).clip(0, size - 1)


def pad(values: Tensor, reach: int, edge: Edge, dims: tuple[int, int] = (-2, -1)) -> Tensor:
    """The values with `reach` more on every side of `dims`."""
    for dim in dims:
        at = sent(torch.from_numpy(positions(values.shape[dim], reach, edge)), values.device)
        before, after = (values.index_select(dim, part) for part in (at[:reach], at[len(at) - reach :]))
        values = torch.cat([before, values, after], dim)
    return values


@lru_cache(maxsize=64)
def gaussian(size: int, sigma: float, edge: Edge, truncate: float, bits: int, device: torch.device) -> Tensor:
    """float64 (size, size): the matrix that blurs a column of pixels, the kernel cut at `truncate` deviations."""
    reach = int(truncate * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = whole(np.exp(-0.5 * (offsets / sigma) ** 2), bits)
    matrix = np.zeros((size, size))
    at = positions(size, reach, edge)
    for offset, weight in enumerate(kernel):
        np.add.at(matrix, (np.arange(size), at[offset : offset + size]), weight)
    return sent(torch.from_numpy(matrix), device)


def blur(planes: Tensor, sigma: float, *, edge: Edge = "nearest", truncate: float = 4.0, bits: int = WEIGHT_BITS) -> Tensor:
    """The float64 planes (b, c, h, w) under a Gaussian of `sigma` pixels, exact for whole planes below 2⁹.

    Two products with band matrices, tile by tile: the entries outside the band are zero and are left out.
    """
    reach = int(truncate * sigma + 0.5)
    flat = planes.flatten(0, 1)
    across, down = (gaussian(size, sigma, edge, truncate, bits, planes.device) for size in (planes.shape[-1], planes.shape[-2]))
    flat = torch.cat([flat[..., near] @ across[tile, near].T for tile, near in _tiles(len(across), reach)], -1)
    flat = torch.cat([torch.matmul(down[tile, near], flat[:, near]) for tile, near in _tiles(len(down), reach)], -2)
    return flat.view(planes.shape)


def _tiles(size: int, reach: int) -> list[tuple[slice, slice]]:
    """Stretches of `TILE` pixels and the pixels within `reach` of each."""
    return [(slice(at, at + TILE), slice(max(at - reach, 0), at + TILE + reach)) for at in range(0, size, TILE)]


def interpolate(values: Tensor, dim: int, at: Tensor) -> Tensor:
    """The values at fractional positions `at` along `dim`, linearly interpolated.

    A multiplication and an addition an element, never fused, so every device agrees.
    """
    low = at.floor().clamp(0, values.shape[dim] - 1)
    high = (low + 1).clamp(max=values.shape[dim] - 1)
    shape = [-1 if d == dim % values.dim() else 1 for d in range(values.dim())]
    share = (at - low).to(values.dtype).view(shape)
    first, second = (values.index_select(dim, i.long()) for i in (low, high))
    return second.sub_(first).mul_(share).add_(first)


def zoomed(size: int, zoom: float) -> np.ndarray:
    """Where in the original each of `size` pixels of its central part, enlarged `zoom` times, comes from.

    The grid of ``scipy.ndimage.zoom``: the corners of the part stay corners; surplus pixels are trimmed evenly.
    """
    part = math.ceil(size / zoom)
    full = round(part * zoom)
    start, trim = (size - part) // 2, (full - size) // 2
    return start + (np.arange(size) + trim) * ((part - 1) / max(full - 1, 1))
