"""Small images with the statistics of photographs, made from nothing but arithmetic."""

import numpy as np
import torch
from torch import Tensor


def photographs(count: int, size: int, channels: int = 3, seed: int = 0) -> Tensor:
    """uint8 (count, size, size, channels): coloured 1/f fields with a few hard edges."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)) + 0.5 / size
    spectrum = np.fft.rfft2(rng.normal(size=(count, channels, size, size))) / frequency
    fields = np.fft.irfft2(0.4 * spectrum + spectrum.mean(1, keepdims=True), s=(size, size))
    fields /= fields.std((1, 2, 3), keepdims=True)
    corner = rng.integers(0, size - size // 3, (count, 2))
    for field, (top, left) in zip(fields, corner, strict=True):
        field[:, top : top + size // 3, left : left + size // 3] += rng.normal(0, 1.5, (channels, 1, 1))
    return torch.from_numpy((115 + 55 * fields).clip(0, 255).astype(np.uint8)).permute(0, 2, 3, 1).contiguous()
