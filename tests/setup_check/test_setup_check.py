"""What is wrong is found and named with its numbers; what is right is left alone, however few images there are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sharpaudit.card import Check
from sharpaudit.setup_check import answers, findings
from tests.setup_check.cases import SetUp, Within, digits, inverted, permuted, same, transposed, with_layers


def checks(setup: SetUp) -> dict[str, Check]:
    return {check.name: check for check in setup.checked().checks}


def answered(seed: int, n: int, num_classes: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are right with probability `accuracy` and otherwise any class, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, n)
    return np.where(rng.random(n) < accuracy, labels, rng.integers(0, num_classes, n)), labels


def label_check(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> Check:
    given = predicted == labels
    other = answers.relabelled(predicted, labels, num_classes)
    return answers.labels(given, other, given, [str(i) for i in range(num_classes)])


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_the_permutation_is_recovered(num_classes: int) -> None:
    order = np.random.default_rng(7).permutation(num_classes) if num_classes > 2 else np.array([1, 0])
    predicted, labels = answered(0, 512, num_classes, 0.9)
    check = label_check(predicted, order[labels], num_classes)
    found = np.array(check.evidence["label_of_output"])
    seen = np.unique(predicted)
    assert check.status == "flagged"
    assert (found[seen] == order[seen]).mean() >= 0.9
    assert check.evidence["accuracy_in_that_order"] == pytest.approx(0.9, abs=0.2)
    assert "permuted" in check.message
    assert ("best assignment" in check.message) == (num_classes > 2), "of two classes any other order is one too high"


@pytest.mark.parametrize(
    ("name", "label_of"),
    [
        ("labels one too high", lambda label: (label + 1) % 1000),
        ("labels one too low", lambda label: (label - 1) % 1000),
        ("folders sorted as numbers, outputs as text", lambda label: int(sorted(map(str, range(1000)))[label])),
        ("folders sorted as text, outputs as numbers", lambda label: sorted(map(str, range(1000))).index(str(label))),
    ],
)
def test_usual_accidents_are_named_however_many_classes(name: str, label_of: object) -> None:
    assert callable(label_of)
    predicted, labels = answered(0, 256, 1000, 0.8)
    check = label_check(predicted, np.array([label_of(label) for label in labels]), 1000)
    assert (check.status, check.evidence["order"]) == ("flagged", name)


def test_a_permutation_of_a_thousand_classes_is_found_with_less_than_an_image_of_each() -> None:
    predicted, labels = answered(0, 512, 1000, 0.8)
    order = np.random.default_rng(3).permutation(1000)
    assert label_check(predicted, order[labels], 1000).status == "flagged"


def test_an_order_that_explains_little_may_be_of_other_classes() -> None:
    predicted, labels = answered(0, 512, 10, 0.3)
    check = label_check(predicted, (labels + 4) % 10, 10)
    assert (check.status, "permuted or of other classes" in check.message) == ("flagged", True)


def test_one_wrong_answer_speaks_for_no_other_order_and_two_do() -> None:
    once, twice = answers.assignment(np.array([5]), np.array([3]), 10), answers.assignment(np.array([5, 5]), np.array([3, 3]), 10)
    assert once.tolist() == list(range(10))
    assert (twice[5], twice[3]) == (3, 5)


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("accuracy", [0.0, 0.3, 0.95])
def test_labels_in_order_raise_no_alarm(num_classes: int, accuracy: float) -> None:
    sizes = (1, 2, 3, 5, 9, 17, 33, 65, 130)
    found = [label_check(*answered(seed, n, num_classes, accuracy), num_classes) for n in sizes for seed in range(25)]
    assert sum(check.status == "flagged" for check in found) <= 1, "of 225; the level of each is 0.001"


def test_a_clear_difference_needs_size_and_significance() -> None:
    given = np.zeros(200, bool)
    better = np.arange(200) < 30
    assert findings.clear(better, given, 0.1)
    assert not findings.clear(better, given, 0.2), "too small"
    assert not findings.clear(better[:8], given[:8], 0.1), "eight of eight may be chance: p = 0.008"
    assert findings.p_value(better, given) == pytest.approx(2 * 0.5**30)


def test_a_constant_answer_is_told_from_data_of_one_class() -> None:
    labels = np.arange(300) % 10
    constant = answers.constant(np.full(300, 3), labels, list("0123456789"))
    assert (constant.status, constant.evidence["predicted_share"]) == ("flagged", 1.0)
    assert "'3' is predicted for 100.0%" in constant.message
    assert answers.constant(np.full(300, 3), np.full(300, 3), list("0123456789")).status == "not applicable"
    rare = np.where(np.arange(300) % 30 == 7, 1, 0)
    assert answers.constant(np.zeros(300, int), rare, ["usual", "rare"]).status == "flagged", "it never says rare"
    assert answers.constant(np.zeros(30, int), rare[:30], ["usual", "rare"]).status == "passed", "too few to say so"
    assert answers.constant(np.full(4, 3), np.array([3, 3, 1, 3]), list("0123")).status == "passed"


@pytest.mark.parametrize(
    ("n", "num_classes", "accuracy", "status"),
    [
        (512, 10, 0.0, "flagged"),
        (20, 10, 0.0, "not applicable"),
        (512, 10, 0.6, "passed"),
        (512, 1000, 0.05, "passed"),
        (512, 1000, 0, "flagged"),
        (512, 2, 0.0, "flagged"),
        (512, 2, 0.7, "passed"),
    ],
)
def test_guessing(n: int, num_classes: int, accuracy: float, status: str) -> None:
    assert answers.guessing(*answered(5, n, num_classes, accuracy)).status == status


def test_guessing_cannot_be_told_where_one_class_is_nearly_all() -> None:
    rare = np.where(np.arange(300) < 9, 1, 0)
    assert answers.guessing(np.zeros(300, int), rare).status == "not applicable"


def test_the_numbers_are_the_networks() -> None:
    """Accuracies of the evidence, counted again without the check's code: of 400 digits, which are all looked at."""
    wrong = digits("augmentation-seed0").normalised(0, 1)
    check = checks(wrong)["normalisation"]
    small = wrong.first(400)
    right = digits("augmentation-seed0").first(400)
    counted = []
    for setup in (small, right):
        mean, std = setup.preprocessing.mean[0], setup.preprocessing.std[0]
        pixels = torch.tensor(setup.images.images[:], dtype=torch.float32).permute(0, 3, 1, 2)
        with torch.no_grad():
            counted.append(float((setup.module((pixels / 255 - mean) / std).argmax(1).numpy() == setup.images.labels).mean()))
    found = checks(small)["normalisation"].evidence
    assert [found["accuracy"], found["accuracy, mean 0.5, std 0.5"]] == pytest.approx(counted)
    assert check.status == "flagged" and "another normalisation" in check.message


