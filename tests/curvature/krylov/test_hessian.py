"""The density as bins, and the share of negative curvature."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from sharpaudit.curvature.krylov.hessian import FLOOR, _negative, bins, hessian_spectrum, negative_mass
from sharpaudit.curvature.krylov.lanczos import Product
from sharpaudit.curvature.krylov.quadrature import Function
from sharpaudit.curvature.krylov.spectrum import Spectrum, spectrum
from sharpaudit.curvature.objective import Objective
from tests.cases import case
from tests.curvature.krylov.test_lanczos import product, rotated
from tests.curvature.test_random_networks import objective

SUMS: dict[str, Function] = {"square": np.square, "negative": _negative}


def seen(operator: Product, size: int, starts: int = 4, max_steps: int = 20, tolerance: float = 0.01) -> Spectrum:
    return spectrum(operator, size, SUMS, starts=starts, max_steps=max_steps, seed=0, tolerance=tolerance)


@pytest.mark.parametrize(
    "values, truth",
    [([2.0, -2.0], 0.5), ([1.0, 0.5, 0.0], 0.0), ([-1.0, -3.0], 1.0), ([2.0, -1.0, 1e-9], 0.2), ([0.0, 0.0], 0.0)],
)
def test_negative_mass_of_a_known_spectrum(values: list[float], truth: float) -> None:
    """Golden: the saddle diag(2, −2) has one half, a minimum none."""
    found = negative_mass(seen(product(rotated(values)), len(values)))
    assert found.sampled.value == pytest.approx(truth, abs=1e-15)
    assert found.converged and found.interval is None


def test_negative_mass_of_a_sampled_spectrum() -> None:
    values = np.random.default_rng(0).normal(0.3, size=400)
    found = negative_mass(seen(product(rotated(list(values))), 400, starts=6, max_steps=60, tolerance=0.03))
    truth = (values.clip(max=0) ** 2).sum() / (values**2).sum()
    assert found.converged
    assert abs(found.sampled.value - truth) < 4 * found.sampled.standard_error


def test_its_standard_error_is_its_spread_over_seeds() -> None:
    values = np.random.default_rng(0).normal(0.3, size=200)
    matrix = product(rotated(list(values)))
    found = [negative_mass(spectrum(matrix, 200, SUMS, starts=10, max_steps=12, seed=seed)).sampled for seed in range(60)]
    claimed = np.sqrt(np.mean([m.standard_error**2 for m in found]))
    assert claimed == pytest.approx(np.std([m.value for m in found], ddof=1), rel=0.2)  # two standard errors of a spread of 60


def test_a_small_share_is_judged_against_the_floor() -> None:
    """One part in a thousand is not known to 5% of itself, but well within 5% of `FLOOR`."""
    values = [*np.linspace(0, 1, 390), *np.linspace(-0.2, 0, 10)]
    found = negative_mass(seen(product(rotated(values)), 400, max_steps=12, tolerance=0.05))
    assert found.converged
    assert 0 < found.sampled.value < FLOOR
    assert 0.05 * found.sampled.value < found.steps_error < 0.05 * (FLOOR + found.sampled.value)


def test_too_few_steps_to_see_what_is_negative_are_flagged() -> None:
    """Two and three nodes, all positive, would agree on a share of zero."""
    values = [*np.linspace(-1, 1.2, 390), *[20.0] * 10]
    for steps in (2, 3):
        assert not negative_mass(seen(product(rotated(values)), 400, max_steps=steps)).converged


def test_bins_are_ascending_and_their_weights_sum_to_one() -> None:
    values = [100.0, 10.0, -5.0, *np.random.default_rng(0).normal(size=397)]
    found = bins(seen(product(rotated(values)), 400))
    assert len(found) <= 41
    assert np.all(np.diff([b.node for b in found]) > 0)
    assert sum(b.weight for b in found) == pytest.approx(1)
    assert sum(b.weight * b.node for b in found) * 400 == pytest.approx(sum(values), abs=150)
    assert all(b.low is not None and b.high is not None and 0 <= b.low <= b.weight <= b.high <= 1 for b in found)


def test_what_starts_cannot_tell_apart_is_one_bin_with_a_narrow_band() -> None:
    """A bulk of 99% so near zero that each start sees it as one node, at another place."""
    values = [*np.random.default_rng(0).normal(scale=1e-4, size=396), 1.0, 2.0, 3.0, 4.0]
    found = bins(seen(product(rotated(values)), 400, max_steps=5))
    heaviest = max(found, key=lambda b: b.weight)
    assert heaviest.weight == pytest.approx(0.99, abs=0.01)
    assert heaviest.low is not None and heaviest.high is not None and heaviest.high - heaviest.low < 0.05


def test_bins_of_a_whole_spectrum_are_counts() -> None:
    found = bins(seen(product(rotated([8.0, 8.0, 1.0, 1e-9, -1.0])), 5))
    assert [(b.node, b.weight) for b in found] == [
        pytest.approx((-1, 0.2)), pytest.approx((0, 0.2), abs=1e-8), pytest.approx((1, 0.2)), pytest.approx((8, 0.4))
    ]  # fmt: skip
    assert {(b.low, b.high) for b in found} == {(None, None)}


def test_bins_of_nothing() -> None:
    (only,) = bins(seen(torch.zeros_like, 3))
    assert (only.node, only.weight) == (0, 1)


def test_one_set_of_products_serves_all() -> None:
    """The run, then the starts; without starts only the run. Products are counted, and nothing is multiplied twice."""
    o = objective("mlp", 0, scale=2)
    n = o.num_examples
    resolve = partial(hessian_spectrum, o, top=1, bottom=0, tolerance=1e-3, max_iterations=50, max_steps=10, sums_tolerance=0.5)
    found = resolve(starts=3, seed=0)
    assert found.density is not None and not found.density.whole
    assert o.passes["hvp"] == n * (len(found.space.alpha) + found.density.products)
    before = o.passes["hvp"]
    bare = resolve(starts=0, seed=0)
    assert bare.density is None and bare.extremes.top[0].value == pytest.approx(found.extremes.top[0].value)
    assert o.passes["hvp"] - before == n * len(bare.space.alpha)


def test_a_small_network_is_known_wholly_and_nothing_is_multiplied_twice() -> None:
    o = Objective(*case("conv-bn"), batch_size=3)
    found = hessian_spectrum(
        o, top=1, bottom=1, tolerance=1e-3, max_iterations=50, starts=3, max_steps=10, sums_tolerance=0.5, seed=0
    )
    assert found.density is not None and found.density.whole
    assert o.passes["hvp"] == 7 * o.num_parameters
    assert found.extremes.bottom[0].converged and found.extremes.bottom[0].residual == 0
