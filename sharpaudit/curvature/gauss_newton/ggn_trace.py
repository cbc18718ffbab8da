"""What is the trace of the Gauss-Newton matrix, exactly or nearly so?

    tr G = (1/n) Σᵢ Σ_k p_ik ‖Jᵢᵀ(e_k − pᵢ)‖²

needs the norm of each example's gradient of each parameter, for each class. Of a layer that ran once, it follows from the layer's
input and its output's gradient without forming it (Goodfellow 2015; Rochette et al. 2019), and one backward pass for each class,
down to the layers' outputs, gives all of them. On a ResNet-20 with ten classes that costs about five Hessian products and has no
sampling error, where a hundred random probes leave 6%.

No layer is taken to compute what its class says: on a few examples the norms are held against explicit gradients. Parameters
that fail, ran more than once or belong to no layer known here (tied and reparametrised ones, those of attention, scalars) have
explicit gradients formed for every example and class, which is always right and several times as dear.

Where classes are too many for that, `DRAWS` of them are drawn for each example, with its probabilities p_i: the mean of
‖Jᵢᵀ(e_k − pᵢ)‖² over draws k has the right expectation, and averaged over examples it has little scatter left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from sharpaudit.curvature.draws import generator
from sharpaudit.curvature.gauss_newton.gram import BACKWARD, pulled_back
from sharpaudit.curvature.objective import Objective
from sharpaudit.stats import evenly_spaced
from sharpaudit.transfer import fetched, sent

SquaredNorms = Callable[[Tensor], Tensor]
"""Gradient of a layer's output (b, ...) ↦ squared norm of each example's gradient of one of its parameters (b,), float64."""

Use = tuple[GradientEdge, SquaredNorms]
"""The output of a layer that used a parameter, and what its gradient says of the parameter's."""

Gradients = Sequence[Tensor | None]

Progress = Callable[[float], None]

CHUNK = 16
"""Examples at a time; unfolded images of all layers are held for as many."""

TRIED = 4
"""Examples whose norms are held against explicit gradients."""

DRAWS = 20
"""Classes drawn for each example where there are too many: on 512 examples they leave an error of 1% or so."""

CLASSES: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d, _BatchNorm, nn.GroupNorm, nn.LayerNorm)
"""Layers whose gradient norms have a formula here."""


@dataclass(frozen=True)
class GgnTrace:
    """The trace of G in parts."""

    examples: NDArray[np.float64]
    """What each example adds (n,); tr G is their mean."""
    layers: dict[str, float]
    """The trace of each layer's block, by the layer's name; tr G is their sum."""
    draws: NDArray[np.float64] | None = None
    """Where classes were drawn, what each example adds in each draw (draws, n); None for an exact trace."""

    @property
    def value(self) -> float:
        """The trace, in nats per squared weight."""
        return float(self.examples.mean())


def ggn_trace(
    objective: Objective, most: float = float("inf"), *, seed: int = 0, on_progress: Progress = lambda fraction: None
) -> GgnTrace:
    """The trace of G for each example and each layer: exact up to rounding where that takes the time of at most `most` forward
    passes for each example, else from classes that are drawn.
    """
    layered = with_formula(objective)
    drawn = None
    if forwards(objective.num_classes, formulas_only=len(layered) == len(objective.theta)) > most:
        p = objective.logits().double().softmax(1).cpu()
        drawn = torch.multinomial(p, DRAWS, replacement=True, generator=generator(seed, 0))
        drawn = sent(drawn, objective.inputs.device)
    found = _by_layers(objective, layered, drawn, lambda part: on_progress(part / 2))
    explicit = [index for index in range(len(objective.theta)) if index not in found]
    if explicit:
        found |= _by_gradients(objective, explicit, drawn, lambda part: on_progress((1 + part) / 2))
    draws, *means = fetched([torch.stack([*found.values()]).sum(0), *(found[index].mean() for index in range(len(found)))])
    layers: dict[str, float] = {}
    for name, mean in zip(objective.names, means, strict=True):
        layer = name.rpartition(".")[0]
        layers[layer] = layers.get(layer, 0.0) + float(mean)
    return GgnTrace(draws.mean(0), layers, None if drawn is None else draws)


def forwards(num_classes: int, *, formulas_only: bool) -> int:
    """Forward passes that take as long as the exact trace does, for each example."""
    return num_classes * (2 if formulas_only else 2 + BACKWARD)


