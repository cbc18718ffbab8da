"""The checkpoints of other people load without a flag and score what their README says they score."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sharpaudit.checkpoints import LoadedModel, load
from sharpaudit.errors import ArchitectureError
from sharpaudit.prepare import prepare
from sharpaudit.request import Request

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


def test_a_renamed_network_scores_the_same(tmp_path: Path) -> None:
    state = torch.load(REAL / "ckpt" / "akamaster_resnet20-12fca82f.th", map_location="cpu")["state_dict"]
    torch.save(
        {name.replace("module.layer", "net.stage").replace("conv", "c"): v for name, v in state.items()}, tmp_path / "n.pt"
    )
    prepared = prepare(Request(checkpoint=tmp_path / "n.pt", data=f"npz:{REAL / 'data/cifar10_test1000_lossless.npz'}"))
    assert prepared.model.subject.architecture_origin == "structure, confirmed by labelled images"
    assert "by order and shapes of the layers, not by names (467 of 512 images right)" in prepared.model.doubts[0]
    pixels, labels = images("akamaster_resnet20-12fca82f.th")
    assert int((logits(prepared.model, pixels).argmax(1) == labels).sum()) == 915


@pytest.mark.slow
def test_unpadded_convolutions_are_not_taken_for_the_padded_ones_of_the_zoo_on_smaller_images(tmp_path: Path) -> None:
    """Its shapes are those of ``zoo:convnet_strided`` at 20 by 20."""
    pixels, labels = images("mnist")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(800, 100), nn.ReLU(),
        nn.Linear(100, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for chosen in torch.split(torch.cat([torch.randperm(9000) for _ in range(4)]), 64):
        optimizer.zero_grad()
        torch.autograd.backward(torch.nn.functional.cross_entropy(net(pixels[chosen]), labels[chosen]))
        optimizer.step()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    stored = (pixels[9000:] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "test.npz", images=stored, labels=labels[9000:].numpy())
    try:
        prepared = prepare(Request(checkpoint=tmp_path / "net.pt", data=f"npz:{tmp_path / 'test.npz'}"))
    except ArchitectureError as error:
        assert "conv 16 4x4 stride 2, relu, conv 32 4x4 stride 2" in str(error.hint)
        return
    assert prepared.model.subject.preprocessing.input_size == [1, 28, 28]
    with torch.no_grad():
        wanted = int((net(pixels[9000:]).argmax(1) == labels[9000:]).sum())
    found = int((logits(prepared.model, pixels[9000:]).argmax(1) == labels[9000:]).sum())
    assert found == wanted or (prepared.model.doubts and abs(found - wanted) <= 10)


def test_says_what_was_done() -> None:
    subject = load(REAL / "ckpt" / "akamaster_resnet20-12fca82f.th").subject
    assert subject.format == "torch-legacy"
    assert subject.steps[:2] == ["opened state_dict", "stripped prefix 'module.' from 97 names"]
    assert subject.dropped == ["best_prec1"]
    assert subject.num_parameters == 269_722
    assert subject.preprocessing.mean == [0.485, 0.456, 0.406]
    assert subject.clean_load and not subject.warnings