@pytest.mark.parametrize(
    ("change", "words"), [(inverted, "light and dark exchanged"), (transposed, "rows and columns exchanged")]
)
def test_wrong_pixels_are_named(change: object, words: str) -> None:
    assert callable(change)
    assert words in checks(digits("augmentation-seed1").stored(change))["pixels"].message


def test_an_accurate_network_costs_one_pass_of_the_sample() -> None:
    result = digits("augmentation-seed0").checked()
    assert (result.n, result.forward) == (512, 512 + 4 * 16)
    assert result.flagged == []


def test_the_sample_is_the_same_for_every_network_and_another_for_another_seed() -> None:
    from sharpaudit.setup_check.sample import draw

    images = digits().images
    first, again, other = (draw(nn.Identity(), digits().preprocessing, images, device="cpu", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.pixels, again.pixels) and not torch.equal(first.pixels, other.pixels)
    assert len(first.labels) == 512


def noisy(x: Tensor) -> Tensor:
    return x + torch.randn_like(x)


def mixed(x: Tensor) -> Tensor:
    return x - x.mean(0)


def batch_norm() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10)).eval()


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Within(digits().module, same, noisy), "the same batch twice"),
        (Within(digits().module, same, mixed), "among other images"),
        (nn.Sequential(digits().module, nn.Dropout(0.5)).train(), "layer '1' is in train mode"),
        (batch_norm().train(), "layer '1' is in train mode"),
        (nn.Sequential(digits().module, nn.Dropout(0.0)).train(), "1 layers are in train mode"),
    ],
    ids=["random", "mixing", "dropout", "batch-norm", "idle dropout"],
)
def test_a_network_that_is_no_function_of_one_image(module: nn.Module, words: str) -> None:
    check = checks(digits().but(module=module).first(1 if "mixing" in words else 50))["repeatability"]
    assert check.status == "flagged"
    assert words in check.message


