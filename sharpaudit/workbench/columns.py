"""What did the network say about each example? The columns of `Predictions`, computed where the logits are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpaudit.metrics.predictions import Predictions
from sharpaudit.transfer import fetched

NUM_COLUMNS = 6
"""Rows of `columns`."""


def columns(logits: Tensor, labels: Tensor) -> Tensor:
    """What `Predictions` keeps of each example, and last whether its logits are finite, in float64 (6, n).

    The same sums as `Predictions.from_logits`, which knows no torch.
    """
    z, label = logits.double(), labels[:, None]
    log_p = z - z.amax(1, keepdim=True)
    log_p = log_p - log_p.exp().sum(1, keepdim=True).log()
    p, prediction = log_p.exp(), z.argmax(1, keepdim=True)
    of_label = p.gather(1, label)
    others = z.scatter(1, label, -torch.inf).amax(1, keepdim=True)
    found = [
        prediction.double(),
        p.gather(1, prediction),
        -log_p.gather(1, label),
        p.square().sum(1, keepdim=True) - 2 * of_label + 1,
        z.gather(1, label) - others,
        z.isfinite().all(1, keepdim=True).double(),
    ]
    return torch.cat(found, 1).T


def predictions(parts: Sequence[Tensor], labels: NDArray[np.int64], logits: Sequence[Tensor] = ()) -> Predictions:
    """The `columns` of all batches, and their float32 `logits` where they are to be kept, brought to the host in one go.

    Raises:
        ValueError: logits that are not finite.
    """
    found, *kept = fetched([torch.cat(list(parts), 1), *([torch.cat(list(logits))] if logits else [])])
    prediction, confidence, nll, brier, margin, finite = found
    bad = np.flatnonzero(finite == 0)
    if len(bad):
        raise ValueError(f"the logits of {len(bad)} of {len(labels)} examples are not finite; first: example {bad[0]}")
    return Predictions(labels, prediction.astype(np.int64), confidence, nll, brier, margin, kept[0] if kept else None)
