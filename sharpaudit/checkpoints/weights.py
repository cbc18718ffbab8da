"""How do checked descriptions become a network? Copied once, cast to float32, looked at for NaN and zeros, put in place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn

from sharpaudit.checkpoints import memory
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
    wanted = resolved.outline.state_dict()
    memory.check(sum(tensor.numel() * tensor.element_size() for tensor in wanted.values()), "the network")
    for name, tensor in wanted.items():
        stored = resolved.alignment.tensors.get(name)
        if isinstance(stored, StoredTensor):
            tensors[name] = for_network(name, stored, tensor, casts)
    warnings = inspect_values(tensors, allow_nonfinite=allow_nonfinite)
    steps = [f"cast {count} tensors from {cast}" for cast, count in sorted(casts.items())]
    counters = [name for name in wanted if name not in tensors and name not in resolved.fit.allowed]
    if counters:
        tensors |= {name: torch.zeros((), dtype=torch.int64) for name in counters}
        steps.append(f"{len(counters)} BatchNorm counters are not in the file (torch < 0.4.1)")
    if resolved.fit.allowed:
        built = resolved.architecture.network(**resolved.settings).state_dict()
        tensors |= {name: built[name] for name in resolved.fit.allowed}
        shown = ", ".join(clean(name) for name in resolved.fit.allowed[:5])
        warnings.append(
            f"{len(resolved.fit.allowed)} tensors are not in the file and keep the values that the network is built with "
            f"(--allow-missing): {shown}{', …' if len(resolved.fit.allowed) > 5 else ''}"
        )
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


def for_network(name: str, tensor: StoredTensor, wanted: torch.Tensor, casts: Counter[str]) -> torch.Tensor:
    """The tensor as a network of ours wants it: shape and dtype of `wanted`, floats as float32. Casts are counted by dtype.

    Raises:
        CheckpointError: integers or complex numbers where the network has floating-point weights, or numbers that its integers
            cannot hold.
    """
    values = materialise(tensor).reshape(wanted.shape)
    if values.is_complex() and not wanted.is_complex():
        raise CheckpointError(f"tensor '{clean(name)}' has dtype {tensor.dtype}, expected real numbers")
    if wanted.is_floating_point() and not values.is_floating_point():
        raise CheckpointError(
            f"tensor '{clean(name)}' has dtype {tensor.dtype}, expected floating-point weights",
            hint="quantised weights mean nothing without their scale: dequantise them first",
        )
    dtype = torch.float32 if wanted.is_floating_point() else wanted.dtype
    if values.dtype == dtype:
        return values
    cast = values.to(dtype)
    if not wanted.is_floating_point() and not torch.equal(cast.to(values.dtype), values):
        raise CheckpointError(f"tensor '{clean(name)}' has dtype {tensor.dtype}, expected {_short(dtype)}")
    casts[f"{tensor.dtype} to {_short(dtype)}"] += 1
    return cast


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def inspect_values(tensors: dict[str, torch.Tensor], *, allow_nonfinite: bool) -> list[str]:
    """Warnings about the values: constant weights, BatchNorm that never saw data.

    Raises:
        CheckpointError: NaN or infinity (unless allowed), or a negative running variance.
    """
    warnings = []
    for name, values in tensors.items():
        shown = clean(name)
        if (values.is_floating_point() or values.is_complex()) and not allow_nonfinite:
            bad = int((~torch.isfinite(values)).sum())
            if bad:
                share = 100 * bad / values.numel()
                hint = "the training diverged or the file is damaged; --allow-nonfinite measures it anyway"
                raise CheckpointError(
                    f"tensor '{shown}' holds NaN or infinity: {bad:,} of {values.numel():,} ({share:.3g}%)", hint=hint
                )
        if name.endswith("running_var") and bool((values < 0).any()):
            raise CheckpointError(f"BatchNorm '{shown}' has a negative variance", hint="the file is damaged")
    fresh = [name for name, values in tensors.items() if name.endswith(COUNTER) and values.numel() == 1 and int(values) == 0]
    if fresh:
        warnings.append(
            f"{len(fresh)} BatchNorm counters are 0 (first: {clean(fresh[0])}): BN never updated, train-mode statistics?"
        )
    still = [name for name, values in tensors.items() if name.endswith("running_var") and not values.all()]
    if still:
        warnings.append(f"{len(still)} BatchNorm layers have channels of variance 0 (first: {clean(still[0])}): dead channels?")
    constant = [name for name, values in tensors.items() if values.dim() > 1 and bool((values == values.flatten()[0]).all())]
    zero = [name for name in constant if not tensors[name].any()]
    if zero:
        warnings.append(f"{len(zero)} weight tensors are all zeros (first: {clean(zero[0])})")
    if len(constant) > len(zero):
        first = next(name for name in constant if name not in zero)
        warnings.append(f"{len(constant) - len(zero)} weight tensors hold one number only (first: {clean(first)})")
    return warnings
