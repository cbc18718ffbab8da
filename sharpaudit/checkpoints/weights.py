"""How do checked descriptions become a network? Copied once, cast to float32, looked at for NaN and zeros, put in place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from sharpaudit.checkpoints.fitting import Resolved
from sharpaudit.checkpoints.matching import COUNTER
from sharpaudit.checkpoints.tensors import StoredTensor, bits
from sharpaudit.errors import CheckpointError, clean


@dataclass(frozen=True)
class Filled:
    """A network with the weights of the file."""

    module: nn.Module
    """In eval mode, float32, on the CPU."""
    steps: list[str]
    """Casts and omissions."""
    warnings: list[str]
    """What is odd about the values."""


def fill(resolved: Resolved, *, allow_nonfinite: bool) -> Filled:
    """The network that `resolved` describes, with its weights.

    Raises:
        CheckpointError: values that no working network has.
    """
    casts: Counter[str] = Counter()
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in resolved.shapes.items():
        stored = resolved.alignment.tensors.get(name)
        if isinstance(stored, StoredTensor):
            tensors[name] = for_network(stored, shape, casts)
    warnings = inspect_values(tensors, allow_nonfinite=allow_nonfinite)
    steps = [f"cast {count} tensors from {dtype} to float32" for dtype, count in sorted(casts.items())]
    absent = [name for name in resolved.shapes if name not in tensors]
    if absent:
        tensors |= {name: torch.zeros((), dtype=torch.int64) for name in absent}
        steps.append(f"{len(absent)} BatchNorm counters are not in the file (torch < 0.4.1)")
    module = resolved.outline
    ties = sum(1 for _ in module.named_parameters(remove_duplicate=False)) - sum(1 for _ in module.parameters())
    module.load_state_dict(tensors, assign=True)
    if ties or resolved.architecture.ran_user_code or _has_holes(module):
        module = resolved.architecture.network(**resolved.settings)
        module.load_state_dict(tensors)
    return Filled(module.float().eval(), steps, warnings)


def _has_holes(module: nn.Module) -> bool:
    """Whether tensors outside the state dict are still on the meta device, so that the network must be built for real."""
    parts = [*module.parameters(), *module.buffers(), *(value for part in module.modules() for value in vars(part).values())]
    return any(isinstance(value, torch.Tensor) and value.is_meta for value in parts)


def materialise(tensor: StoredTensor) -> torch.Tensor:
    """A copy of the elements, contiguous, in the dtype of the file. `tensor` has passed its `check`."""
    return torch.from_numpy(bits(tensor)).view(getattr(torch, tensor.dtype))


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
