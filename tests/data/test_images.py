"""An image set is fixed, ordered and hashed, whether its pixels lie in memory or are decoded on demand."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sharpaudit.data import ImageSet, num_shared
from sharpaudit.errors import DataError, UsageError


@dataclass(frozen=True)
class OnDemand:
    """Pixels that may be asked for by slice or integer array only, as of a folder."""

    pixels: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, key: Any) -> Any:
        return self.pixels[key].copy()


def make(n: int = 700, *, lazy: bool = False, declared: bool = True, classes: int = 5) -> ImageSet:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n, 4, 5, 3), np.uint8)
    labels = np.sort(rng.integers(0, classes, n))
    return ImageSet("toy", OnDemand(images) if lazy else images, labels, tuple("abcdefgh"[:classes]), classes_declared=declared)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_hash_covers_shape_pixels_and_labels_in_order(lazy: bool) -> None:
    data, plain = make(lazy=lazy), make()
    content = b"(700, 4, 5, 3)" + plain.images[:].tobytes() + plain.labels.astype("<i8").tobytes()
    assert data.index_hash == hashlib.sha256(content).hexdigest()


def test_any_change_changes_the_hash() -> None:
    data = make()
    pixels = data.images[:].copy()
    pixels[699, 0, 0, 0] ^= 1
    labels = data.labels.copy()
    labels[699] ^= 1
    order = np.arange(700)[::-1].copy()
    changed = [
        ImageSet("toy", pixels, data.labels, data.classes),
        ImageSet("toy", data.images, labels, data.classes),
        ImageSet("toy", pixels.reshape(700, 5, 4, 3), data.labels, data.classes),
        data.take(order),
        data.limited(699),
    ]
    assert len({data.index_hash, *(other.index_hash for other in changed)}) == 6


@pytest.mark.parametrize("lazy", [False, True])
def test_selections_hold_the_right_examples(lazy: bool) -> None:
    data, plain = make(lazy=lazy), make()
    chosen = data.take(np.array([9, 3, 3, 699]))
    np.testing.assert_array_equal(chosen.images[:], plain.images[np.array([9, 3, 3, 699])])
    np.testing.assert_array_equal(chosen.labels, plain.labels[[9, 3, 3, 699]])
    nested = chosen.take(np.array([3, 0])).limited(1)
    np.testing.assert_array_equal(nested.images[np.array([0])], plain.images[np.array([699])])
    first = data.limited(600)
    assert (len(first), first.shape) == (600, (4, 5, 3))
    np.testing.assert_array_equal(first.images[590:], plain.images[590:600])


@pytest.mark.parametrize("lazy", [False, True])
def test_batches_are_ragged_and_complete(lazy: bool) -> None:
    parts = list(make(lazy=lazy).batches(64))
    assert [len(labels) for _, labels in parts] == [64] * 10 + [60]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in parts]), make().images[:])


def test_a_selection_says_which_classes_it_lost() -> None:
    (warning,) = make().limited(20).warnings
    assert warning.startswith("only 1 of 5 classes are among the 20 of 700 images that are used")
    assert make().limited(20).record().warnings == [warning]
    assert make().limited(699).warnings == ()


@pytest.mark.parametrize("limit", [0, -1, 701])
def test_a_limit_outside_the_set_is_a_usage_error(limit: int) -> None:
    with pytest.raises(UsageError, match=f"limit between 1 and 700, got {limit}"):
        make().limited(limit)


def test_an_empty_or_ragged_set_cannot_be_made() -> None:
    with pytest.raises(DataError, match="0 samples"):
        make().take(np.array([], dtype=np.int64))
    with pytest.raises(DataError, match="2 labels for 700 images"):
        ImageSet("toy", make().images, np.zeros(2, np.int64), ("a",))


def test_leakage_is_counted_byte_for_byte() -> None:
    data = make()
    assert num_shared(data.limited(500), data.take(np.arange(400, 700))) == 100


def test_the_record_is_the_card_s() -> None:
    record = make().limited(20).record()
    assert (record.name, record.n, record.classes) == ("toy", 20, list("abcde"))
    assert record.index_hash == make().limited(20).index_hash
