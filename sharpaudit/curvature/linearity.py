"""Are the logits piecewise linear in every single weight? Then the Hessian and the Gauss-Newton matrix have the same trace.

H − G = (1/n) Σᵢ Σ_k (p_ik − [k = yᵢ]) ∇² z_ik, and its diagonal entries are second derivatives of logits in one weight at a time,
zero where the logits are piecewise linear in each weight (Botev et al. 2017). Networks of convolutions, linear layers,
eval-mode BatchNorm, ReLU, max- and average pooling and sums are; GELU, LayerNorm, attention and shared weights are not.

The network's own graph is read, so that operations hidden in a forward method are seen. An operation that is not on the list
below counts as not linear: the answer False costs time, never correctness.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch

from sharpaudit.curvature.network.graph import RESHAPING, nodes, parameter
from sharpaudit.curvature.objective import Objective

LINEAR_OR_PIECEWISE = RESHAPING | {
    "AdaptiveAvgPool2DBackward0", "AdaptiveMaxPool2DBackward0", "AddBackward0", "AvgPool2DBackward0", "CatBackward0",
    "ConstantPadNdBackward0", "HardtanhBackward0", "LeakyReluBackward0", "MaxPool2DWithIndicesBackward0", "MeanBackward0",
    "MeanBackward1", "NegBackward0", "ReluBackward0", "SelectBackward0", "SubBackward0", "SumBackward0", "SumBackward1",
    "torch::autograd::AccumulateGrad",
}  # fmt: skip

PRODUCTS = {
    "AddmmBackward0": 2, "ConvolutionBackward0": 1, "CudnnBatchNormBackward0": 1, "MmBackward0": 1, "MulBackward0": 1,
    "NativeBatchNormBackward0": 1,
}  # fmt: skip
"""Operations that multiply, with the position of the factor that must be a constant or a parameter itself."""


def piecewise_linear(objective: Objective) -> bool:
    """Whether the logits are known to be piecewise linear in each parameter separately."""
    with torch.enable_grad():
        logits = objective.forward(objective.inputs[:1], fold=False)
    uses: Counter[Any] = Counter()
    for node in nodes(logits.grad_fn):
        name = node.name()
        if name in PRODUCTS:
            factor = node.next_functions[PRODUCTS[name]][0]
            if factor is not None and parameter(factor) is None:
                return False
            if getattr(node, "_saved_training", False):  # a norm by the statistics of what it is given, as instance norm
                return False
        elif name not in LINEAR_OR_PIECEWISE:
            return False
        uses.update(child for child, _ in node.next_functions if child is not None)
    return all(count == 1 for node, count in uses.items() if parameter(node) is not None)
