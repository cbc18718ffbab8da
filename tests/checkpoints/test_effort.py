"""A small file cannot state images that are a great deal of work, and work is counted as torch counts it."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sharpaudit.checkpoints.architectures import parse
from sharpaudit.checkpoints.effort import refuse_hard_work
from sharpaudit.device import Work
from sharpaudit.errors import UnsafeInput


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((3, 4096, 4096), "operations for an image of 3×4096×4096"),
        ((4096, 1024, 1024), "bytes in one tensor for an image of 4096×"),
        ((3, 8, 4096), "201,326,592 bytes, resized and not yet cropped, for an image of 3×8×4096"),
    ],
)
def test_a_small_file_cannot_state_large_images(size: tuple[int, int, int], words: str) -> None:
    network = parse("zoo:resnet20").outline()
    with pytest.raises(UnsafeInput, match=words):
        refuse_hard_work(network, size)
    refuse_hard_work(network, (3, 32, 32))


@pytest.mark.parametrize(("spec", "side"), [("timm:test_vit", 160), ("timm:cait_xxs24_224", 224), ("zoo:resnet20", 32)])
def test_work_is_counted_as_torch_does(spec: str, side: int) -> None:
    network, images = parse(spec).outline().eval().requires_grad_(False), torch.empty(1, 3, side, side, device="meta")
    with Work() as work:
        network(images)
    with FlopCounterMode(display=False) as counter:
        network(images)
    assert work.operations == counter.get_total_flops() > 0
