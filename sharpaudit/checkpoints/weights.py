"""How do checked descriptions become the tensors of a network? Copied once, cast to float32, and looked at for NaN and zeros."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from sharpaudit.checkpoints.matching import COUNTER
from sharpaudit.checkpoints.tensors import ITEM_BYTES, StoredTensor
from sharpaudit.errors import CheckpointError, clean


def materialise(tensor: StoredTensor) -> torch.Tensor:
    """A copy of the elements, contiguous, in the dtype of the file. `tensor` has passed its `check`."""
    if not tensor.num_elements:
        return torch.empty(tensor.shape, dtype=getattr(torch, tensor.dtype))
    start, stop = (element * ITEM_BYTES[tensor.dtype] for element in (tensor.offset, tensor.last_element + 1))
    copied = torch.from_numpy(np.frombuffer(tensor.storage.data[start:stop], dtype=np.uint8).copy())
    return torch.as_strided(copied.view(getattr(torch, tensor.dtype)), tensor.shape, tensor.strides).contiguous()


def for_network(tensor: StoredTensor, shape: tuple[int, ...], casts: Counter[str]) -> torch.Tensor:
    """The tensor as a network of ours wants it: that shape, float32 where it is a float. Casts are counted by dtype."""
    values = materialise(tensor).reshape(shape)
    if values.is_floating_point() and values.dtype != torch.float32:
        casts[tensor.dtype] += 1
        values = values.float()
    return values


def inspect_values(tensors: dict[str, torch.Tensor], *, allow_nonfinite: bool) -> list[str]:
    """Warnings about the values: constant weights, BatchNorm that never saw data.

    Raises:
        CheckpointError: NaN or infinity (unless allowed), or a negative running variance.
    """
    warnings = []
    for name, values in tensors.items():
        shown = clean(name)
        if values.is_floating_point() and not allow_nonfinite:
            bad = int((~torch.isfinite(values)).sum())
            if bad:
                share = 100 * bad / values.numel()
                hint = "the training diverged or the file is damaged; --allow-nonfinite measures it anyway"
                raise CheckpointError(
                    f"tensor '{shown}' holds NaN or infinity: {bad:,} of {values.numel():,} ({share:.3g} %)", hint=hint
                )
        if name.endswith("running_var") and bool((values < 0).any()):
            raise CheckpointError(f"BatchNorm '{shown}' has a negative variance", hint="the file is damaged")
    fresh = [name for name, values in tensors.items() if name.endswith(COUNTER) and values.numel() == 1 and int(values) == 0]
    if fresh:
        warnings.append(
            f"{len(fresh)} BatchNorm counters are 0 (first: {clean(fresh[0])}): BN never updated, train-mode statistics?"
        )
    zero = [name for name, values in tensors.items() if values.dim() > 1 and not values.any()]
    if zero:
        warnings.append(f"{len(zero)} weight tensors are all zeros (first: {clean(zero[0])})")
    return warnings
