"""Relative flatness against the last layer's Hessian by autograd."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sharpaudit.curvature.relative_flatness import normalised, relative_lambda, relative_trace

Floats = NDArray[np.float64]


def setting(seed: int = 0, n: int = 9, d: int = 5, classes: int = 4) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(n, d))), rng.normal(size=(classes, d))


def softmax(logits: Floats) -> Floats:
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def kappa(features: Floats, weight: Floats) -> tuple[float, float]:
    p = softmax(features @ weight.T)
    return float(relative_trace(features, p, weight).mean()), float(relative_lambda(features, p, weight).mean())


@pytest.mark.parametrize("n", [9, 3])
def test_both_forms_equal_the_autograd_hessian(n: int) -> None:
    """Labels are arbitrary: the Hessian of softmax regression does not see them. n = 3 < d takes the small Gram matrix."""
    features, weight = setting(n=n)
    classes = len(weight)
    phi, w = torch.tensor(features), torch.tensor(weight)
    labels = torch.arange(n) % classes

    def loss(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(phi @ x.T, labels)

    hessian = torch.func.jacrev(torch.func.grad(loss))(w)
    trace = sum(float(w[s] @ w[t]) * float(hessian[s, :, t].trace()) for s in range(classes) for t in range(classes))
    top = sum(float(w[s] @ w[s]) * float(torch.linalg.eigvalsh(hessian[s, :, s])[-1]) for s in range(classes))
    assert kappa(features, weight) == pytest.approx((trace, top), rel=1e-12)


def test_scaling_the_layer_before_changes_neither_form() -> None:
    features, weight = setting()
    assert kappa(features * 9, weight / 9) == pytest.approx(kappa(features, weight), rel=1e-12)


def test_scaling_single_neurons_changes_only_the_plain_forms() -> None:
    features, weight = setting()
    scale = np.array([1, 2, 5, 0.1, 30])
    assert abs(kappa(features * scale, weight / scale)[0] / kappa(features, weight)[0] - 1) > 0.1
    assert kappa(*normalised(features * scale, weight / scale)) == pytest.approx(kappa(*normalised(features, weight)), rel=1e-9)


def test_a_dead_neuron_has_no_unit_and_is_left_out() -> None:
    features, weight = setting()
    features[:, 2] = 0
    phi, w = normalised(features, weight)
    assert phi.shape == (9, 4) and w.shape == (4, 4) and np.isfinite(phi).all()


def test_normalising_keeps_the_function_and_gives_unit_deviation() -> None:
    features, weight = setting()
    phi, w = normalised(features, weight)
    np.testing.assert_allclose(phi @ w.T, features @ weight.T, rtol=1e-12)
    np.testing.assert_allclose(phi.std(axis=0), 1)


def test_equal_rows_have_no_variance() -> None:
    """All classes share one weight: nothing the features do moves the prediction; no cancellation leaves a residue."""
    features, weight = setting()
    same = np.repeat(weight[:1] * 1e3, 4, axis=0)
    assert relative_trace(features, softmax(features @ same.T), same).max() == 0
