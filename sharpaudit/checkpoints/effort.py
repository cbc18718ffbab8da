"""How much work is one image to a network, if its file had a say in the size of the image or in how it is built?

A small file may state images of 4096×4096 pixels, or a patch at every pixel. The network is run on the meta device, where work
costs nothing, and its work is compared with its weights: twice what those of timm do is allowed. An image is resized to cover
the input before it is cropped: 8×4096 pixels are cut from 4096×4096.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import nn

from sharpaudit.checkpoints.architectures import REFUSALS
from sharpaudit.device import Work
from sharpaudit.errors import UnsafeInput

LEAST_OPERATIONS, OPERATIONS_PER_BYTE = 5 * 10**9, 5_000
"""Multiplications and additions that every network may do, and those it may do for each byte of its weights; the most that a
network of timm does is 2,700 a byte."""
LEAST_BYTES, BYTES_PER_BYTE = 64 * 2**20, 4
"""Of the largest tensor on the way; at most 2.2 times the weights in timm."""


def refuse_hard_work(module: nn.Module, input_size: Sequence[int]) -> None:
    """Refuse a network, given on the meta device, that takes more of one image than any does.

    Raises:
        UnsafeInput: with the work and the limit.
    """
    weight = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    work = Work()
    with suppress(*REFUSALS), torch.no_grad(), work:  # what cannot be run is told with real images, if they are small
        module.eval()(torch.empty(1, *input_size, device="meta"))
    size = "×".join(map(str, input_size))
    channels, height, width = input_size
    resized = 4 * channels * max(height, width) ** 2
    for amount, most, what in (
        (work.operations, LEAST_OPERATIONS + OPERATIONS_PER_BYTE * weight, "operations"),
        (work.largest, LEAST_BYTES + BYTES_PER_BYTE * weight, "bytes in one tensor"),
        (resized, LEAST_BYTES, "bytes, resized and not yet cropped,"),
    ):
        if amount > most:
            raise UnsafeInput(
                f"the network as the file describes it takes {amount:,} {what} for an image of {size}, the limit is {most:,}",
                hint="--input-size states the size of images, --arch the network",
            )
