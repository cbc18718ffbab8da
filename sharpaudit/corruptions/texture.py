"""What does a frosted pane look like? No photograph is shipped: five panes are computed once, from fixed random numbers.

Each pane is a heap of crystals in a periodic square, opaque strokes that lie over one another, on a cloud of uneven ice:

    needles   straight, tapering, lit from one side (twice: they are the commonest in the photographs of ImageNet-C)
    ferns     a stem with side branches at 60 degrees, which is the angle water ice grows at
    rime      short grains in every direction
    glaze     few crystals, mostly cloud

Colours, contrast and the fall of correlation with distance were set to those of the five photographs that the published
generator uses (mean grey 131 to 206, deviation 18 to 43, correlation 0.85 at one pixel and 0.5 at sixteen).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sharpaudit.corruptions.randomness import Stream, stream
from sharpaudit.transfer import sent

SIDE = 480
"""Pixels a side of a pane at full scale."""


@dataclass(frozen=True)
class Pane:
    """What one pane is made of."""

    colour: tuple[float, float, float]
    deviation: float
    """Of the grey level, 0 … 255."""
    cloud: float
    """Share of the variance that is cloud."""
    sprays: int
    """Points from which crystals grow."""
    crystals: int
    """Stems of a spray."""
    length: tuple[float, float]
    """Shortest and longest stem, pixels."""
    width: float
    """Of a stem at its root, pixels."""
    fan: float
    """How far the stems of a spray differ in direction, radians."""
    branches: int = 0
    """Pairs of side branches of a stem; 0 makes needles."""
    tint: float = 0.0
    """How far the cloud's thick parts turn from the pane's colour to grey."""


PANES = (
    Pane((74, 150, 168), 18, cloud=0.65, sprays=500, crystals=3, length=(8, 50), width=2.5, fan=0.5, tint=0.4),
    Pane((202, 206, 214), 22, cloud=0.4, sprays=420, crystals=7, length=(20, 110), width=7, fan=0.8),
    Pane((199, 204, 214), 22, cloud=0.4, sprays=300, crystals=9, length=(30, 150), width=9, fan=0.5),
    Pane((138, 153, 165), 29, cloud=0.4, sprays=2600, crystals=3, length=(3, 30), width=4, fan=3.2),
    Pane((112, 123, 135), 43, cloud=0.45, sprays=70, crystals=5, length=(25, 120), width=2, fan=2.5, branches=16),
)


@lru_cache(maxsize=4)
def frost_sheets(scale: float, device: torch.device) -> Tensor:
    """uint8 (panes, rows, columns, 3), periodic: the panes seen at `scale`, by leaving out pixels as the generator does."""
    taken = ((np.arange(int(SIDE * scale)) + 0.5) / scale).astype(np.int64)
    return sent(torch.from_numpy(np.ascontiguousarray(_panes()[:, taken][:, :, taken])), device)


@lru_cache(maxsize=1)
def _panes() -> np.ndarray:
    """uint8 (panes, SIDE, SIDE, 3)."""
    return np.stack([_paint(pane, stream(0, torch.tensor([number]), 0)) for number, pane in enumerate(PANES)])


def _paint(pane: Pane, drawn: Stream) -> np.ndarray:
    cloud, crystals = _cloud(drawn), _crystals(pane, drawn)
    grey = pane.cloud**0.5 * cloud + (1 - pane.cloud) ** 0.5 * crystals
    grey *= pane.deviation / grey.std()
    colour = np.array(pane.colour)
    thick = (pane.tint * (0.5 + 0.5 * np.tanh(cloud)))[..., None]
    levels: np.ndarray = (colour + thick * (colour.mean() - colour) + grey[..., None]).clip(0, 255)
    return levels.astype(np.uint8)


def _cloud(drawn: Stream) -> np.ndarray:
    """(SIDE, SIDE), mean 0 and deviation 1: periodic noise whose amplitude falls as frequency to the power -1.4."""
    noise = drawn.normal((SIDE, SIDE), draw=1)[0].double().numpy()
    across, down = np.meshgrid(np.fft.rfftfreq(SIDE), np.fft.fftfreq(SIDE))
    fall = np.maximum(np.hypot(across, down), 1 / SIDE) ** -1.4
    fall[0, 0] = 0
    cloud = np.fft.irfft2(np.fft.rfft2(noise) * fall, s=(SIDE, SIDE))
    return np.asarray(cloud / cloud.std())


def _crystals(pane: Pane, drawn: Stream) -> np.ndarray:
    """(SIDE, SIDE), mean 0 and deviation 1: strokes painted one over another."""
    stems = _stems(pane, drawn)
    strokes = np.concatenate([stems, _leaves(stems, pane.branches)]) if pane.branches else stems
    canvas = np.full(SIDE * SIDE, 0.35 if pane.branches else 0.5)
    for part in np.array_split(strokes, len(strokes) // 500 + 1):
        pixels, values = _painted(*part.T, width=pane.width)
        canvas[pixels] = values
    sharp = canvas.reshape(SIDE, SIDE)
    smooth = np.mean([np.roll(sharp, shift, (0, 1)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))], axis=0)
    return np.asarray((smooth - smooth.mean()) / smooth.std())


def _stems(pane: Pane, drawn: Stream) -> np.ndarray:
    """(stems, 5): row, column, heading, length, glint; the stems of a spray share their root and, roughly, their heading."""
    spray = np.repeat(drawn.uniform((pane.sprays, 3), draw=2)[0].numpy(), pane.crystals, axis=0)
    turn, size, glint = drawn.uniform((3, len(spray)), draw=3)[0].numpy()
    heading = 2 * np.pi * spray[:, 2] + pane.fan * (2 * turn - 1)
    shortest, longest = pane.length
    return np.column_stack([SIDE * spray[:, :2], heading, shortest + (longest - shortest) * size**2, glint])


def _leaves(stems: np.ndarray, branches: int) -> np.ndarray:
    """(2 · branches · stems, 5): pairs of side branches along each stem, shorter towards its tip."""
    row, column, heading, length, glint = np.repeat(stems, 2 * branches, axis=0).T
    at = np.tile(np.repeat((np.arange(branches) + 0.5) / branches, 2), len(stems))
    side = np.tile([-1, 1], branches * len(stems))
    foot = row + at * length * np.sin(heading), column + at * length * np.cos(heading)
    return np.column_stack([*foot, heading + side * np.pi / 3, 0.5 * length * np.minimum(1 - at, 3 * at), glint])


def _painted(
    row: np.ndarray, column: np.ndarray, heading: np.ndarray, length: np.ndarray, glint: np.ndarray, *, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions and values of tapering strokes, bright on one flank and dim on the other like a ridge lit from the side."""
    count = (1.4 * length).astype(np.int64) + 2
    stroke = np.repeat(np.arange(len(count)), count)
    along = (np.arange(len(stroke)) - np.repeat(count.cumsum() - count, count)) / (count - 1)[stroke]
    across = np.linspace(-1, 1, int(1.5 * width) + 2)
    sine, cosine = np.sin(heading)[stroke], np.cos(heading)[stroke]
    offset = np.outer(width / 2 * (1 - along), across)
    reach = along * length[stroke]
    rows = np.rint((row[stroke] + reach * sine)[:, None] + offset * cosine[:, None]).astype(np.int64) % SIDE
    columns = np.rint((column[stroke] + reach * cosine)[:, None] - offset * sine[:, None]).astype(np.int64) % SIDE
    value = (0.45 + 0.4 * glint[stroke] + 0.15 * along)[:, None] + 0.35 * np.outer(np.cos(heading - 0.8)[stroke], across)
    return rows * SIDE + columns, value
