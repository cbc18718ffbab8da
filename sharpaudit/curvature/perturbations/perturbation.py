"""How much does the loss move when the weights are moved a little, at random or uphill?

The main paper (2510.12451) calls the mean of |L(θ + ε) − L(θ)|/ρ over random ε "SAM sharpness"; there is no ascent in it. At
small ρ it is about sqrt(2/π)·‖g‖/√P: a gradient-norm meter. The antithetic form ½(L(θ+ε) + L(θ−ε)) − L(θ) removes the gradient
and estimates ½ρ² tr(H)/P on smooth networks; ReLU kinks add to it at finite ρ.

All forms here compare losses of the same frozen examples, except `paper_protocol`, which re-enacts what the released code does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpaudit.curvature.draws import gaussian, permutation
from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.objective import Objective
from sharpaudit.transfer import fetched, sent

Progress = Callable[[float], None]
Floats = NDArray[np.float64]


def silent(fraction: float) -> None:
    """The progress callback that does nothing."""


@dataclass(frozen=True)
class RandomSharpness:
    """What random perturbations of one radius do to the loss."""

    absolute: Sampled
    """Mean of |L(θ + ε) − L(θ)|/ρ, in nats per unit of weight distance. `n` counts antithetic pairs."""
    antithetic: Sampled
    """Mean of ½(L(θ + ε) + L(θ − ε)) − L(θ), in nats; about ½ρ² tr(H)/P."""
    rounding: float
    """Standard deviation of L that rounding causes, in nats. Second differences drown in it first: on a trained ResNet-20 in
    float32 it is about 5e-9, as large as `antithetic` at ρ = 0.005."""

    @property
    def resolution(self) -> float:
        """What `antithetic` must exceed: three standard deviations of its rounding (that of L(θ) does not average out)."""
        return 3 * self.rounding * math.sqrt(1 + 1 / (2 * self.antithetic.n))

    @property
    def resolved(self) -> bool:
        """Whether `antithetic` stands clear of rounding."""
        return abs(self.antithetic.value) > self.resolution


def random_sharpness(
    objective: Objective, *, radius: float, draws: int, seed: int, on_progress: Progress = silent
) -> RandomSharpness:
    """Random sharpness at ρ = `radius`: ε has independent N(0, ρ²/P) entries, so ‖ε‖ ≈ ρ; `draws` / 2 pairs ±ε, one forward each.

    At radius 0 both numbers are exactly 0.
    """
    if draws < 4 or draws % 2:
        raise ValueError(f"expected an even number of at least 4 draws, got {draws}")
    base = objective.losses()
    absolute, antithetic = [], []
    for pair in range(draws // 2):
        epsilon = gaussian(objective.num_parameters, seed, pair) * (radius / math.sqrt(objective.num_parameters))
        rises = []
        for sign in (1, -1):
            with objective.perturbed(sign * sent(epsilon, objective.inputs.device)):
                rises.append(objective.losses() - base)
        both = torch.stack(rises)
        absolute.append(_absolute_mean(both).mean(0) / (radius or 1.0))
        antithetic.append(both.mean(0))
        on_progress(2 * (pair + 1) / draws)
    frozen, bent = map(Sampled.crossed, fetched([torch.stack(absolute), torch.stack(antithetic)]))
    return RandomSharpness(frozen, bent, rounding(objective, base, seed=seed))


def _absolute_mean(values: Tensor) -> Tensor:
    """Terms (draws, n) whose means are |m|, m the means of `values` over n, and which vary as the expected |m| at this n does.

    The slope of E|m + noise| is the error function of m over its standard error: there is no jump where m is lost in noise.
    """
    mean, n = values.mean(1, keepdim=True), values.shape[1]
    error = ((values - mean).square().sum(1, keepdim=True) / (n * max(1, n - 1))).sqrt()
    slope = torch.erf(mean / (math.sqrt(2) * error)).nan_to_num(0.0)
    return mean.abs() + slope * (values - mean)


def rounding(objective: Objective, losses: Tensor, *, seed: int) -> float:
    """How much of the mean of `losses` (nats, standard deviation) is rounding.

    That is its change when every weight moves by half a unit in its last place, about what the forward pass rounds anyway.
    One draw, one forward pass: the order of magnitude (on ResNet-20 2e-9 to 6e-9 where the true error was 6e-9).
    """
    unit = torch.finfo(objective.dtype).eps / 4
    with objective.perturbed(
        unit * objective.parameters * sent(gaussian(objective.num_parameters, seed, 0), objective.inputs.device)
    ):
        change = objective.losses() - losses
    mean, deviation = torch.stack([change.mean(), change.std(correction=0)]).tolist()
    return float(max(abs(mean), deviation / math.sqrt(len(change))))


@dataclass(frozen=True)
class PaperProtocol:
    """Random sharpness as the main paper's released code measures it, and what that measures when nothing is perturbed."""

    sharpness: Sampled | None
    """Mean of |L̃(θ + ε) − L̃(θ)|/ρ over the draws with a finite loss; None where fewer than two have one."""
    null: Sampled
    """The same with ε = 0: what the shuffled loader alone produces. A sharpness near it is an artefact."""
    undefined: int
    """Draws left out because the perturbed running variances made the loss infinite or not a number."""


