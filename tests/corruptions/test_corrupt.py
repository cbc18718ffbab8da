"""The laws that every corruption keeps, whatever it looks like."""

import hashlib
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from sharpaudit.corruptions import FAMILY, MINIMUM_SIZE, NAMES, STANDARD15, VERSION, corrupt, table_for
from sharpaudit.corruptions.severities import CONSTANTS
from sharpaudit.errors import DataError, UnknownName, UsageError
from tests.corruptions.images import photographs

RANDOM = {name for name in NAMES if FAMILY[name] == "noise"} | {
    "glass_blur", "motion_blur", "snow", "frost", "fog", "spatter", "elastic_transform",
}  # fmt: skip

every_name = pytest.mark.parametrize("name", NAMES)


def corrupted(images: Tensor, name: str, severity: int = 3, first: int = 0, seed: int = 7) -> Tensor:
    return corrupt(images, name, severity, indices=torch.arange(first, first + len(images)), seed=seed)


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.double() - b.double()).square().mean()))


def test_the_names() -> None:
    assert len(set(NAMES)) == 19 and NAMES[:15] == STANDARD15
    assert set(FAMILY) == set(NAMES) == set(CONSTANTS)
    assert all(len(rows) == 5 for tables in CONSTANTS.values() for rows in tables.values())
    assert VERSION == "sharpaudit-c/1" and MINIMUM_SIZE == 8


@pytest.mark.parametrize(
    ("size", "table"), [(8, 32), (32, 32), (45, 32), (46, 64), (64, 64), (119, 64), (120, 224), (224, 224), (512, 224)]
)
def test_sizes_between_take_the_nearest_table_in_ratio(size: int, table: int) -> None:
    assert table_for(size) == table


@every_name
def test_severity_0_is_the_identity_in_a_copy(name: str) -> None:
    images = photographs(3, 16)
    clean = corrupted(images, name, 0)
    assert torch.equal(clean, images) and clean.data_ptr() != images.data_ptr()


@every_name
@pytest.mark.parametrize("shape", [(5, 32, 32, 3), (5, 8, 8, 1), (2, 9, 12, 3), (2, 40, 23, 1)], ids=str)
@pytest.mark.parametrize("severity", [1, 5])
def test_shape_type_and_input_stay(name: str, shape: tuple[int, ...], severity: int) -> None:
    images = photographs(shape[0], 48, shape[3])[:, : shape[1], : shape[2]].contiguous()
    before = images.clone()
    result = corrupted(images, name, severity)
    assert result.shape == images.shape and result.dtype == torch.uint8 and result.is_contiguous()
    assert torch.equal(images, before)
    nothing_to_do = (name == "saturate" and shape[3] == 1) or (name == "zoom_blur" and shape[1] == 8 and severity == 1)
    assert torch.equal(result, images) == nothing_to_do


@every_name
@pytest.mark.parametrize("size", [32, 72])
def test_bytes_depend_on_the_index_alone(name: str, size: int) -> None:
    """Batches of 1 and of ragged sizes, another order, other threads: the same bytes."""
    images = photographs(7, size)
    whole = corrupted(images, name, 4, first=100)
    ragged = [corrupted(images[a:b], name, 4, first=100 + a) for a, b in ((0, 1), (1, 4), (4, 7))]
    assert torch.equal(torch.cat(ragged), whole)
    order = torch.tensor([3, 6, 0, 5, 1, 4, 2])
    assert torch.equal(corrupt(images[order], name, 4, indices=100 + order, seed=7), whole[order])
    threads = torch.get_num_threads()
    torch.set_num_threads(3 - min(threads, 2))
    try:
        assert torch.equal(corrupted(images, name, 4, first=100), whole)
    finally:
        torch.set_num_threads(threads)


@every_name
def test_seed_and_index_matter_where_there_is_chance_and_nowhere_else(name: str) -> None:
    images = photographs(1, 32).expand(4, -1, -1, -1).contiguous()
    one, two = corrupted(images, name, 5), corrupted(images, name, 5, seed=8)
    differ = [not torch.equal(one[i], one[j]) for i in range(4) for j in range(i)] + [not torch.equal(one, two)]
    assert all(differ) if name in RANDOM else not any(differ)


@every_name
def test_no_global_generator_is_touched(name: str) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    next_values = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    corrupted(photographs(2, 16), name)
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == next_values


def test_an_empty_batch_stays_empty() -> None:
    assert corrupt(torch.empty(0, 8, 8, 1, dtype=torch.uint8), "fog", 3, indices=torch.empty(0, dtype=torch.int64)).shape == (
        0,
        8,
        8,
        1,
    )


def test_a_named_table_overrides_the_rule() -> None:
    images, indices = photographs(2, 32), torch.arange(2)
    by_rule, by_name = (corrupt(images, "contrast", 2, indices=indices, table=table) for table in (None, 32))
    assert torch.equal(by_rule, by_name)
    assert not torch.equal(by_rule, corrupt(images, "contrast", 2, indices=indices, table=224))


