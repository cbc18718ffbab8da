"""Thirty random small networks, each against its dense float64 Hessian and Gauss-Newton matrix, which share no code with ours.

Multilayer perceptrons, convolutions, BatchNorm, residual sums, LayerNorm and attention, of random width, depth, activation,
number of classes and number of examples; at most 500 parameters, or twice as wide and at most 1,500; the last batch is ragged.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import nn

from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.soft_rank import ggn_soft_rank
from sharpaudit.curvature.krylov.hessian import SMALL, HessianSpectrum, hessian_spectrum, negative_mass
from sharpaudit.curvature.krylov.spectrum import Spectrum
from sharpaudit.curvature.objective import Objective
from tests import oracles
from tests.cases import Attention, Case, Mean, Residual

KINDS = ("mlp", "conv", "batchnorm", "residual", "layernorm", "attention")
SEEDS = range(5)
DAMPING = 1e-2


class Truth(NamedTuple):
    """Ascending eigenvalues, float64."""

    hessian: NDArray[np.float64]
    ggn: NDArray[np.float64]


def layers(kind: str, rng: np.random.Generator, scale: int) -> nn.Module:
    width, classes = scale * int(rng.integers(4, 9)), int(rng.integers(2, 5))
    activation = (nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU)[rng.integers(5)]
    match kind:
        case "mlp":
            depth = int(rng.integers(1, 4))
            inner = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
            return nn.Sequential(nn.Flatten(), nn.Linear(16, width), activation(), *inner, nn.Linear(width, classes))
        case "conv":
            return nn.Sequential(
                nn.Conv2d(1, width, 3, padding=1), activation(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * width, classes)
            )
        case "batchnorm":
            return nn.Sequential(
                nn.Conv2d(1, width, 3, bias=False), nn.BatchNorm2d(width), activation(),
                nn.Conv2d(width, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, classes),
            )  # fmt: skip
        case "residual":
            body = Residual(nn.Linear(width, 6), activation(), nn.Linear(6, width))
            return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.BatchNorm1d(width), body, nn.Linear(width, classes))
        case "layernorm":
            body = Residual(nn.LayerNorm(width), nn.Linear(width, width), activation())
            return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.LayerNorm(width), body, nn.Linear(width, classes))
    width = 2 * scale * int(rng.integers(2, 5))
    patches = nn.Sequential(nn.Flatten(2), nn.Unflatten(2, (4, 4)), nn.Flatten(1, 2), nn.Linear(4, width))
    return nn.Sequential(
        patches, Residual(nn.LayerNorm(width), Attention(width)), nn.LayerNorm(width), Mean(), nn.Linear(width, classes)
    )


def random_network(kind: str, seed: int, dtype: torch.dtype = torch.float64, scale: int = 1) -> Case:
    rng = np.random.default_rng([KINDS.index(kind), seed])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = layers(kind, rng, scale)
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.2 * torch.randn(p.shape, generator=generator))
            module(torch.randn(32, 1, 4, 4, generator=generator))  # gives BatchNorm statistics that are not 0 and 1
        inputs = torch.randn(2 * int(rng.integers(5, 15)) + 1, 1, 4, 4, generator=generator)
        classes = module.eval()(inputs).shape[1]
    labels = torch.randint(0, classes, inputs.shape[:1], generator=generator)
    return Case(module.to(dtype), inputs.to(dtype), labels)


@cache
def truth(kind: str, seed: int, scale: int = 1) -> Truth:
    c = random_network(kind, seed, scale=scale)
    dense = oracles.dense_hessian(*c), oracles.dense_ggn(c.module, c.inputs)
    return Truth(*(torch.linalg.eigvalsh((matrix + matrix.T) / 2).numpy() for matrix in dense))


def objective(kind: str, seed: int, dtype: torch.dtype = torch.float64, scale: int = 1) -> Objective:
    return Objective(*random_network(kind, seed, dtype, scale), batch_size=4)


def measured(o: Objective, starts: int, max_steps: int, tolerance: float = 1e-6) -> HessianSpectrum:
    return hessian_spectrum(
        o,
        top=5,
        bottom=1,
        tolerance=tolerance,
        max_iterations=300,
        starts=starts,
        max_steps=max_steps,
        sums_tolerance=0.01,
        seed=0,
    )


def few(kind: str, seed: int) -> object:
    """A network of each kind by default, all with `slow`."""
    return pytest.param(kind, seed, marks=[] if seed == 0 else pytest.mark.slow)


each_network = pytest.mark.parametrize("kind, seed", [few(kind, seed) for kind in KINDS for seed in SEEDS])
each_precision = pytest.mark.parametrize(
    "dtype, tolerance", [(torch.float64, 1e-4), pytest.param(torch.float32, 1e-3, marks=pytest.mark.slow)]
)


@each_network
@each_precision
def test_the_whole_spectrum(kind: str, seed: int, dtype: torch.dtype, tolerance: float) -> None:
    """All numbers where all eigenvalues are found, as 10 starts of 60 steps make it for networks of up to 600 parameters."""
    o, exact = objective(kind, seed, dtype), truth(kind, seed)
    assert o.num_parameters <= 500 and o.num_examples % 4
    found = measured(o, 10, 60)
    assert found.density is not None and found.density.whole
    near = dict(rel=tolerance, abs=tolerance * exact.hessian[-1])
    assert [e.value for e in found.extremes.top] == pytest.approx(exact.hessian[:-6:-1], rel=tolerance)
    assert found.extremes.bottom[0].value == pytest.approx(exact.hessian[0], **near)
    sums = {name: s.sampled.value for name, s in found.density.sums.items()}
    assert sums["trace"] == pytest.approx(exact.hessian.sum(), rel=tolerance)
    assert sums["square"] == pytest.approx((exact.hessian**2).sum(), rel=tolerance)
    negative = (exact.hessian.clip(max=0) ** 2).sum() / (exact.hessian**2).sum()
    assert negative_mass(found.density).sampled.value == pytest.approx(negative, **near)
    nodes = found.density.rules[0].nodes
    assert len(nodes) == o.num_parameters, "no ghosts, nothing lost"
    np.testing.assert_allclose(np.sort(nodes), exact.hessian, atol=tolerance * np.abs(exact.hessian).max())


@each_network
@each_precision
def test_soft_rank(kind: str, seed: int, dtype: torch.dtype, tolerance: float) -> None:
    exact = truth(kind, seed).ggn.clip(min=0)
    o = objective(kind, seed, dtype)
    found = ggn_soft_rank(o, DAMPING, whole=Plan(o).run(), starts=10, max_steps=80, tolerance=0.01, seed=0)
    assert found.rank.sampled.value == pytest.approx((exact / (exact + DAMPING)).sum(), rel=tolerance)
    assert found.logdet.sampled.value == pytest.approx(np.log(exact + DAMPING).sum(), rel=tolerance)


def distance(density: Spectrum, exact: NDArray[np.float64]) -> float:
    """Wasserstein-1 between what was found and the true spectrum, in units of its range."""
    nodes, weights = (np.concatenate([getattr(rule, part) for rule in density.rules]) for part in ("nodes", "weights"))
    return float(wasserstein_distance(nodes, exact, weights) / np.ptp(exact))


@each_network
@pytest.mark.parametrize("scale", [1, 2])
def test_the_density_by_default(kind: str, seed: int, scale: int) -> None:
    """With the starts and steps of the probe it is within 1% of the spectrum's range of the true one; printed with `-s`."""
    o, exact = objective(kind, seed, scale=scale), truth(kind, seed, scale).hessian
    density = measured(o, 4, 16, tolerance=1e-3).density
    assert density is not None and density.whole == (o.num_parameters <= SMALL)
    found = distance(density, exact)
    print(f"density of {kind} {seed}, {o.num_parameters} parameters: {found:.2%} of the range from the true one")
    assert found <= 0.01


