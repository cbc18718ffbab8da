"""What goes to a device and back is what was sent, although nobody waits for it; on the pretend device copies arrive late."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from sharpaudit.transfer import AHEAD, Aside, fetched, read_ahead, sent
from tests.accelerator import DEVICE, accelerator

SEED = int(os.environ.get("TEST_SEED", random.randrange(2**32)))


def batches(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return [torch.rand(1 + number % 3, 2, generator=generator) for number in range(count)]


def test_a_copy_that_nobody_waited_for_holds_noise() -> None:
    """Of the pretend device: else the tests below would prove nothing."""
    with accelerator() as device:
        there = torch.ones(3).to(DEVICE)
        device.waits.clear()
        copy = torch.empty(3).copy_(there, non_blocking=True)
        assert not copy.equal(torch.ones(3)) and not device.waits
        event = torch.Event(torch.device(DEVICE))
        event.record()
        event.synchronize()
        assert copy.equal(torch.ones(3)) and device.waits.total() == 1


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_what_is_fetched_was_waited_for_once(device: str) -> None:
    values = batches(3)
    with accelerator() as pretended:
        there = [sent(each, device) for each in values]
        pretended.waits.clear()
        found = fetched([2 * each for each in there])
        assert sum(pretended.waits.values()) == (device == DEVICE)
    assert all(np.array_equal(a, 2 * b.numpy()) for a, b in zip(found, values, strict=True))


def test_sent_takes_on_the_type_of_another_tensor() -> None:
    with accelerator() as device:
        like = torch.zeros(1, dtype=torch.float64).to(DEVICE)
        device.waits.clear()
        assert (sent(torch.ones(2), like).dtype, sent(torch.ones(2), like).device.type) == (torch.float64, DEVICE)
        assert not device.waits


@pytest.mark.parametrize("count", [0, 1, AHEAD, 3 * AHEAD + 1])
@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_batches_arrive_in_order_and_few_are_read_ahead(device: str, count: int) -> None:
    values, read = batches(count), 0

    def reading() -> Iterator[Tensor]:
        nonlocal read
        for each in values:
            read += 1
            yield each

    with accelerator() as pretended:
        found = []
        for number, batch in enumerate(read_ahead(reading(), device)):
            assert read <= number + 1 + AHEAD
            found.append(fetched([batch])[0])
        pretended.waits.clear()
        assert sum(1 for _ in read_ahead(iter(values), device)) == count
        assert not pretended.waits, "the thread waits, not we"
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(found, values, strict=True))
    assert len(found) == count


def test_an_error_of_the_reader_reaches_the_consumer() -> None:
    def reading() -> Iterator[Tensor]:
        yield torch.zeros(1)
        raise OSError("the disk is gone")

    with accelerator(), pytest.raises(OSError, match="the disk is gone"):
        list(read_ahead(reading(), DEVICE))


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_work_aside_sees_what_there_was_in_order(device: str) -> None:
    values, seen = batches(3 * AHEAD), []
    with accelerator() as pretended, Aside(lambda array: seen.append(array.copy())) as aside:
        for each in values:
            there = sent(each.clone(), device)
            pretended.waits.clear()
            aside(there)
            assert not pretended.waits
            there.zero_()
    assert len(seen) == len(values)
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(seen, values, strict=True))


def test_an_error_of_the_work_aside_is_told_at_the_end() -> None:
    def work(array: object) -> None:
        raise OSError("no")

    with accelerator(), pytest.raises(OSError, match="no"), Aside(work) as aside:
        aside(torch.zeros(1).to(DEVICE))
