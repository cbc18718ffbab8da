"""The main job on real checkpoints: the published counts, likelihoods and disagreements, and the measures on their oracles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharpaudit import audit
from sharpaudit.card import Card, Measured, codec
from sharpaudit.cli.compare import compared
from sharpaudit.errors import EnvironmentFailure
from sharpaudit.report.provenance import facts
from sharpaudit.request import BenchSettings
from sharpaudit.store import Run
from tests.cases import REAL
from tests.cli.conftest import DEMO

needs_real = pytest.mark.skipif(not REAL.exists(), reason="needs ../shared/real beside the repository")

CIFAR, MNIST = f"npz:{REAL}/data/cifar10_test1000_lossless.npz", f"mnist:{REAL}/data"
FASHION = f"npz:{REAL}/data/fashion_test10000.npz"

PUBLISHED = [
    ("akamaster_resnet20-12fca82f.th", CIFAR, 915, 0.3842),
    ("akamaster_resnet32-d509ac18.th", CIFAR, 928, 0.3146),
    ("zhengjiakun_resnet20_model.th", CIFAR, 910, 0.3313),
    ("chelcacs_resnet20_undertrained.th", CIFAR, 615, 1.1335),
    ("abcrown_resnet2b_adv.pth", CIFAR, 703, 0.8910),
    ("convexadv_mnist_robust.pth", MNIST, 9820, 0.0558),
    ("ccexam_mnist.pth", MNIST, 9905, 0.1272),
    ("convexadv_fashion_robust.pth", FASHION, 7827, 0.6219),
]


def measured(file: str, data: str, probes: str = "accuracy") -> Run:
    return audit.measure(audit.Request(checkpoint=REAL / "ckpt" / file, data=data, probes=probes))


def value(card: Card, name: str) -> float:
    found = card.measured(name)
    assert found is not None
    return found.value


@pytest.mark.slow
@pytest.mark.real
@needs_real
@pytest.mark.parametrize(("file", "data", "hits", "nll"), PUBLISHED, ids=[case[0] for case in PUBLISHED])
def test_counts_and_likelihoods_of_the_real_checkpoints(file: str, data: str, hits: int, nll: float) -> None:
    card = measured(file, data).card
    assert round(value(card, "clean.accuracy") * card.data.n) == hits
    assert value(card, "clean.nll") == pytest.approx(nll, abs=2e-4)


@pytest.mark.slow
@pytest.mark.real
@needs_real
@pytest.mark.parametrize(("other", "count"), [("zhengjiakun_resnet20_model.th", 90), ("chelcacs_resnet20_undertrained.th", 387)])
def test_disagreements_of_the_real_checkpoints(other: str, count: int) -> None:
    comparison = compared([measured("akamaster_resnet20-12fca82f.th", CIFAR), measured(other, CIFAR)], None)
    assert f"They disagree on {count} of 1,000 images" in " ".join(comparison.reading)


def demo(name: str = "baseline-seed0", **settings: Any) -> Run:
    request = audit.Request(
        checkpoint=DEMO / f"{name}.safetensors",
        data="digits",
        train_data="digits:train",
        probes="quick",
        options={"perturbation": {"draws": 4, "paper_draws": 2}},
        bench=BenchSettings(**settings),
    )
    return audit.measure(request)


def test_equal_audits_give_equal_bytes() -> None:
    card = demo().card
    assert codec.canonical(card) == codec.canonical(demo().card)
    assert card.environment.determinism == "bitwise"
    assert {fact.label: fact.value for fact in facts(card)}["Device"].endswith(", repeatable to the bit")


@pytest.mark.parametrize("batch_size", [1, 7, 64, 797])
def test_numbers_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    reference, other = demo().card, demo(batch_size=batch_size).card
    for m in reference.measurements:
        found = reference.measured(m.name)
        if found is not None:
            assert value(other, m.name) == pytest.approx(found.value, rel=1e-6, abs=1e-9), m.name


def test_running_out_of_memory_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every network has memory for nine images, in whatever precision and wherever it is used."""
    whole, most = demo().card, 0
    forward: Callable[..., Any] = nn.Sequential.forward

    def starved(self: nn.Sequential, x: Tensor) -> Any:
        nonlocal most
        if len(x) > 9:
            raise torch.OutOfMemoryError("too many")
        most = max(most, len(x))
        return forward(self, x)

    monkeypatch.setattr(nn.Sequential, "forward", starved)
    card = demo().card
    assert most == 8, "256 halved five times"
    assert card.timing is not None and card.timing.batch_size == 8
    assert [m.status for m in card.measurements] == [m.status for m in whole.measurements]
    for m in whole.measurements:
        if isinstance(m, Measured):
            assert value(card, m.name) == pytest.approx(m.value, rel=1e-9, abs=1e-12), m.name


def test_the_card_says_how_it_came_about() -> None:
    card = demo().card
    assert card.subject.architecture_origin == "metadata"
    assert card.probe_set is not None and (card.probe_set.source, card.probe_set.n) == ("train", 512)
    assert card.timing is not None and card.timing.peak_memory_mib > 50
    assert card.timing.passes["relative_flatness"] == {}, "it reads the pass that accuracy made"
    names = [m.name for m in card.measurements]
    assert names == sorted(names)
    assert {"sharpness.random", "sharpness.random_paper_protocol", "sharpness.random_null"} <= set(names)


def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    request = audit.Request(checkpoint=DEMO / "sam-seed0.safetensors", data="digits", probes="accuracy,relative_flatness")
    audit.measure(request, lambda doing, fraction: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(("device", "words"), [("tpu", "unknown device"), ("cuda:x", "unknown device")])
def test_unknown_devices_are_refused_before_the_checkpoint_is_opened(device: str, words: str) -> None:
    with pytest.raises(EnvironmentFailure, match=words):
        audit.measure(audit.Request(checkpoint=Path("nowhere"), data="digits", bench=BenchSettings(device=device)))


def test_adapted_images_are_noted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 12, 10, 3), dtype=np.uint8)
    np.savez(tmp_path / "colour.npz", images=pixels, labels=np.arange(6))
    request = audit.Request(checkpoint=DEMO / "baseline-seed0.safetensors", data=f"npz:{tmp_path}/colour.npz", probes="accuracy")
    notes = " ".join(audit.measure(request).card.data.notes)
    assert "3 channels become 1" in notes
    assert "images of 12×10 are resized to the network's 8×8" in notes
