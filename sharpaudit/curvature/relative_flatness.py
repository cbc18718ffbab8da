"""How flat is the loss in the last layer, weighed by the weights? Relative flatness (Petzka et al. 2021, 2001.00939).

κ_Tr = Σ_{s,t} ⟨w_s, w_t⟩ Tr(H_st), with w_s the rows of the last linear layer and H_st the blocks of its Hessian. For softmax
cross-entropy it has a closed form that needs no Hessian and no labels:

    κ_Tr = (1/n) Σᵢ ‖φᵢ‖² · Var_{k ~ pᵢ}(w_k) = (1/n) Σᵢ ‖φᵢ‖² (Σ_k p_ik ‖w_k‖² − ‖Σ_k p_ik w_k‖²),

φ the penultimate features. It does not change when the layer before is scaled by c and this one by 1/c. Scaling single neurons
changes it unless features are first measured in units of their standard deviations (`normalised`).
Sums over batches of a mean loss, as in the released code, are larger by the number of batches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Floats = NDArray[np.float64]


def relative_trace(features: Floats, probabilities: Floats, weight: Floats) -> Floats:
    """What each example adds to κ_Tr (n,); κ_Tr is their mean, dimensionless in the weights' scale.

    Args:
        features: φ (n, d).
        probabilities: p (n, classes).
        weight: W (classes, d).
    """
    centred = weight - weight.mean(axis=0)  # the variance does not see a common shift; centring first avoids cancellation
    variance = probabilities @ (centred**2).sum(axis=1) - ((probabilities @ centred) ** 2).sum(axis=1)
    contributions: Floats = (features**2).sum(axis=1) * variance.clip(min=0.0)
    return contributions


def normalised_influence(features: Floats, probabilities: Floats, weight: Floats) -> Floats:
    """How much each example moves the normalised κ_Tr (n,), by what it adds and by what it does to the features' variances.

    The arguments are those of `relative_trace`, with features as they are.
    """
    centred = features - features.mean(axis=0)
    variance = (centred**2).mean(axis=0)
    varies = variance > 0
    features, centred, variance = features[:, varies], centred[:, varies], variance[varies]
    weight = weight[:, varies] - weight[:, varies].mean(axis=0)
    spread = probabilities @ weight**2 - (probabilities @ weight) ** 2  # Var_p of each coordinate of w (n, d)
    size, curved = features**2 / variance, spread * variance
    by_variance = (curved.sum(axis=1, keepdims=True) * -size + size.sum(axis=1, keepdims=True) * curved).mean(axis=0)
    influence: Floats = size.sum(axis=1) * curved.sum(axis=1) + (centred**2 / variance) @ by_variance
    return influence


def relative_lambda(features: Floats, probabilities: Floats, weight: Floats) -> Floats:
    """What each example adds to κ_λ (n,); κ_λ = Σ_s ‖w_s‖² λ_max(H_ss) is their mean.

    H_ss = (1/n) Σᵢ p_is (1 − p_is) φᵢφᵢᵀ are the diagonal blocks. An example adds its part along their leading eigenvectors,
    which are stationary: to first order nothing else varies with the examples.
    """
    n, d = features.shape
    total = np.zeros(n)
    for row, p in zip(weight, probabilities.T, strict=True):
        scaled = features * np.sqrt(p * (1 - p) / n)[:, None]
        gram = scaled.T @ scaled if d <= n else scaled @ scaled.T  # the same largest eigenvalue
        last = len(gram) - 1
        value, vector = eigh(gram, subset_by_index=[last, last])
        along = scaled @ vector[:, 0] if d <= n else np.sqrt(value.clip(min=0)) * vector[:, 0]
        total += n * float(row @ row) * along**2
    return total


def normalised(features: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """(φ/σ, σ∘W): the same function with every feature in units of its population standard deviation over the examples.

    Features that never vary have no such unit; they are left out on both sides.
    """
    sigma = features.std(axis=0)
    varies = sigma > 0
    return features[:, varies] / sigma[varies], weight[:, varies] * sigma[varies]
