"""Which images are looked at, and what does the network answer to them as they are, or as they might have been meant?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sharpaudit.card import Preprocessing
from sharpaudit.data import ImageSet, to_input
from sharpaudit.device import is_out_of_memory

SAMPLE = 512
"""Most images looked at: ten points of accuracy are then about seven standard errors of a typical paired difference."""

MOST_BYTES = 256 << 20
"""Of the sample as stored: photographs that are kept whole are looked at in smaller number."""

FEWEST = 16
"""Images looked at, however large they are."""

BATCH = 64

Pixels = Callable[[Tensor], Tensor]
"""8-bit images (b, h, w, c) → the same images as they might have been meant."""


@dataclass
class Sample:
    """Some test images and the network that answers to them; counts what goes through it."""

    module: nn.Module
    preprocessing: Preprocessing
    pixels: Tensor
    """(n, h, w, channels), as stored."""
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    forward: int = 0
    """Images sent through the network so far."""

    def answers(
        self,
        pixels: Pixels = lambda pixels: pixels,
        preprocessing: Preprocessing | None = None,
        *,
        first: int = SAMPLE,
        module: nn.Module | None = None,
    ) -> NDArray[np.int64]:
        """The predicted class of the `first` images, each as `pixels` makes it, under another preprocessing or network."""
        batches = self.pixels[:first].tensor_split(max(1, round(min(first, len(self.pixels)) / BATCH)))
        found = [self.logits(pixels(batch), preprocessing, module) for batch in batches]
        return torch.cat(found).argmax(1).cpu().numpy()

    @torch.inference_mode()
    def logits(self, images: Tensor, preprocessing: Preprocessing | None = None, module: nn.Module | None = None) -> Tensor:
        """The logits of some 8-bit images, in float32; half of them at a time where memory runs out."""
        try:
            logits: Tensor = (module or self.module)(to_input(images, preprocessing or self.preprocessing))
        except Exception as error:
            if not is_out_of_memory(error) or len(images) == 1:
                raise
            return torch.cat([self.logits(half, preprocessing, module) for half in images.tensor_split(2)])
        self.forward += len(images)
        return logits.float()


def size(images: ImageSet) -> int:
    """How many of `images` are looked at."""
    return min(len(images), SAMPLE, max(FEWEST, MOST_BYTES // math.prod(images.shape)))


def draw(module: nn.Module, preprocessing: Preprocessing, images: ImageSet, *, device: str, seed: int) -> Sample:
    """Up to `SAMPLE` images in random order, the same for every checkpoint of a seed.

    Not evenly spaced: labels that come round every ten images would meet a spacing of ten.
    """
    rng = np.random.default_rng([seed, len(images)])
    chosen = images.take(rng.permutation(len(images))[: size(images)])
    pixels = torch.tensor(chosen.images[:], device=device)
    return Sample(module, preprocessing, pixels, chosen.labels, chosen.classes)
