"""The checkpoints of other people load without a flag and score what their README says they score."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from sharpaudit.checkpoints import LoadedModel, load

REAL = Path(__file__).parents[3] / "shared" / "real"
pytestmark = [pytest.mark.real, pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real beside the repository")]

MEASURED = {
    "akamaster_resnet20-12fca82f.th": ("zoo:resnet20", 915, 0.3842),
    "akamaster_resnet32-d509ac18.th": ("zoo:resnet32", 928, 0.3146),
    "zhengjiakun_resnet20_model.th": ("zoo:resnet20", 910, 0.3313),
    "chelcacs_resnet20_undertrained.th": ("zoo:resnet20", 615, 1.1335),
    "abcrown_resnet2b_adv.pth": ("zoo:resnet2b", 703, 0.8910),
    "convexadv_mnist_robust.pth": ("zoo:convnet_strided", 9820, 0.0558),
    "convexadv_fashion_robust.pth": ("zoo:convnet_strided", 7827, 0.6219),
    "ccexam_mnist.pth": ("zoo:convnet_pooled", 9905, 0.1272),
}
"""Architecture, correct answers and mean negative log-likelihood, from the README beside the files."""


def images(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels in [0, 1], (n, channels, height, width), and labels of the test set a checkpoint belongs to."""
    if "mnist" in name:
        pixels = np.frombuffer(gzip.decompress((REAL / "data/t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
        labels = np.frombuffer(gzip.decompress((REAL / "data/t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
        pixels = pixels.reshape(-1, 28, 28, 1)
    else:
        with np.load(REAL / "data" / ("fashion_test10000.npz" if "fashion" in name else "cifar10_test1000_lossless.npz")) as data:
            pixels, labels = data["images"], data["labels"]
    pixels = pixels.reshape(*pixels.shape[:3], -1)
    return torch.tensor(pixels).permute(0, 3, 1, 2) / 255, torch.tensor(labels.astype(np.int64))


@torch.no_grad()
def logits(model: LoadedModel, pixels: torch.Tensor) -> torch.Tensor:
    """Logits after the preprocessing that the loader decided on."""
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (model.subject.preprocessing.mean, model.subject.preprocessing.std))
    return torch.cat([model.module((batch - mean) / std) for batch in torch.split(pixels, 500)])


@pytest.mark.parametrize("name", MEASURED)
def test_scores_what_its_readme_says(name: str) -> None:
    architecture, correct, loss = MEASURED[name]
    model = load(REAL / "ckpt" / name)
    assert (model.subject.architecture, model.subject.architecture_origin) == (architecture, "fingerprint")
    pixels, labels = images(name)
    out = logits(model, pixels)
    assert int((out.argmax(1) == labels).sum()) == correct
    assert torch.nn.functional.cross_entropy(out, labels).item() == pytest.approx(loss, abs=2e-4)


def test_says_what_was_done() -> None:
    subject = load(REAL / "ckpt" / "akamaster_resnet20-12fca82f.th").subject
    assert subject.format == "torch-legacy"
    assert subject.steps[:2] == ["opened state_dict", "stripped prefix 'module.' from 97 names"]
    assert subject.dropped == ["best_prec1"]
    assert subject.num_parameters == 269_722
    assert subject.preprocessing.mean == [0.485, 0.456, 0.406]
    assert subject.clean_load and not subject.warnings
