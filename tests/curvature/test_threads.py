"""Threads change nothing but the time."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.threads import Threads
from tests.cases import case


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_results_come_in_order_and_few_items_are_taken_ahead(size: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for i in range(7):
            taken.append(i)
            yield i

    results = Threads(size).map(lambda i: (i * i, len(taken)), items())
    found = list(results)
    assert [square for square, _ in found] == [i * i for i in range(7)]
    assert all(ahead <= i + size for i, (_, ahead) in enumerate(found))


@pytest.mark.usefixtures("two_threads")
def test_products_have_the_same_bits_on_two_threads_and_on_one() -> None:
    c = case("conv-bn", n=37)
    two = Objective(*c, batch_size=8)
    v = torch.randn(two.num_parameters, generator=torch.Generator().manual_seed(0)).double()
    found = two.hvp(v), two.ggn_product(v), two.logit_jvp(v)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    one = Objective(*c, batch_size=8)
    assert all(torch.equal(a, b) for a, b in zip(found, (one.hvp(v), one.ggn_product(v), one.logit_jvp(v)), strict=True))


@pytest.mark.usefixtures("two_threads")
def test_an_error_in_a_thread_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        list(Threads(2).map(lambda i: 1 // i, [1, 0]))


@pytest.mark.usefixtures("two_threads")
def test_shards_that_are_light_beside_the_weights_are_not_shared() -> None:
    """Each would cost as much as its weights: one at a time then, and as few as there can be."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 2000), nn.ReLU(), nn.Linear(2000, 3)).double().eval()
    inputs, labels = case("conv-bn", n=37)[1:]
    wide, narrow = Objective(module, inputs, labels, batch_size=64), Objective(*case("conv-bn", n=37), batch_size=64)
    assert (wide.shards.threads.size, wide.shards.size) == (1, 32)
    assert (narrow.shards.threads.size, narrow.shards.size) == (2, 9)
