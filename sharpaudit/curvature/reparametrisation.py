"""Which weights can trade scale without changing the function? Find them, rescale them, and prove that the logits stay.

Where the output of one layer reaches a single other layer through positively homogeneous operations only (ReLU, pooling,
reshaping: h(αx) = αh(x) for α > 0), the weight and bias of the first may be multiplied by α if the weight of the second is
divided by it (Dinh et al. 2017, 1703.04933). The scale and shift of a normalisation layer can take the place of the first. A
layer that feeds an evaluation-mode BatchNorm can be multiplied by α if the running mean becomes αμ and the running variance
α²(σ² + ε) − ε: exact, where in training mode any α would do. If θ' = Dθ describes the same function, then L'(Dθ) = L(θ) for all θ
nearby, so that H' = D⁻¹HD⁻¹: raw curvature takes any value at all, while θ ⊙ ∇L stays.

Nothing may cross a residual sum, a LayerNorm, a GELU or a ReLU6. The pairs are read from the graph of one forward pass, and each
claim is verified in float64: what moves the logits is not claimed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sharpaudit.curvature.network.caches import caches, forget
from sharpaudit.curvature.network.copies import copied
from sharpaudit.curvature.network.differentiable import twice_differentiable
from sharpaudit.curvature.network.graph import RESHAPING, nodes, parameter
from sharpaudit.curvature.network.substitution import substituted

By = Literal["layers", "units"]
"""One factor α for all of a layer, or a factor between 1 and α for each of its units (channels)."""

TOLERANCE = 1e-6
"""Largest change of a logit, relative to the largest logit, that float64 rounding may explain; 1e-15 is usual."""

HOMOGENEOUS = RESHAPING | {
    "AdaptiveAvgPool2DBackward0", "AdaptiveMaxPool2DBackward0", "AmaxBackward0", "AvgPool2DBackward0", "ConstantPadNdBackward0",
    "LeakyReluBackward0", "MaxPool2DWithIndicesBackward0", "MeanBackward0", "MeanBackward1", "NegBackward0",
    "PreluKernelBackward0", "ReflectionPad2DBackward0", "ReluBackward0", "SelectBackward0", "SumBackward0", "SumBackward1",
}  # fmt: skip
"""Operations of one input with h(αx) = αh(x) for α > 0."""

LAYERS = {"AddmmBackward0": (1, 2, 0), "ConvolutionBackward0": (0, 1, 2), "MmBackward0": (0, 1, None)}
NORMS = {
    "CudnnBatchNormBackward0": (0, 1, 2), "NativeBatchNormBackward0": (0, 1, 2), "NativeGroupNormBackward0": (0, 1, 2),
    "NativeLayerNormBackward0": (0, 1, 2),
}  # fmt: skip
"""Where these operations take their input, weight and bias."""


@dataclass(frozen=True)
class Pair:
    """Weights that are multiplied by a factor, and what takes the factor back. Names are those of the module's tensors."""

    raised: tuple[str, ...]
    """Multiplied, unit by unit along the first dimension: weight and bias of a layer, or scale and shift of a normalisation."""
    lowered: str | None = None
    """The weight that is divided, along its second dimension."""
    groups: int = 1
    """Groups of the convolution that `lowered` belongs to."""
    statistics: tuple[str, str] | None = None
    """Instead of `lowered`: running mean and variance that follow the factor."""
    eps: float = 0.0
    """ε of the BatchNorm they belong to."""
    by_unit: bool = True
    """Whether units may have factors of their own."""


@dataclass(frozen=True)
class Rescaled:
    """The same function in other weights."""

    module: nn.Module
    """A float64 copy."""
    pairs: tuple[Pair, ...]
    """What was rescaled; no layer takes part twice."""
    change: float
    """Largest change of a logit, relative to the largest logit, on the images it was verified on."""


def rescale(module: nn.Module, images: Tensor, alpha: float, by: By = "layers") -> Rescaled | None:
    """A copy of `module` with every pair rescaled by `alpha`, verified on `images`; None where nothing can be rescaled."""
    exact, images = copied(module, torch.float64), images.double()
    forget(caches(exact))
    found = pairs(exact, images[:1])
    before = _logits(exact, images)
    if not found or not before.isfinite().all() or not before.any():
        return None

    def attempt(chosen: Sequence[Pair]) -> Rescaled | None:
        moved = scaled(exact, chosen, alpha, by)
        change = ((_logits(moved, images) - before).abs().max() / before.abs().max()).item()
        return Rescaled(moved, tuple(chosen), change) if chosen and change <= TOLERANCE else None

    return attempt(found) or attempt([*_sound(found, lambda pair: attempt([pair]) is not None)])


def pairs(module: nn.Module, images: Tensor) -> list[Pair]:
    """What the graph of a forward pass of `images` says can be rescaled, later layers first; no weight occurs twice."""
    own = {name: p for name, p in module.named_parameters() if p.is_floating_point()}
    leaves = {name: p.detach().requires_grad_() for name, p in own.items()}
    substitutes = {id(p): leaf for p, leaf in zip(own.values(), leaves.values(), strict=True)}
    with torch.enable_grad(), twice_differentiable(), substituted(module, substitutes):
        logits = module(images)
    forget(caches(module))
    graph = list(nodes(logits.grad_fn))
    uses = Counter(child for node in graph for child, _ in node.next_functions if child is not None)
    names = {id(leaf): name for name, leaf in leaves.items() if uses[_accumulator(leaf)] == 1}
    buffers = {buffer.data_ptr(): name for name, buffer in module.named_buffers()}
    found: list[Pair] = []
    taken: set[str] = set()
    for pair in _candidates(graph, uses, names, buffers):
        touched = {*pair.raised, *([pair.lowered] if pair.lowered else [])}
        if not touched & taken:
            taken |= touched
            fits = pair.lowered is None or not leaves[pair.lowered].shape[1] * pair.groups % len(leaves[pair.raised[0]])
            found.append(replace(pair, by_unit=fits))
    return found


