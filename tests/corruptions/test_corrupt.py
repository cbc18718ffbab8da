"""The laws that every corruption keeps, whatever it looks like."""

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