def test_one_image_suffices_to_see_that_images_mix() -> None:
    assert checks(digits().but(module=batch_norm().train()).first(2))["repeatability"].status == "flagged"


def test_the_generator_and_the_network_are_left_alone() -> None:
    module = batch_norm()
    before, state = [tensor.clone() for tensor in module.state_dict().values()], torch.get_rng_state()
    setup = digits().but(module=Within(module, same, noisy))
    first = setup.checked()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert setup.checked() == first, "also where the network is random"
    assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))
    assert not module.training


def trained() -> SetUp:
    """A network with BatchNorm whose last layer is fitted to the digits, so that its statistics matter."""
    module = nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    torch.manual_seed(0)
    with_data = digits(split="digits:train")
    pixels = (torch.tensor(with_data.images.images[:]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    module.train()
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(25):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(pixels), torch.tensor(with_data.images.labels)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
    return digits().but(module=module.eval())


def unbounded(layer: nn.Linear) -> None:
    nn.init.constant_(layer.weight, float("inf"))


def test_batch_norm_statistics() -> None:
    setup = trained()
    assert checks(setup)["batch_norm"].status == "passed"

    def edited(change: object) -> Check:
        assert callable(change)
        return checks(setup.but(module=with_layers(setup.module, nn.BatchNorm2d, change)))["batch_norm"]

    fresh = edited(lambda layer: layer.reset_running_stats())
    assert fresh.status == "flagged" and "never saw data" in fresh.message and fresh.evidence["never_updated"] == 1
    counted = edited(lambda layer: layer.num_batches_tracked.zero_())
    assert counted.status == "passed", "old files have no counter"
    broken = edited(lambda layer: layer.running_var.fill_(float("nan")))
    assert broken.status == "flagged" and "not finite" in broken.message
    stale = edited(lambda layer: layer.running_mean.add_(torch.tensor([4.0, -4.0] * 8) * layer.running_var.sqrt()))
    assert stale.status == "flagged" and "stale" in stale.message
    assert "not finite" in checks(setup.but(module=with_layers(setup.module, nn.Linear, unbounded)))["repeatability"].message
    assert checks(digits())["batch_norm"].status == "not applicable"


def test_foreign_class_names_are_cleaned() -> None:
    setup = digits().labelled(permuted(0))
    names = tuple(f"\x1b[31m{i}" for i in range(10))
    message = checks(setup.but(images=replace(setup.images, classes=names)))["labels"].message
    assert message.isprintable()


def test_large_images_are_looked_at_in_smaller_number() -> None:
    from sharpaudit.setup_check.sample import FEWEST, MOST_BYTES, draw

    def drawn(side: int, n: int) -> int:
        pixels = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (n, side, side, 1), (0, 0, 0, 0))
        images = replace(digits().images, images=pixels, labels=np.zeros(n, np.int64))
        return len(draw(nn.Identity(), digits().preprocessing, images, device="cpu", seed=0).labels)

    assert drawn(1024, 600) == MOST_BYTES // 1024**2
    assert drawn(4096, 30) == FEWEST
    assert drawn(8, 600) == 512
