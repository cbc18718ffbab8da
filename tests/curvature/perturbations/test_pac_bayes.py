"""σ on linear classifiers, whose accuracy under Gaussian noise has a closed form."""

import math
from collections.abc import Sequence

import pytest
import torch
from scipy.stats import norm
from torch import nn

from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.pac_bayes import FLOOR, noise_tolerance
from tests.cases import case


def linear(rows: Sequence[Sequence[float]], *, n: int = 400) -> Objective:
    """Logits Wx of images that all have ‖x‖² = 1.01 and the margin 0.1 ‖w_0 − w_1‖, hardly any two of them alike."""
    weight = torch.tensor(rows, dtype=torch.float64)
    module = nn.Linear(weight.shape[1], 2, bias=False).double().eval()
    module.weight.data = weight
    gap = (weight[0] - weight[1]) / (weight[0] - weight[1]).norm()
    x = torch.randn(n, weight.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x - (x @ gap)[:, None] * gap
    x = x / x.norm(dim=1, keepdim=True) + 0.1 * gap
    return Objective(module, x, torch.zeros(n, dtype=torch.int64), batch_size=64)


def at_a_tenth(margin: float) -> float:
    """The deviation of each weight at which Φ(margin / (deviation·√2·‖x‖)) is 0.9; √2 because both rows are noisy."""
    return margin / float(norm.ppf(0.9)) / math.sqrt(2 * 1.01)


ROWS = [[10.0] + [0.0] * 99, [0.0] * 100]


def test_a_linear_classifier_has_the_closed_form() -> None:
    found = noise_tolerance(linear(ROWS), draws=60, seed=0)
    assert found.sigma and found.interval and found.pairs == 30
    assert found.interval.low <= at_a_tenth(1.0) <= found.interval.high
    assert found.sigma == pytest.approx(at_a_tenth(1.0), rel=0.02)


def test_the_magnitude_aware_form_has_the_closed_form() -> None:
    """Weights 0.03 and −0.03: the noise of a weight has variance 0.0009σ² + ε². Taken for a deviation it would be far smaller."""
    found = noise_tolerance(linear([[0.03] * 100, [-0.03] * 100]), draws=60, magnitude=True, seed=0)
    truth = math.sqrt(at_a_tenth(0.06) ** 2 - FLOOR**2) / 0.03
    assert found.sigma and found.interval
    assert found.sigma == pytest.approx(truth, rel=0.05)
    assert found.interval.low <= truth <= found.interval.high


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    o = linear(ROWS, n=100)
    found = [noise_tolerance(o, draws=10, steps=7, seed=seed) for seed in range(60)]
    covered = sum(f.interval.low <= at_a_tenth(1.0) <= f.interval.high for f in found if f.interval)
    known = sum(f.interval is not None for f in found)
    assert known >= 55
    assert covered / known >= 0.86  # 0.95 less three standard errors


def test_no_noise_is_needed_or_none_suffices() -> None:
    strong = noise_tolerance(linear([[1000.0] + [0.0] * 99, [0.0] * 100]), draws=4, seed=0)
    assert (strong.sigma, strong.interval, strong.reason) == (None, None, "accuracy falls by less than 0.1 up to σ = 1.9")
    weak = noise_tolerance(linear([[1e-3] + [0.0] * 99, [0.0] * 100]), draws=4, magnitude=True, seed=0)
    assert (weak.sigma, weak.reason) == (None, "accuracy falls by 0.1 or more at σ = 0.0001 already")


def test_a_drop_that_does_not_grow_gives_no_interval() -> None:
    """Where the noise is all that decides, more of it changes nothing."""
    o = linear([[1e-9] + [0.0] * 99, [0.0] * 100])
    base, seen = o.logits(), list[int]()

    class Saturating(Objective):
        def logits(self, limit: int | None = None) -> torch.Tensor:
            seen.append(len(seen))
            share = 0.0 if len(seen) < 20 else 0.5
            return base * torch.where(torch.arange(len(base)) < share * len(base), -1, 1)[:, None]

    o.__class__ = Saturating
    seen.clear()
    found = noise_tolerance(o, draws=4, steps=8, seed=0)
    assert found.sigma and (found.interval, found.reason) == (None, "accuracy does not fall steadily around σ")


def test_batch_size_changes_nothing_and_the_network_stays() -> None:
    c = case("conv-bn", n=20)
    c.labels[:] = c.module(c.inputs).argmax(1)
    before = {key: value.clone() for key, value in c.module.state_dict().items()}
    found = [noise_tolerance(Objective(*c, batch_size=size), draws=8, steps=6, seed=0) for size in (3, 20)]
    assert found[0].sigma and found[0] == found[1]
    assert all(torch.equal(value, before[key]) for key, value in c.module.state_dict().items())


@pytest.mark.parametrize("magnitude", [False, True])
def test_passes_and_progress_are_counted(magnitude: bool) -> None:
    o, told = linear([[0.3] * 100, [-0.3] * 100], n=7), list[float]()
    before = o.passes["forward"]
    noise_tolerance(o, draws=4, magnitude=magnitude, seed=0, on_progress=told.append)
    assert (o.passes["forward"] - before) / 7 == 1 + 4 * (8 + 2)
    assert told == pytest.approx([k / 10 for k in range(1, 11)])


def test_odd_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="expected an even number of at least 4 draws, got 5"):
        noise_tolerance(Objective(*case("linear"), batch_size=3), draws=5, seed=0)