def with_formula(objective: Objective) -> set[int]:
    """The places of the parameters whose norms by layers are those of explicit gradients, on a few examples."""
    tried = objective.variant(evenly_spaced(objective.num_examples, TRIED))
    drawn = torch.arange(min(DRAWS, tried.num_classes), device=tried.inputs.device).expand(tried.num_examples, -1)
    claimed = _by_layers(tried, set(range(len(objective.theta))), drawn)
    if not claimed:
        return set()
    norms, true = torch.stack([*claimed.values()]), torch.stack([*_by_gradients(tried, [*claimed], drawn).values()])
    eps: float = torch.finfo(objective.dtype).eps
    agree = ((norms - true).abs() <= 10 * eps**0.5 * true + eps * true.sum(0)).all((1, 2))
    return {index for index, holds in zip(claimed, agree.tolist(), strict=True) if holds}


def _directions(logits: Tensor, drawn: Tensor | None) -> Tensor:
    """What to pull back through `logits` (b, classes), (draws, parts, b, classes).

    What an example adds to the trace is the mean over draws of the sum over parts of the squared norms of what comes back: one
    draw with a part √p_k (e_k − p) for each class, or one part e_k − p for each of the classes `drawn` (b, draws).
    """
    p = logits.detach().double().softmax(1)
    onehots = torch.eye(p.shape[1], dtype=p.dtype, device=p.device)
    if drawn is None:
        return (p.T.sqrt()[:, :, None] * (onehots[:, None] - p))[None]
    return (onehots[drawn.T] - p)[:, None]


def _by_gradients(
    objective: Objective, chosen: list[int], drawn: Tensor | None, on_progress: Progress = lambda fraction: None
) -> dict[int, Tensor]:
    """What each example adds (draws, n) to the trace of the block of each `chosen` parameter, from explicit gradients."""
    leaves = [objective.theta[index] for index in chosen]
    sizes = [leaf.numel() for leaf in leaves]
    directions = _directions(objective.logits(), drawn)
    draws, parts, n, _ = directions.shape
    rows = []
    for gradients in pulled_back(objective, directions.flatten(0, 1).transpose(0, 1), leaves):
        blocks = torch.split(gradients.double(), sizes, dim=1)
        rows.append(torch.stack([block.square().sum(1).view(draws, parts).sum(1) for block in blocks]))
        on_progress(len(rows) / n)
    return dict(zip(chosen, torch.stack(rows, dim=2), strict=True))


def _by_layers(
    objective: Objective, chosen: set[int], drawn: Tensor | None, on_progress: Progress = lambda fraction: None
) -> dict[int, Tensor]:
    """The same from the formulas of layers; of those of the `chosen` parameters only that have one for every example."""
    parts: list[dict[int, Tensor]] = []
    for start in range(0, objective.num_examples, CHUNK):
        chunk = slice(start, start + CHUNK)
        parts.append(_batch(objective, objective.inputs[chunk], chosen, None if drawn is None else drawn[chunk]))
        on_progress(min(1.0, len(parts) * CHUNK / objective.num_examples))
    everywhere = sorted(set.intersection(*map(set, parts)))
    return {index: torch.cat([part[index] for part in parts], dim=1) for index in everywhere}


