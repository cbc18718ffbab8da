"""Was anything taken for granted before the network saw an image: what it computes, or the size of the images?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sharpaudit.card import Check, Preprocessing
from sharpaudit.setup_check.findings import flagged, passed

SMALL = 64
"""Longest side of images that were made for networks of their own size."""


def taken_for_granted(
    doubts: Sequence[str], stored: tuple[int, int], preprocessing: Preprocessing, *, asked: bool
) -> Iterator[Check]:
    """The checks of what the loader took.

    Args:
        doubts: what it took although the images leave it open.
        stored: height and width of the images.
        preprocessing: as it was decided.
        asked: whether the user or the file states the network or the size of its images.
    """
    if doubts:
        yield flagged("architecture", "; ".join(doubts), {"open": len(doubts)})
    else:
        yield passed("architecture", "nothing about the network was left open")
    height, width = preprocessing.input_size[1:]
    sizes = f"images of {stored[0]}×{stored[1]} are resized to {height}×{width}"
    if stored == (height, width):
        yield passed("image_size", "the network sees the images at their own size")
    elif asked or max(stored) > SMALL:
        yield passed("image_size", sizes + (", as asked for" if asked else ""))
    else:
        yield flagged("image_size", f"{sizes}, and nobody asked for it: pass --input-size or --arch", {"stored": list(stored)})
