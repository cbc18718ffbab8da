"""What does a frosted pane look like? (no photograph is shipped: the texture is computed)"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from sharpaudit.corruptions.randomness import stream


@lru_cache(maxsize=4)
def frost_sheets(scale: float, device: torch.device) -> Tensor:
    """uint8 (sheets, rows, columns, 3), periodic."""
    side = int(640 * scale)
    noise = stream(0, torch.arange(5), 0).normal((side, side, 1))
    return (noise * 50 + torch.tensor([120.0, 130, 140])).clamp(0, 255).to(torch.uint8).to(device)
