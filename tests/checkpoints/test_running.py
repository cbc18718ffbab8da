"""Running statistics of BatchNorm as evidence: against integrals, and on networks whose truth is known."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from sharpaudit.checkpoints.plain.build import bind
from sharpaudit.checkpoints.plain.chain import chains
from sharpaudit.checkpoints.plain.description import parse
from sharpaudit.checkpoints.plain.neighbours import around
from sharpaudit.checkpoints.plain.running import REPRODUCED, discrepancy, moments, unlike
from sharpaudit.checkpoints.plain.trial import Hypothesis, Normalisation, Trial
from tests.checkpoints.plain_networks import ACTIVATIONS, Case, fitted

SEED = int(os.environ.get("SHARPAUDIT_PLAIN_SEED", "0"))


def norm(means: list[float], variances: list[float]) -> nn.BatchNorm1d:
    found = nn.BatchNorm1d(len(means), eps=0.1)
    found.running_mean, found.running_var = torch.tensor(means), torch.tensor(variances)
    return found.eval()


def test_the_discrepancy_is_the_squared_hellinger_distance() -> None:
    means, variances = [0.3, -1.0, 0.0], [0.5, 2.0, 0.0]  # of a channel that is always zero too, where epsilon is all
    rows = torch.randn(400, 3) * torch.tensor([1.0, 0.5, 0.0]) + torch.tensor([0.0, 1.0, 0.0])
    grid, expected = np.linspace(-20, 20, 200_001), []

    def density(mean: float, variance: float) -> NDArray[np.float64]:
        return stats.norm.pdf(grid, mean, np.sqrt(variance)) * (grid[1] - grid[0])  # type: ignore[no-any-return]  # scipy is untyped

    for channel, (mean, variance) in enumerate(zip(means, variances, strict=True)):
        column = rows[:, channel].double().numpy()
        there, here = density(mean, variance + 0.1), density(float(column.mean()), float(column.var()) + 0.1)
        expected.append(((np.sqrt(there) - np.sqrt(here)) ** 2).sum() / 2)
    layer = norm(means, variances)
    parts = [moments(layer, part) for part in (rows[:150], rows[150:])]
    assert discrepancy([torch.stack(parts).sum(0)]) == pytest.approx(np.mean(expected), abs=1e-6)


def test_pixels_of_a_channel_are_counted_alike() -> None:
    images, layer = torch.randn(5, 2, 3, 4), norm([0.2, -0.2], [1.0, 2.0])
    rows = images.permute(0, 2, 3, 1).reshape(-1, 2)
    assert torch.allclose(moments(layer, images), moments(layer, rows), rtol=1e-5)


def test_only_what_reproduces_them_tells_against_others() -> None:
    assert unlike(0.1, REPRODUCED) and unlike(0.1, 0.0)
    assert not unlike(0.5, 2 * REPRODUCED)  # nobody reproduces them: they are stale
    assert not unlike(5 * REPRODUCED, REPRODUCED)  # not far enough apart
    assert not unlike(5e-4, 0.0)  # drawing images explains it


def normed(draw: random.Random) -> tuple[str, nn.Sequential]:
    """A network for 16 by 16 images with BatchNorm behind or before the activation, with its description."""
    name, last, pool = draw.choice(list(ACTIVATIONS)), draw.random() < 0.4, draw.choice(["max", "avg"])
    pads = [draw.choice([0, 1]), draw.choice([0, 1, 2])]
    parts: list[nn.Module] = []
    words: list[str] = []
    side, width = 16, 1
    for pad, kernel, out in zip(pads, (3, 5), (12, 16), strict=True):
        pair = [(nn.BatchNorm2d(out), "batchnorm"), (ACTIVATIONS[name](), name)]
        window = (nn.MaxPool2d if pool == "max" else nn.AvgPool2d)(2)
        between = [*(reversed(pair) if last else pair), (window, f"{pool}pool 2")]
        parts += [nn.Conv2d(width, out, kernel, padding=pad), *(module for module, _ in between)]
        words += [f"conv {out} {kernel}x{kernel} pad {pad}", *(word for _, word in between)]
        side, width = (side + 2 * pad - kernel + 1) // 2, out
    parts += [nn.Flatten(), nn.Linear(width * side**2, 10)]
    return f"seq({', '.join([*words, 'linear 10'])})", nn.Sequential(*parts)


def tried(case: Case, text: str) -> tuple[float, list[tuple[Hypothesis, float]]]:
    """The discrepancy of the network as it was trained, and of all that differ from it in one choice."""
    state = case.module.state_dict()
    (chain,) = chains({name: tuple(tensor.shape) for name, tensor in state.items()})
    values = {layer.stem: {role: state[name] for role, name in layer.names.items()} for layer in chain.layers}
    trial = Trial(values, torch.tensor(case.pixels).permute(0, 3, 1, 2) / 255, torch.tensor(case.labels))
    bind(parse(text).description, chain)
    shown = [Normalisation("truth", (case.mean,), (case.std,)), Normalisation("other", (0.0,), (1.0,))]
    truth = Hypothesis(chain, parse(text).description, shown[0])
    others = around(truth, shown)
    own, *scores = trial.scores([truth, *others], 512)
    assert own
    return own.discrepancy, [(h, score.discrepancy) for h, score in zip(others, scores, strict=True) if score]


@pytest.mark.parametrize("number", [*range(2), *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 20))])
def test_the_network_of_the_training_is_told_from_others_unless_the_statistics_are_stale(number: int) -> None:
    draw = random.Random(SEED + number)
    torch.manual_seed(SEED + number)
    text, module = normed(draw)
    print(f"SHARPAUDIT_PLAIN_SEED={SEED}, network {number}: {text}")
    case = fitted(module, text, 16, 1, seed=SEED + number, mean=0.5, std=0.5, copies=3, epochs=4)
    own, others = tried(case, text)
    assert own <= REPRODUCED
    assert not [str(h.description) for h, other in others if unlike(own, other)]
    (shown,) = [other for h, other in others if h.normalisation.name == "other"]
    assert unlike(shown, own)
    lost = sum(unlike(other, own) for _, other in others)
    print(f"discrepancy {own:.6f}; {lost} of {len(others)} others lose")
    assert lost >= 0.3 * len(others)
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    own, others = tried(case, text)
    assert not [h for h, other in others if any(unlike(other, better) or unlike(better, other) for better in (own, other))]
