"""What do the corruptions look like? One image under all of them, clean on the left and worse to the right."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sharpaudit.corruptions import NAMES, SEVERITIES, corrupt

GAP = 4
SMALLEST = 96
"""Images are enlarged by whole factors to at least this many pixels a side, without smoothing."""
CAPTION = 150
HEADER = 20
INK, PAPER = (30, 30, 30), (255, 255, 255)


def contact_sheet(image: Tensor, index: int = 0, *, seed: int = 0) -> Image.Image:
    """A row for each corruption, a column for each severity, 0 (clean) to 5.

    Args:
        image: uint8 (h, w, c), c 1 or 3.
        index: where the image stands in its data set, which decides its random numbers.
        seed: of the corruptions.
    """
    height, width = image.shape[:2]
    factor = max(1, -(-SMALLEST // min(height, width)))
    step_x, step_y = factor * width + GAP, factor * height + GAP
    sheet = Image.new("RGB", (CAPTION + 6 * step_x, HEADER + len(NAMES) * step_y), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, severity in enumerate((0, *SEVERITIES)):
        draw.text((CAPTION + column * step_x, 4), "clean" if severity == 0 else f"severity {severity}", fill=INK)
    for row, name in enumerate(NAMES):
        top = HEADER + row * step_y
        draw.text((6, top + factor * height // 2 - 5), name.replace("_", " "), fill=INK)
        for column, severity in enumerate((0, *SEVERITIES)):
            pixels = corrupt(image[None], name, severity, indices=torch.tensor([index]), seed=seed)[0].numpy()
            tile = Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)
            tile = tile.resize((factor * width, factor * height), Image.Resampling.NEAREST)
            sheet.paste(tile.convert("RGB"), (CAPTION + column * step_x, top))
    return sheet
