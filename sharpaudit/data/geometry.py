"""To which size is an image resized, and where is it cropped? The rule of torchvision and timm, in integers."""

from __future__ import annotations


def resized_sides(sides: tuple[int, int], target: tuple[int, int], crop_pct: float) -> tuple[int, int]:
    """(height, width) after the resize that precedes a centre crop to `target`.

    The aspect ratio is kept; the result is the smallest that covers ``target / crop_pct`` on both sides.
    """
    height, width = sides
    cover_height, cover_width = (int(side / crop_pct) for side in target)
    if cover_height * width >= cover_width * height:
        return cover_height, max(cover_width, width * cover_height // height)
    return max(cover_height, height * cover_width // width), cover_width


def center_crop(sides: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """(top, left) of the centre crop; halves round to even, as torchvision does."""
    return round((sides[0] - target[0]) / 2), round((sides[1] - target[1]) / 2)
