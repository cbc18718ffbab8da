"""Corrupting must not be what an audit waits for."""

import time

import pytest
import torch

from sharpaudit.checkpoints import zoo
from sharpaudit.corruptions import NAMES, corrupt
from tests.corruptions.images import photographs


def core_seconds_an_image(work: object, count: int, rounds: int = 3) -> float:
    """Processor time of this process, the best of a few rounds: a busy machine does not matter."""
    assert callable(work)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best / count


@pytest.fixture(scope="module")
def forward() -> float:
    """Of a ResNet-18 with a CIFAR stem."""
    network = zoo.build("resnet18").eval()
    images = torch.zeros(8, 3, 32, 32)
    with torch.inference_mode():
        return core_seconds_an_image(lambda: network(images), 8)


@pytest.mark.parametrize("name", NAMES)
def test_each_costs_less_than_a_tenth_of_a_forward_pass(name: str, forward: float) -> None:
    images, indices = photographs(64, 32), torch.arange(64)
    assert core_seconds_an_image(lambda: corrupt(images, name, 3, indices=indices), 64) < forward / 10
