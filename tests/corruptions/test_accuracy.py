"""Does a real network lose as much under our corruptions as under the public generator's? Needs imagecorruptions 1.1.2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sharpaudit.checkpoints import load
from sharpaudit.corruptions import NAMES, corrupt
from sharpaudit.data import open_images, to_input
from tests.cases import REAL
from tests.corruptions.reference import generator
from tests.corruptions.test_fidelity import ANOTHER_DEFINITION

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real beside the repository"),
]

Right = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """The first 1,000 test images of CIFAR-10."""
    return np.asarray(open_images(f"npz:{REAL}/data/cifar10_test1000_lossless.npz").images[:])


@pytest.fixture(scope="module")
def right() -> Right:
    """Which of these images a ResNet-20 with 91.7% on the clean test set gets right."""
    model = load(REAL / "ckpt" / "akamaster_resnet20-12fca82f.th")
    labels = open_images(f"npz:{REAL}/data/cifar10_test1000_lossless.npz").labels

    @torch.inference_mode()
    def hits(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
        batches = torch.split(torch.from_numpy(pixels), 250)
        seen = [model.module(to_input(batch, model.subject.preprocessing)).argmax(1) for batch in batches]
        return np.asarray(torch.cat(seen).numpy() == labels[: len(pixels)])

    return hits


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ANOTHER_DEFINITION])
def test_accuracy_is_that_under_the_public_generator(
    name: str, images: NDArray[np.uint8], right: Right, capsys: pytest.CaptureFixture[str]
) -> None:
    """At severities 1, 3 and 5, within two standard errors of the difference of two accuracies on as many images."""
    reference = generator(32)
    for severity in (1, 3, 5):
        np.random.seed(5)  # the reference draws from the global generator
        theirs = right(np.stack([reference(image, name, severity) for image in images])).mean()
        ours = right(corrupt(torch.from_numpy(images), name, severity, indices=torch.arange(len(images)), seed=3).numpy()).mean()
        error = float(np.sqrt((ours * (1 - ours) + theirs * (1 - theirs)) / len(images)))
        with capsys.disabled():
            print(f"\n{name:18} {severity}  ours {ours:.3f}  public {theirs:.3f}  ", end="")
            print(f"in standard errors {(ours - theirs) / error:+.2f}", end="")
        assert abs(ours - theirs) <= 2 * error