def test_unknown_name() -> None:
    with pytest.raises(UnknownName, match=r"unknown corruption 'fogg'; did you mean 'fog'\?"):
        corrupted(photographs(1, 8), "fogg")


@pytest.mark.parametrize("severity", [-1, 6])
def test_unknown_severity(severity: int) -> None:
    with pytest.raises(UsageError, match=f"severity must be 0 .clean. or 1 to 5, got {severity}"):
        corrupted(photographs(1, 8), "fog", severity)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 8, 8, 3), r"uint8 images \(n, height, width, 1 or 3\), got float32 \(1, 8, 8, 3\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"got uint8 \(1, 3, 8, 8\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"got uint8 \(8, 8, 3\)"),
        (torch.zeros(1, 7, 8, 1, dtype=torch.uint8), "8x8 pixels or more, got 7x8"),
    ],
)
def test_images_that_are_none(images: Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        corrupt(images, "fog", 3, indices=torch.zeros(1, dtype=torch.int64))


def test_indices_that_do_not_fit() -> None:
    with pytest.raises(DataError, match=r"one int64 index an image \(2\), got int64 \(3,\)"):
        corrupt(photographs(2, 8), "fog", 3, indices=torch.arange(3))


NOT_MONOTONE = {
    # The published constants themselves do not climb: 0.3 and 0.1 wash colour out, then it is raised from 1.5 or 2 on.
    ("saturate", 32): {3},
    ("saturate", 64): {3},
    ("saturate", 224): {3},
    # Of all three published sets, the jitter of the corners falls while the ripples grow.
    ("elastic_transform", 32): {2, 3, 4, 5},
    ("elastic_transform", 64): {2, 3, 4, 5},
    ("elastic_transform", 224): {3, 4},
    # (blur, rounds) go up and down: 0.25 then 0.4 once, then 0.25 twice; blur before the shuffle softens what it moves.
    ("glass_blur", 32): {2, 3, 5},
    ("glass_blur", 64): {2, 4},
    ("glass_blur", 224): {2, 4},
    # From 2 to 3 and from 3 to 4 the fog gets rougher rather than thicker.
    ("fog", 224): {3, 4},
    # Mud covers where water shone.
    ("spatter", 32): {4},
    # Frost gets more opaque and the image dimmer, which brings the sum back towards the image.
    ("frost", 32): {4, 5},
    ("frost", 224): {4, 5},
}
"""Severities that leave a higher PSNR than the one before, by the design of the published sets."""


@every_name
@pytest.mark.parametrize(("size", "count"), [(32, 48), (64, 16), (224, 3)])
def test_psnr_falls_with_severity(name: str, size: int, count: int) -> None:
    images = photographs(count, size)
    values = [psnr(corrupted(images, name, severity), images) for severity in (1, 2, 3, 4, 5)]
    rises = {severity for severity in (2, 3, 4, 5) if values[severity - 1] >= values[severity - 2]}
    assert rises <= NOT_MONOTONE.get((name, size), set()), [round(value, 1) for value in values]


GOLDEN = {
    "gaussian_noise": "642b3bc0d76514e2",
    "shot_noise": "e3475cd2819a024a",
    "impulse_noise": "5cfeb7ef80a53532",
    "defocus_blur": "a8c3945587ba6381",
    "glass_blur": "e99e67994a99b1aa",
    "motion_blur": "eac928843ba42f92",
    "zoom_blur": "e00efbd8a97bee5f",
    "snow": "4801f98a1d56f535",
    "frost": "0e0815238bcc319d",
    "fog": "8f5d53d8f469dcc8",
    "brightness": "f4bb4592b856484a",
    "contrast": "29b3eb525977069f",
    "elastic_transform": "ec3ecd38834f9dd7",
    "pixelate": "b51c612e967af442",
    "jpeg_compression": "2e3cbbab01a59ad9",
    "speckle_noise": "3010f6e2e68b6b0c",
    "gaussian_blur": "c247817dd868d694",
    "spatter": "781bacf4bb103850",
    "saturate": "08a25c68d4ee2815",
}
"""First 16 digits of the SHA-256 of every severity at sizes 32, 64 (grey) and 128, on CPU. A change here is a new `VERSION`.

Sums are exact and the rest is elementwise IEEE arithmetic, so other devices should give the same bytes; what could differ by one
level on a few values are the frost panes and the elastic map (sine, exponential and a linear solver of the platform). JPEG and
pixelate are Pillow's and change if its codec does.
"""


@every_name
def test_golden_bytes(name: str) -> None:
    digest = hashlib.sha256()
    for size, channels in ((32, 3), (64, 1), (128, 3)):
        images = photographs(3, size, channels)
        for severity in (1, 2, 3, 4, 5):
            digest.update(corrupted(images, name, severity, first=10, seed=2026).numpy().tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[name]
