"""What is each example's gradient of a layer's parameter, from the layer's input and the gradient of its output alone?

Of a layer that ran once it needs no backward pass of its own (Goodfellow 2015; Rochette et al. 2019): a linear layer or a
convolution with the inputs X, unfolded to one column for each output position, and output gradients Δ has the gradient ΔXᵀ, and a
norm sums its outputs' gradients over what shares a scale. One backward pass down to the layers' outputs serves them all.

No layer is taken to compute what its class says: on a few examples the gradients are held against explicit ones (`with_formula`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from sharpaudit.curvature.gauss_newton.explicit import pulled_back
from sharpaudit.curvature.objective import Objective
from sharpaudit.stats import evenly_spaced

TRIED = 4
"""Examples whose gradients are held against explicit ones."""

DIRECTIONS = 20
"""Most directions in which they are."""

CLASSES: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d, _BatchNorm, nn.GroupNorm, nn.LayerNorm)
"""Layers whose gradients have a formula here."""


@dataclass(frozen=True)
class Product:
    """The weight of a linear layer or a convolution: its gradient is ΔXᵀ in each group of channels."""

    columns: Tensor
    """X (b, groups, D, L): the inputs of L output positions."""
    outputs: int
    """Rows of Δ in each group."""
    arranged: Callable[[Tensor], Tensor]
    """The gradient of the layer's output as Δ (b, groups, outputs, L)."""

    def gradients(self, gradient: Tensor, entries: slice | None = None) -> Tensor:
        """Each example's gradient (b, entries); of some `entries` only, which are those of whole outputs, or of whole groups."""
        delta, columns = self.arranged(gradient), self.columns
        if entries is not None:
            several, each = columns.shape[1] > 1, columns.shape[2]
            each = each * self.outputs if several else each
            part = slice(entries.start // each, entries.stop // each)
            delta, columns = (delta[:, part], columns[:, part]) if several else (delta[:, :, part], columns)
        return (delta @ columns.transpose(2, 3)).flatten(1)

    def squared_norms(self, gradient: Tensor) -> Tensor:
        """‖ΔXᵀ‖² (b,): formed, or ⟨ΔᵀΔ, XᵀX⟩ where that takes fewer multiplications, L² against D·L for each output."""
        inner, positions = self.columns.shape[2:]
        if positions * (self.outputs + inner // 8) >= inner * self.outputs:
            return self.gradients(gradient).double().square().sum(1)
        delta = self.arranged(gradient)
        return ((delta.transpose(2, 3) @ delta) * self._gram).double().sum((1, 2, 3))

    @cached_property
    def _gram(self) -> Tensor:
        return self.columns.transpose(2, 3) @ self.columns


@dataclass(frozen=True)
class Sum:
    """A bias, scale or shift: its gradient is a sum of the output's gradient, times what it scales."""

    summed: Callable[[Tensor], Tensor]

    def gradients(self, gradient: Tensor, entries: slice | None = None) -> Tensor:
        """Each example's gradient (b, entries), or some `entries` of it."""
        return self.summed(gradient.double()).flatten(1)[:, entries or slice(None)]

    def squared_norms(self, gradient: Tensor) -> Tensor:
        """Its squared norm (b,)."""
        return self.gradients(gradient).square().sum(1)


Formula = Product | Sum


@dataclass(frozen=True)
class Seen:
    """One forward pass, and how the gradients of parameters follow from those of layers' outputs."""

    logits: Tensor
    """(b, classes), attached to θ."""
    formulas: dict[int, tuple[GradientEdge, Formula]]
    """By the parameter's place: the output of the layer that used it, once, and its formula."""
    unused: list[int]
    """Parameters that nothing used; their gradients are zero."""

    def backward(self, directions: Iterable[Tensor]) -> Iterator[dict[int, Tensor | None]]:
        """For each of `directions` (b, classes), the gradient of the output that goes with each formula; None for zero."""
        edges = [edge for edge, _ in self.formulas.values()]
        for direction in directions if edges else ():
            found: Sequence[Tensor | None] = grad(
                [self.logits], edges, [direction.to(self.logits)], retain_graph=True, allow_unused=True
            )
            yield dict(zip(self.formulas, found, strict=True))


@torch.enable_grad()
def seen(objective: Objective, images: Tensor, chosen: Iterable[int]) -> Seen:
    """The forward pass of `images`, with the formulas of those of the `chosen` parameters that have one."""
    place = {id(objective.theta[index]): index for index in chosen}
    uses: dict[int, list[tuple[GradientEdge, Formula] | None]] = {index: [] for index in place.values()}

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
    once = {index: found[0] for index, found in uses.items() if len(found) == 1 and found[0] is not None}
    return Seen(logits, once, _unused(objective, logits, [index for index in uses if not uses[index]]))


def with_formula(objective: Objective) -> set[int]:
    """The places of the parameters whose gradients by their formulas are the explicit ones, on a few examples."""
    tried = objective.variant(evenly_spaced(objective.num_examples, TRIED))
    onehots = torch.eye(tried.num_classes, dtype=tried.dtype, device=tried.inputs.device)[:DIRECTIONS]
    directions = onehots[:, None].expand(-1, tried.num_examples, -1)
    passed = seen(tried, tried.inputs, range(len(tried.theta)))
    places = [*passed.formulas]
    claimed: dict[int, list[Tensor]] = {index: [] for index in places}
    for gradients in passed.backward(directions):
        for index, gradient in gradients.items():
            if index in claimed:
                try:
                    formula = passed.formulas[index][1]
                    empty = tried.inputs.new_zeros(tried.num_examples, tried.theta[index].numel())
                    claimed[index].append(empty if gradient is None else formula.gradients(gradient))
                except RuntimeError:  # shapes that the class does not have
                    del claimed[index]
    holds = {*passed.unused}
    if not claimed:
        return holds
    leaves = [tried.theta[index] for index in claimed]
    explicit = torch.stack([*pulled_back(tried, directions.transpose(0, 1), leaves)], dim=1).double()
    true = dict(zip(claimed, torch.split(explicit, [leaf.numel() for leaf in leaves], dim=2), strict=True))
    eps: float = torch.finfo(tried.dtype).eps
    scale = explicit.norm(dim=2)
    agree = {}
    for index, parts in claimed.items():
        rows, truth = torch.stack(parts).double(), true[index]
        if rows.shape == truth.shape:
            agree[index] = ((rows - truth).norm(dim=2) <= 10 * eps**0.5 * truth.norm(dim=2) + eps * scale).all()
    if agree:
        found = torch.stack([*agree.values()]).tolist()
        holds |= {index for index, agrees in zip(agree, found, strict=True) if agrees}
    return holds


def _unused(objective: Objective, logits: Tensor, unseen: list[int]) -> list[int]:
    """Those of the parameters that no known layer used which nothing else used either."""
    if not unseen:
        return []
    leaves = [objective.theta[index] for index in unseen]
    found: Sequence[Tensor | None] = grad(logits.sum(), leaves, retain_graph=True, allow_unused=True)
    return [index for index, gradient in zip(unseen, found, strict=True) if gradient is None]


def _use(
    layer: nn.Module, name: str, inputs: tuple[Tensor, ...], output: Tensor, examples: int
) -> tuple[GradientEdge, Formula] | None:
    """None where the layer was not called as its class is, with a batch along the first dimension."""
    if not (len(inputs) == 1 and len(inputs[0]) == len(output) == examples and output.requires_grad):
        return None
    try:
        return get_gradient_edge(output), _formula(layer, name, inputs[0].detach())  # now: what follows may work in place
    except RuntimeError:
        return None


def _formula(layer: nn.Module, name: str, x: Tensor) -> Formula:
    """Of the parameter `name` of a layer with the input `x`."""
    if isinstance(layer, nn.Linear):
        if name == "bias":
            return Sum(lambda g: g.reshape(len(x), -1, g.shape[-1]).sum(1))
        columns = x.reshape(len(x), 1, -1, x.shape[-1]).transpose(2, 3)
        return Product(columns, layer.out_features, lambda g: g.reshape(len(x), 1, -1, g.shape[-1]).transpose(2, 3))
    if isinstance(layer, nn.Conv2d):
        if name == "bias":
            return Sum(lambda g: g.sum((2, 3)))
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = functional.pad(x, layer._reversed_padding_repeated_twice, mode)
        columns = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride)
        columns = columns.view(len(x), layer.groups, -1, columns.shape[-1])
        outputs = layer.out_channels // layer.groups
        return Product(columns, outputs, lambda g: g.reshape(len(x), layer.groups, outputs, -1))
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
        each = gradient * unit if name == "weight" else gradient
        return each.sum(shared) if shared else each

    return Sum(of_scale_or_shift)
