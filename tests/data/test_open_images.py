"""A name becomes the same images every time; an unknown one lists the known."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sharpaudit.data import CORRUPTED, NAMES, open_images
from sharpaudit.errors import DataError, UsageError


def test_the_bundled_digits_are_scikit_learn_s() -> None:
    truth = load_digits()
    train, test = open_images("digits:train"), open_images("digits")
    assert (len(train), len(test), train.shape, test.classes) == (1000, 797, (8, 8, 1), tuple("0123456789"))
    assert (train.name, test.name, test.classes_declared) == ("digits:train", "digits", True)
    images, labels = np.concatenate([train.images[:], test.images[:]]), np.concatenate([train.labels, test.labels])
    np.testing.assert_array_equal(images[..., 0], np.rint(truth.images * 255 / 16))
    np.testing.assert_array_equal(labels, truth.target)


def test_a_name_means_the_same_bytes_for_ever() -> None:
    assert open_images("digits").index_hash == "578aff2ceab43137b3d6a6cca2a94cef978b99dfcf05f00771a1ddd018834c52"
    assert open_images("digits:train").index_hash == "52855913221c343d9c8596fdd2c0748421b6cc25fa3356b42b0493bae55d6c22"
    assert open_images("digits:test").index_hash == open_images("digits").index_hash


def test_a_limit_keeps_the_first() -> None:
    np.testing.assert_array_equal(open_images("digits", limit=7).labels, open_images("digits").labels[:7])
    with pytest.raises(UsageError, match="between 1 and 797, got 798"):
        open_images("digits", limit=798)


@pytest.mark.parametrize(
    "spec", ["digit", "digits:valid", "npz", "npz:", "imagefolder:", "idx:a", "idx:a,b,c", "", "\x1b[1m", "a:b"]
)
def test_an_unknown_name_lists_the_known(spec: str) -> None:
    with pytest.raises(DataError) as caught:
        open_images(spec)
    message = str(caught.value)
    assert "unknown data set" in message
    assert f"known: {', '.join([*NAMES, *CORRUPTED])}" in message
    assert message.isprintable()
    assert ("did you mean 'digits'" in message) == (spec == "digit")
