"""Which paddings, strides and poolings bring images of this size to the sizes that the weights have?

Shapes fix kernels, channels and what enters the first linear layer. The rest is counted out: every way through the
convolutions that ends in the right size, the plainest first. Nothing here looks at values.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import count
from math import inf, isqrt

from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import Pair

MAX_CONVS = 16
"""Convolutions of a network whose ways are counted out: those of a VGG-19."""
MAX_STATES = 300_000
"""Partial ways that are remembered before no more is counted out."""


@dataclass(frozen=True)
class Window:
    """A pooling, without its kind."""

    kernel: int
    stride: int
    pad: int = 0


WINDOWS: dict[Window | None, float] = {
    None: 0,
    Window(2, 2): 0,
    Window(3, 2): 1,
    Window(3, 2, 1): 1,
    Window(3, 3): 1.5,
    Window(4, 4): 2,
}
"""Poolings that are thought of, with how unusual they are."""
STRIDES = {1: 0.0, 2: 0.5, 3: 2.0, 4: 2.5}
"""Likewise of convolutions."""
GLOBAL, ADAPTIVE = 0.0, 3.0
"""How unusual it is that all of the image is pooled, or parts of it."""


@dataclass(frozen=True)
class Step:
    """What is unknown of a convolution, and what is pooled behind it."""

    stride: int
    pad: Pair
    window: Window | None


@dataclass(frozen=True)
class Geometry:
    """A way from the image to the first linear layer."""

    steps: tuple[Step, ...]
    adaptive: int | None = None
    """Edge in parts of a closing pooling that adapts to the image: 1 is global; None is without."""
    unusual: float = 0.0
    """How far it is from what is usual; orders the ways and decides nothing."""


def geometries(chain: Chain, height: int, width: int) -> Iterator[Geometry]:
    """The ways for images of this size, the plainest first."""
    convs = chain.convs
    if not convs:
        yield Geometry(())
    if not 0 < len(convs) <= MAX_CONVS:
        return
    options = [_options(conv.shape[2], conv.shape[3], _room(chain, position)) for position, conv in enumerate(convs)]
    channels, head = convs[-1].out, chain.head

    def closings(h: int, w: int) -> list[tuple[int | None, float]]:
        """How an image of this size may enter the first linear layer, or be the answer."""
        parts = (head or channels) // channels
        edge = isqrt(parts)
        found: list[tuple[int | None, float]] = [(None, 0.0)] if h * w == parts else []
        if edge * edge == parts and (h, w) != (edge, edge) and min(h, w) >= edge:
            found.append((edge, GLOBAL if edge == 1 else ADAPTIVE))
        return found

    @cache
    def least(index: int, h: int, w: int) -> float:
        """How unusual the plainest way from here to the end is."""
        if index == len(convs):
            return min((cost for _, cost in closings(h, w)), default=inf)
        kernel = convs[index].shape[2:]
        ways = ((_after(step, kernel, h, w), cost) for step, cost in options[index])
        return min((cost + least(index + 1, *size) for size, cost in ways if size), default=inf)

    order = count()
    heap: list[tuple[float, int, int, float, tuple[Step, ...], int, int]] = [
        (least(0, height, width), 0, 0, 0.0, (), height, width)
    ]
    while heap and heap[0][0] < inf and next(order) < MAX_STATES:
        _, _, _, behind, steps, h, w = heapq.heappop(heap)  # of equals the longest, so that the first come soon
        if len(steps) == len(convs):
            for adaptive, cost in closings(h, w):
                yield Geometry(steps, adaptive, behind + cost)
            continue
        kernel = convs[len(steps)].shape[2:]
        for step, cost in options[len(steps)]:
            size = _after(step, kernel, h, w)
            if size and (ahead := least(len(steps) + 1, *size)) < inf:
                total = behind + cost + (_change(chain, steps, step) if steps else 0)
                heapq.heappush(heap, (total + ahead, -len(steps), next(order), total, (*steps, step), *size))


def _room(chain: Chain, position: int) -> int | None:
    """How many modules behind a convolution may be poolings: an activation is one, and so is flattening before a linear layer."""
    between = chain.between(position) if position + 1 < len(chain.main) else None
    last = position + 1 == len(chain.convs)
    return None if between is None else max(between - 1 - last, 0)


def _options(kernel_height: int, kernel_width: int, room: int | None) -> list[tuple[Step, float]]:
    """What a convolution with this kernel may do, with how unusual that is."""
    kernel = max(kernel_height, kernel_width)
    same = ((kernel_height - 1) // 2, (kernel_width - 1) // 2)
    pads = {(0, 0): 0.0, same: 0.0}
    for pad in (1, 2, kernel // 2, kernel - 1):
        if pad < kernel:
            pads.setdefault((min(pad, kernel_height - 1), min(pad, kernel_width - 1)), 1.0)
    return [
        (Step(stride, pad, window), STRIDES[stride] + pads[pad] + cost + (stride > 1 and window is not None) + unused)
        for stride in STRIDES
        if stride <= max(kernel, 2)
        for pad in pads
        for window, cost in WINDOWS.items()
        if room != 0 or window is None
        for unused in [2.0 if room and window is None else 0.0]  # there is a module, which then is a dropout
    ]


def _after(step: Step, kernel: tuple[int, ...], height: int, width: int) -> Pair | None:
    """The size of an image behind a convolution and its pooling; None where it has none."""
    sides = [(side + 2 * pad - k) // step.stride + 1 for side, pad, k in zip((height, width), step.pad, kernel, strict=True)]
    if step.window:
        window = step.window
        sides = [(side + 2 * window.pad - window.kernel) // window.stride + 1 for side in sides if side + window.pad >= 2]
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) >= 1 else None


def _change(chain: Chain, steps: tuple[Step, ...], step: Step) -> float:
    """How unusual it is that a convolution is not padded as the one before."""
    before, here = chain.convs[len(steps) - 1].shape[2:], chain.convs[len(steps)].shape[2:]
    padded = [
        [2 * pad == side - 1 for pad, side in zip(p, k, strict=True)] for p, k in ((steps[-1].pad, before), (step.pad, here))
    ]
    return 0.5 if padded[0] != padded[1] and max(before) > 1 and max(here) > 1 else 0.0