def paper_protocol(
    objective: Objective, *, radius: float, draws: int, seed: int, batch_size: int = 256, on_progress: Progress = silent
) -> PaperProtocol:
    """The released code's protocol on our examples: every loss is a mean of batch means over a newly shuffled loader.

    ε is added to running means and variances too, while P counts parameters only. The order of the examples decides which of
    them share the short last batch and so weigh more; nothing else of the shuffle matters in eval mode, so one forward pass
    per draw gives the losses, and the null costs none.
    """
    seen = [objective.losses()]
    scale = radius / math.sqrt(objective.num_parameters)
    buffers = {name: b for name, b in objective.module.named_buffers() if b.is_floating_point()}
    for draw in range(1, draws + 1):
        noise = gaussian(objective.num_parameters + sum(b.numel() for b in buffers.values()), seed, draw)
        noise = sent(scale * noise, objective.inputs)
        rest = torch.split(noise[objective.num_parameters :], [b.numel() for b in buffers.values()])
        moved = {name: b + e.view_as(b) for (name, b), e in zip(buffers.items(), rest, strict=True)}
        with objective.perturbed(noise[: objective.num_parameters], moved):
            seen.append(objective.losses())
        on_progress(draw / draws)
    base, *others = fetched(seen)
    orders = [permutation(len(base), seed, draw) for draw in range(draws + 1)]
    reference = _loader_mean(base, batch_size, orders[0])

    def change(losses: Floats, order: Tensor) -> float:
        return abs(_loader_mean(losses, batch_size, order) - reference) / radius

    sharpness = [change(losses, order) for losses, order in zip(others, orders[1:], strict=True)]
    null = [change(base, order) for order in orders[1:]]
    finite = [value for value in sharpness if math.isfinite(value)]
    return PaperProtocol(Sampled.of(finite) if len(finite) > 1 else None, Sampled.of(null), draws - len(finite))


def sam_sharpness(objective: Objective, *, radius: float) -> Sampled:
    """L(θ + ρ g/‖g‖) − L(θ) in nats: one normalised ascent step (Foret et al. 2021, 2010.01412).

    The standard error is over examples, for this direction. At a stationary point there is no direction, and the value is 0.
    """
    g = objective.gradient().double()
    norm = g.norm()
    base = objective.losses()
    with objective.perturbed(g * (radius / norm) if norm else g):
        return Sampled.of((objective.losses() - base).cpu().numpy())


def _loader_mean(losses: Floats, batch_size: int, order: Tensor) -> float:
    """The mean of batch means of a loader that delivers the examples in this order, the last batch short.

    The sum is rounded once: batches of one size give the same mean in every order, so the null is 0 there and not 1e-17.
    """
    shuffled = losses[order.numpy()]
    batches = [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
    return math.fsum(loss for batch in batches for loss in batch / len(batch)) / len(batches)
