"""What did a forward pass compute? The graph that autograd recorded is read, so what a forward method hides is seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

RESHAPING = {
    "AliasBackward0", "CloneBackward0", "ExpandBackward0", "PermuteBackward0", "ReshapeAliasBackward0", "SliceBackward0",
    "SqueezeBackward0", "SqueezeBackward1", "SqueezeBackward2", "TBackward0", "TransposeBackward0", "UnsafeViewBackward0",
    "UnsqueezeBackward0", "ViewBackward0",
}  # fmt: skip
"""Operations that only rearrange or repeat numbers."""


def nodes(root: Any) -> Iterator[Any]:
    """Every node of the graph that ends in `root`, once; along every path the later ones first."""
    seen, ahead = {root}, [root]
    while ahead:
        node = ahead.pop()
        yield node
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                ahead.append(child)


def is_leaf(node: Any) -> bool:
    """Whether the node stands for a tensor that was not computed: a parameter."""
    return bool(node.name() == "torch::autograd::AccumulateGrad")


def parameter(node: Any) -> Tensor | None:
    """The parameter that the node passes on, perhaps reshaped; None where it computes something."""
    while node is not None and node.name() in RESHAPING:
        node = node.next_functions[0][0]
    return node.variable if node is not None and is_leaf(node) else None