@torch.no_grad()
def scaled(module: nn.Module, chosen: Sequence[Pair], alpha: float, by: By) -> nn.Module:
    """A copy of `module` in which the pairs `chosen` are rescaled, whether or not that keeps the function."""
    copy = copied(module)
    tensors = dict(copy.named_parameters()) | dict(copy.named_buffers())
    for pair in chosen:
        first = tensors[pair.raised[0]]
        factors = torch.full_like(first.flatten(1)[:, 0] if first.ndim > 1 else first, alpha)
        if by == "units" and pair.by_unit and len(factors) > 1:
            factors = factors ** (torch.arange(len(factors), device=factors.device) / (len(factors) - 1))
        for name in pair.raised:
            tensors[name].mul_(_along(factors, tensors[name]))
        if pair.lowered is not None:
            weight = tensors[pair.lowered]
            weight.div_(_inputs(factors, weight, pair.groups) if pair.by_unit else alpha)
        if pair.statistics is not None:
            mean, variance = (tensors[name] for name in pair.statistics)
            mean.mul_(factors)
            variance.add_(pair.eps).mul_(factors**2).sub_(pair.eps)
    return copy


def _candidates(graph: Sequence[Any], uses: Counter[Any], names: dict[int, str], buffers: dict[int, str]) -> Iterator[Pair]:
    """Every pair that the graph shows; those with two layers before those of a layer and its BatchNorm."""

    def tensors(node: Any) -> tuple[str | None, tuple[str, ...]]:
        """Names of the weight and of weight and bias; None where the weight is computed, shared or absent."""
        _, *places = (LAYERS | NORMS)[node.name()]
        given = [node.next_functions[place][0] for place in places if place is not None]
        found = [names.get(id(parameter(child))) for child in given if child is not None]
        return (found[0], tuple(name for name in found if name)) if found and all(found) else (None, ())

    for node in graph:
        if node.name() in LAYERS:
            above, (weight, _) = _above(node, uses), tensors(node)
            raised = tensors(above)[1] if above is not None and _scalable(above) else ()
            if raised and weight is not None and _scalable(node):
                groups = getattr(node, "_saved_groups", 1)
                yield Pair(raised, weight, groups)
    for node in graph:
        if node.name() in NORMS and "BatchNorm" in node.name():
            above = node.next_functions[0][0]
            statistics = [buffers.get(t.data_ptr()) for t in (node._saved_running_mean, node._saved_running_var) if t is not None]
            if above is not None and above.name() in LAYERS and uses[above] == 1 and _scalable(above) and len(statistics) == 2:
                mean, variance = statistics
                if (raised := tensors(above)[1]) and mean and variance:
                    eps = getattr(node, "_saved_eps", None) or node._saved_epsilon
                    yield Pair(raised, statistics=(mean, variance), eps=eps)


def _above(node: Any, uses: Counter[Any]) -> Any:
    """The layer or normalisation whose output reaches `node`, and nothing else, through homogeneous operations."""
    above = node.next_functions[LAYERS[node.name()][0]][0]
    while above is not None and uses[above] == 1:
        if above.name() in LAYERS or above.name() in NORMS:
            return above
        if above.name() not in HOMOGENEOUS:
            return None
        above = above.next_functions[0][0]
    return None


def _scalable(node: Any) -> bool:
    """Transposed convolutions keep their units in another dimension."""
    return not getattr(node, "_saved_transposed", False)


def _accumulator(leaf: Tensor) -> Any:
    """The node that stands for `leaf` in every graph."""
    return torch.autograd.graph.get_gradient_edge(leaf).node


def _sound(found: Sequence[Pair], holds: Callable[[Pair], bool]) -> Iterator[Pair]:
    """The pairs that keep the function when rescaled alone, unit by unit or else as a whole."""
    for pair in found:
        whole = replace(pair, by_unit=False)
        if holds(pair):
            yield pair
        elif holds(whole):
            yield whole


def _along(factors: Tensor, tensor: Tensor) -> Tensor:
    """One factor for each entry of the first dimension of `tensor`."""
    return factors.view(-1, *[1] * (tensor.ndim - 1))


def _inputs(factors: Tensor, weight: Tensor, groups: int) -> Tensor:
    """One factor for each input unit of `weight` (outputs, inputs / groups, ...).

    After flattening, each unit's pixels stand together: as many inputs have the same factor.
    """
    outputs, inputs = weight.shape[0], weight.shape[1] * groups
    spread = factors.repeat_interleave(inputs // len(factors)).view(groups, 1, -1).expand(groups, outputs // groups, -1)
    return spread.reshape(outputs, -1).view(*weight.shape[:2], *[1] * (weight.ndim - 2))


@torch.no_grad()
def _logits(module: nn.Module, images: Tensor) -> Tensor:
    with twice_differentiable():
        logits: Tensor = module(images)
    forget(caches(module))
    return logits
