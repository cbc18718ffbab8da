"""How are products with J, Jᵀ and H taken from the graph of one batch's gradient? By reverse mode, for any number of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import grad


@dataclass(frozen=True)
class GradientGraph:
    """The gradient of one batch, still attached to the parameters."""

    logits: Tensor
    """z (b, classes)."""
    residual: Tensor
    """r = (p − e_y)/n, an inner node of the graph of `gradient`."""
    gradient: Sequence[Tensor]
    """Jᵀr, one tensor a parameter."""


def push(graph: GradientGraph, tangent: Sequence[Tensor]) -> Tensor:
    """Jv (b, classes): g = Jᵀr is linear in r, and its derivative with respect to r, applied to v, is Jv."""
    pairs = [(g, v) for g, v in zip(graph.gradient, tangent, strict=True) if g.requires_grad]
    outputs, vectors = zip(*pairs, strict=True)
    (result,) = grad(outputs, [graph.residual], vectors, retain_graph=True)
    return result


def pull(outputs: Sequence[Tensor], inputs: Sequence[Tensor], vectors: Sequence[Tensor]) -> Tensor:
    """The flat vector-Jacobian product; parameters that `outputs` do not depend on contribute zeros."""
    pairs = [(out, v) for out, v in zip(outputs, vectors, strict=True) if out.requires_grad]
    live, cotangents = zip(*pairs, strict=True)
    return flat(grad(live, inputs, cotangents, retain_graph=True, materialize_grads=True))


def flat(tensors: Sequence[Tensor]) -> Tensor:
    """The tensors as one new vector."""
    return torch.cat([t.reshape(-1) for t in tensors])
