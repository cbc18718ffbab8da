"""The network sees what torchvision's transforms would show it."""

from typing import Literal

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from sharpaudit.card import Preprocessing
from sharpaudit.data import to_input
from sharpaudit.data.geometry import center_crop, resized_sides
from sharpaudit.errors import DataError

Interpolation = Literal["nearest", "bilinear", "bicubic"]

MODES = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
}


def preprocessing(
    channels: int, height: int, width: int, *, interpolation: Interpolation = "bilinear", crop_pct: float = 1.0
) -> Preprocessing:
    return Preprocessing(
        mean=[0.485, 0.456, 0.406][:channels],
        std=[0.229, 0.224, 0.225][:channels],
        input_size=[channels, height, width],
        interpolation=interpolation,
        crop_pct=crop_pct,
        origin="test",
    )


def images(n: int, height: int, width: int, channels: int) -> torch.Tensor:
    rng = np.random.default_rng(5)
    return torch.from_numpy(rng.integers(0, 256, (n, height, width, channels), np.uint8))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize("sides", [(47, 47), (31, 50), (50, 31), (20, 20), (224, 37)])
def test_equals_torchvision(interpolation: Interpolation, crop_pct: float, sides: tuple[int, int]) -> None:
    options = preprocessing(3, 32, 32, interpolation=interpolation, crop_pct=crop_pct)
    stored = images(3, *sides, 3)
    # Resize in float and round: the uint8 kernels of torchvision differ between processors by a grey level.
    reference = v2.Compose(
        [
            v2.ToDtype(torch.float32),
            v2.Resize(int(32 / crop_pct), interpolation=MODES[interpolation], antialias=True),
            v2.CenterCrop(32),
            v2.Lambda(lambda x: x.round().clamp(0, 255).div(255)),
            v2.Normalize(options.mean, options.std),
        ]
    )
    torch.testing.assert_close(to_input(stored, options), reference(stored.permute(0, 3, 1, 2)), rtol=0, atol=1e-6)


def test_images_of_the_input_size_are_only_normalised() -> None:
    stored = images(4, 32, 32, 3)
    options = preprocessing(3, 32, 32, crop_pct=0.875)
    reference = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(options.mean, options.std)])
    for one, image in zip(to_input(stored, options), stored, strict=True):
        torch.testing.assert_close(one, reference(image.numpy()).data, rtol=0, atol=1e-6)


def test_one_channel_is_repeated_and_three_become_luminance() -> None:
    grey, colour = images(3, 8, 8, 1), images(3, 8, 8, 3)
    three, one = preprocessing(3, 8, 8), preprocessing(1, 8, 8)
    torch.testing.assert_close(to_input(grey, three), to_input(grey.expand(-1, -1, -1, 3), three), rtol=0, atol=0)
    reference = v2.functional.rgb_to_grayscale(colour.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    torch.testing.assert_close(to_input(colour, one), to_input(reference, one), rtol=0, atol=0)


def test_no_rule_covers_other_channel_counts() -> None:
    with pytest.raises(DataError, match="2 channels, the network takes 3"):
        to_input(images(1, 8, 8, 2), preprocessing(3, 8, 8))


def test_the_batch_size_changes_nothing() -> None:
    stored, options = images(11, 20, 23, 3), preprocessing(3, 32, 32)
    parts = torch.cat([to_input(part, options) for part in torch.split(stored, 4)])
    assert torch.equal(parts, to_input(stored, options))


def test_an_oblong_input_is_covered_and_cropped_in_the_centre() -> None:
    assert resized_sides((100, 100), (32, 64), 1.0) == (64, 64)
    assert resized_sides((50, 200), (32, 64), 1.0) == (32, 128)
    assert center_crop((64, 64), (32, 64)) == (16, 0)
    assert to_input(images(2, 40, 90, 3), preprocessing(3, 32, 64)).shape == (2, 3, 32, 64)
