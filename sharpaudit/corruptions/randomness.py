"""Where do a corruption's random numbers come from, so that they depend on nothing but the image's place in its data set?

From a counter-based generator: word j of image i is a keyed hash of (i, j), so it is the same for any batch, order, worker or
device. The hash is Threefry-2x32 with 13 rounds, the fewest that pass BigCrush (Salmon, Moraes, Dror and Shaw, "Parallel random
numbers: as easy as 1, 2, 3", SC 2011), in the 32-bit integer operations that every device has.

The words are spent in halves of 16 bits, and every distribution is a table indexed by such a half: no logarithm or cosine whose
last bit could differ from device to device. The normal distribution therefore ends at 4.2 standard deviations, beyond which a
draw of 150,000 values (an image of 224 pixels) would hold four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from sharpaudit.transfer import Device, sent

LEVELS = 1 << 16
"""Number of values of the uniform integers that all distributions are made from."""

_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA


def threefry(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor], rounds: int = 13) -> tuple[Tensor, Tensor]:
    """Two int32 words for each pair of int32 counters; `key` broadcasts against `counter`."""
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    left, right = counter[0] + schedule[0], counter[1] + schedule[1]
    carry = torch.empty_like(right)
    for step in range(rounds):
        turn = _ROTATIONS[step % 8]
        left += right
        torch.bitwise_right_shift(right, 32 - turn, out=carry)
        carry &= (1 << turn) - 1  # the shift of a signed word drags its sign along
        right <<= turn
        right |= carry
        right ^= left
        if step % 4 == 3:
            injection = step // 4 + 1
            left += schedule[injection % 3]
            right += schedule[(injection + 1) % 3] + injection
    return left, right


@dataclass(frozen=True)
class Stream:
    """The random numbers of a batch: row i belongs to image i and to nobody else.

    A corruption that needs several independent fields takes each from its own `draw`.
    """

    key: tuple[Tensor, Tensor]
    """Two int32 words an image, each of shape (b, 1)."""
    host_key: tuple[Tensor, Tensor]
    """The same on the CPU."""

    def __getitem__(self, part: slice) -> Stream:
        """The stream of some of the images."""
        (a, b), (c, d) = self.key, self.host_key
        return Stream((a[part], b[part]), (c[part], d[part]))

    @property
    def on_host(self) -> Stream:
        """The same numbers on the CPU, for the few an image that decide what a device is to do."""
        return Stream(self.host_key, self.host_key)

    def bits(self, shape: Sequence[int], draw: int = 0) -> Tensor:
        """int32 of shape (b, *shape), uniform on 0 … 65535."""
        count = torch.Size(shape).numel()
        words = -(-count // 4)
        position = torch.arange(words, dtype=torch.int32, device=self.key[0].device).expand(len(self.key[0]), -1)
        halves = position.new_empty((len(position), 4, words))
        for at, word in zip((0, 2), threefry(self.key, (position, torch.full_like(position, draw))), strict=True):
            torch.bitwise_and(word, LEVELS - 1, out=halves[:, at])
            torch.bitwise_right_shift(word, 16, out=halves[:, at + 1])
            halves[:, at + 1] &= LEVELS - 1
        return halves.flatten(1)[:, :count].reshape(-1, *shape)

    def uniform(self, shape: Sequence[int], draw: int = 0) -> Tensor:
        """float64 of shape (b, *shape), uniform on the 65,536 midpoints of (0, 1)."""
        return (self.bits(shape, draw).double() + 0.5) / LEVELS

    def normal(self, shape: Sequence[int], draw: int = 0) -> Tensor:
        """float32 of shape (b, *shape), standard normal."""
        return look_up(_quantiles(self.key[0].device), self.bits(shape, draw))


def stream(seed: int, indices: Tensor, cell: int, device: Device = "cpu") -> Stream:
    """The stream on `device` of the images at `indices` (int64, (b,)) for the corruption and severity numbered `cell`."""
    indices = indices.cpu()
    low = (indices & 0xFFFFFFFF).to(torch.int32)[:, None]
    words = torch.tensor([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, cell]).to(torch.int32)
    key = threefry((words[0], words[1]), (low, words[2].expand_as(low)))
    return Stream((sent(key[0], device), sent(key[1], device)), key)


def look_up(table: Tensor, at: Tensor) -> Tensor:
    """The entries of the flat `table` at the int32 or int64 positions `at`."""
    return table.index_select(0, at.flatten()).view(at.shape)


@lru_cache(maxsize=4)
def _quantiles(device: torch.device) -> Tensor:
    """float32 quantiles of the standard normal at the 65,536 midpoints, scaled to unit variance."""
    z: Tensor = torch.special.ndtri((torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS)
    return sent((z / z.square().mean().sqrt()).float(), device)
