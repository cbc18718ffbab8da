"""The columns that a device reduces are those of `Predictions.from_logits`, which shares no code with it and knows no torch."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch

from sharpaudit.metrics.predictions import Predictions
from sharpaudit.workbench.columns import columns, predictions
from tests.accelerator import DEVICE, accelerator

SEED = int(os.environ.get("TEST_SEED", random.randrange(2**32)))


@pytest.mark.parametrize("number", range(8))
@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_columns_are_those_of_numpy(number: int, device: str) -> None:
    rng = np.random.default_rng([SEED, number])
    n, classes = int(rng.integers(1, 60)), int(rng.integers(2, 30))
    logits = torch.tensor(rng.normal(scale=10 ** rng.uniform(-3, 3), size=(n, classes)), dtype=torch.float32)
    logits[rng.random(n) < 0.2] = 0.5  # all equal: the first is the prediction
    labels = rng.integers(classes, size=n)
    cuts = sorted(rng.integers(n + 1, size=2))
    with accelerator():
        answers = [part.to(device) for part in torch.tensor_split(logits, [int(cut) for cut in cuts]) if len(part)]
        given = torch.tensor_split(torch.tensor(labels), [int(cut) for cut in cuts])
        parts = [columns(z, y.to(device)) for z, y in zip(answers, [y for y in given if len(y)], strict=True)]
        found = predictions(parts, labels, answers)
    expected = Predictions.from_logits(logits.numpy(), labels)
    for name, column in expected.columns().items():
        theirs = found.columns()[name]
        assert theirs.dtype == column.dtype
        if column.dtype == np.float64:  # exp and log of two libraries, each right to the last digit or two
            assert theirs == pytest.approx(column, rel=1e-13, abs=1e-13), (SEED, name)
        else:
            assert np.array_equal(theirs, column), (SEED, name)


def test_logits_that_are_not_finite_are_refused() -> None:
    z = torch.tensor([[0, 1], [0, torch.nan], [torch.inf, 0]])
    with pytest.raises(ValueError, match="the logits of 2 of 3 examples are not finite; first: example 1"):
        predictions([columns(z, torch.tensor([0, 0, 0]))], np.zeros(3, np.int64))
