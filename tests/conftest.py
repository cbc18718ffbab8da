"""Shared by all tests."""

import pytest
import torch

torch.set_num_threads(1)  # the networks here are small: on a busy machine waiting threads cost more than they bring


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks that a test makes are the same whatever ran before it, and beside it."""
    torch.manual_seed(0)