@torch.enable_grad()
def _batch(objective: Objective, images: Tensor, chosen: set[int], drawn: Tensor | None) -> dict[int, Tensor]:
    """`_by_layers` of one batch."""
    place = {id(objective.theta[index]): index for index in chosen}
    uses: dict[int, list[Use | None]] = {index: [] for index in chosen}

    @torch.no_grad()
    def see(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        for name, p in layer.named_parameters(recurse=False):
            if id(p) in place:
                uses[place[id(p)]].append(_use(layer, name, inputs, output, len(images)))

    with ExitStack() as stack:
        for layer in objective.module.modules():
            if isinstance(layer, CLASSES):
                stack.callback(layer.register_forward_hook(see).remove)
        logits = objective.forward(images, fold=False)
    once = {index: seen[0] for index, seen in uses.items() if len(seen) == 1 and seen[0] is not None}
    idle = _idle(objective, logits, [index for index in chosen if not uses[index]])
    directions = _directions(logits, drawn)
    totals = {index: directions.new_zeros(len(directions), len(images)) for index in [*once, *idle]}
    edges = [edge for edge, _ in once.values()]
    for draw, parts in enumerate(directions if once else ()):
        for direction in parts:
            gradients: Gradients = grad([logits], edges, [direction.to(logits)], retain_graph=True, allow_unused=True)
            objective.passes["backward"] += len(images)
            for (index, (_, squared_norms)), gradient in zip(once.items(), gradients, strict=True):
                if gradient is not None and index in totals:
                    try:
                        totals[index][draw] += squared_norms(gradient)
                    except RuntimeError:  # shapes that the class does not have
                        del totals[index]
    return totals


def _idle(objective: Objective, logits: Tensor, unseen: list[int]) -> list[int]:
    """Those of the parameters that no known layer used which nothing else used either."""
    if not unseen:
        return []
    leaves = [objective.theta[index] for index in unseen]
    found: Gradients = grad(logits.sum(), leaves, retain_graph=True, allow_unused=True)
    return [index for index, gradient in zip(unseen, found, strict=True) if gradient is None]


def _use(layer: nn.Module, name: str, inputs: tuple[Tensor, ...], output: Tensor, examples: int) -> Use | None:
    """None where the layer was not called as its class is, with a batch along the first dimension."""
    if not (len(inputs) == 1 and len(inputs[0]) == len(output) == examples and output.requires_grad):
        return None
    try:
        return get_gradient_edge(output), _squared_norms(layer, name, inputs[0].detach())  # now: what follows may work in place
    except RuntimeError:
        return None


def _squared_norms(layer: nn.Module, name: str, x: Tensor) -> SquaredNorms:
    """Of the parameter `name` of a layer with the input `x`."""
    if isinstance(layer, nn.Linear):
        columns = x.reshape(len(x), 1, -1, x.shape[-1]).transpose(2, 3)
        return _of_product(columns, layer.out_features, name, lambda g: g.reshape(len(x), 1, -1, g.shape[-1]).transpose(2, 3))
    if isinstance(layer, nn.Conv2d):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = functional.pad(x, layer._reversed_padding_repeated_twice, mode)
        columns = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
        columns = columns.view(len(x), layer.groups, -1, columns.shape[-1])
        outputs = layer.out_channels // layer.groups
        return _of_product(columns, outputs, name, lambda g: g.reshape(len(x), layer.groups, outputs, -1))
    if isinstance(layer, _BatchNorm):
        assert layer.running_mean is not None and layer.running_var is not None
        shape = (1, -1) + (1,) * (x.ndim - 2)
        unit = (x - layer.running_mean.view(shape)) * torch.rsqrt(layer.running_var + layer.eps).view(shape)
        shared = list(range(2, x.ndim))
    elif isinstance(layer, nn.GroupNorm):
        unit, shared = functional.group_norm(x, layer.num_groups, eps=layer.eps), list(range(2, x.ndim))
    else:
        assert isinstance(layer, nn.LayerNorm)
        unit = functional.layer_norm(x, layer.normalized_shape, eps=layer.eps)
        shared = list(range(1, x.ndim - len(layer.normalized_shape)))

    def of_scale_or_shift(gradient: Tensor) -> Tensor:
        """Of y = γ·unit + β, both shared over some of the dimensions."""
        each = ((gradient * unit) if name == "weight" else gradient).double()
        return (each.sum(shared) if shared else each).square().flatten(1).sum(1)

    return of_scale_or_shift


def _of_product(columns: Tensor, outputs: int, name: str, arranged: Callable[[Tensor], Tensor]) -> SquaredNorms:
    """‖ΔXᵀ‖² of a weight, or ‖Δ1‖² of a bias, for inputs X (b, groups, D, L) and output gradients Δ (b, groups, outputs, L).

    Either forms ΔXᵀ, or uses ‖ΔXᵀ‖² = ⟨ΔᵀΔ, XᵀX⟩ where that takes fewer multiplications: L² against D·L for each output.
    """
    if name == "bias":
        return lambda gradient: arranged(gradient).double().sum(3).square().sum((1, 2))
    inner, positions = columns.shape[2:]
    if positions * (outputs + inner // 8) >= inner * outputs:
        return lambda gradient: (arranged(gradient) @ columns.transpose(2, 3)).double().square().sum((1, 2, 3))
    gram = columns.transpose(2, 3) @ columns

    def by_gram(gradient: Tensor) -> Tensor:
        delta = arranged(gradient)
        return ((delta.transpose(2, 3) @ delta) * gram).double().sum((1, 2, 3))

    return by_gram