@each_network
def test_the_sampled_spectrum(kind: str, seed: int) -> None:
    """With fewer steps than parameters: ends still exact, sums within five standard errors from sixteen starts."""
    o, exact = objective(kind, seed, scale=2), truth(kind, seed, 2).hessian
    starts, steps = 16, 20
    found = measured(o, starts, steps, tolerance=1e-3)
    density = found.density
    assert density is not None and density.whole == (o.num_parameters <= max(SMALL, starts * steps))
    assert all(e.converged for e in found.extremes.top)
    assert [e.value for e in found.extremes.top] == pytest.approx(exact[:-6:-1], rel=1e-4)
    assert found.extremes.bottom[0].value == pytest.approx(exact[0], rel=1e-4, abs=1e-4 * exact[-1])
    for name, value in {"trace": exact.sum(), "square": (exact**2).sum()}.items():
        assert density.sums[name].converged
        sampled = density.sums[name].sampled
        assert abs(sampled.value - value) <= 5 * sampled.standard_error + 1e-9 * exact[-1]
    above = exact[-1] - 0.5 * (exact[-1] - exact[-2])
    for rule in density.rules:
        assert rule.weights.sum() == pytest.approx(1)
        assert np.count_nonzero(rule.nodes > above) == 1, "no ghosts"
