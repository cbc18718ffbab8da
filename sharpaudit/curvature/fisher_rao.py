"""How much does the loss change when all parameters are scaled together? The Fisher-Rao norm (Liang et al. 2019, 1711.01530).

‖θ‖_fr = sqrt( (1/n) Σᵢ ⟨θ, ∇ℓᵢ⟩² ) = sqrt( (1/n) Σᵢ ⟨pᵢ − e_yᵢ, Jᵢθ⟩² ), in logits. The labels are the data's:
this is the empirical Fisher matrix. It does not change when the function does not (node-wise rescaling of a
ReLU network), but grows with the logits.

For a bias-free ReLU network of M linear layers Jθ = M·f, which gives the closed form M²·E⟨p − e_y, f⟩². The main paper's code
uses (M + 1)², one too many, and applies it to networks with biases, BatchNorm, shortcuts and attention, where it is no
identity (0.463 against 0.178 on a small network with biases). It is here for comparison with published numbers only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sharpaudit.curvature.objective import Objective


@dataclass(frozen=True)
class FisherRao:
    """A Fisher-Rao norm and what each example adds to it."""

    squares: NDArray[np.float64]
    """(n,), the squared term of each example; the norm is the root of their mean."""

    @property
    def value(self) -> float:
        """The norm, in logits."""
        return float(np.sqrt(self.squares.mean()))


def fisher_rao(objective: Objective) -> FisherRao:
    """‖θ‖_fr by its definition, on any network: one Jacobian-vector product with θ itself."""
    return _norm(objective.logits(), objective.labels, objective.logit_jvp(objective.parameters))


def fisher_rao_paper(logits: Tensor, labels: Tensor, num_layers: int) -> FisherRao:
    """The main paper's closed form, (M + 1)·sqrt(E⟨p − e_y, f⟩²) with M = `num_layers`."""
    return _norm(logits, labels, (num_layers + 1) * logits.double())


def num_layers(module: nn.Module) -> int:
    """M as the main paper's code counts it: linear, convolution and embedding modules, those on shortcuts too."""
    return sum(isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)) for layer in module.modules())


def _norm(logits: Tensor, labels: Tensor, direction: Tensor) -> FisherRao:
    """The root mean square of ⟨p − e_y, direction⟩; squared per example, before the mean."""
    p, direction = logits.double().softmax(1), direction.double()
    inner = (p * direction).sum(1) - direction.gather(1, labels[:, None])[:, 0]
    return FisherRao(torch.square(inner).cpu().numpy())
