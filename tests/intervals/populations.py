"""Where simulated audits draw from: what two networks of the demo say of 1,797 digits, and what random draws do to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from sharpaudit.curvature.estimates import Sampled
from sharpaudit.curvature.fisher_rao import fisher_rao
from sharpaudit.curvature.gauss_newton.explicit import jacobians
from sharpaudit.curvature.gauss_newton.ggn_trace import ggn_trace
from sharpaudit.curvature.gauss_newton.gram import Plan
from sharpaudit.curvature.gauss_newton.matrix import GaussNewton
from sharpaudit.curvature.objective import Objective
from sharpaudit.curvature.perturbations.average_case import average_case
from sharpaudit.curvature.perturbations.ball import Ball
from sharpaudit.curvature.perturbations.perturbation import paper_protocol, random_sharpness
from sharpaudit.curvature.perturbations.worst_case import worst_case
from sharpaudit.data import to_input
from sharpaudit.metrics.predictions import Predictions, softmax
from tests.setup_check.cases import digits

Floats = NDArray[np.float64]

NETWORKS = ("baseline-seed0", "augmentation_sam-seed0")
"""Trained to a loss of 2e-4 and of 9e-3; on new digits right on 94 and 97%."""


@cache
def images() -> tuple[torch.Tensor, torch.Tensor]:
    """All digits, of the training and of the test set."""
    parts = [digits(split=split) for split in ("digits:train", "digits")]
    inputs = torch.cat([to_input(torch.tensor(part.images.images[:]), part.preprocessing) for part in parts])
    return inputs, torch.cat([torch.tensor(part.images.labels) for part in parts])


@cache
def predictions(name: str) -> Predictions:
    """What the network says of the 797 test digits: of the training digits nearly all losses vanish."""
    inputs, labels = images()
    with torch.no_grad():
        return Predictions.from_logits(digits(name).module(inputs[-797:]).double().numpy(), labels[-797:].numpy())


REGIMES = {"calibrated": 2.2, "overconfident": 1.1, "underconfident": 3.5}
"""By what the second network's logits are divided for its confidences; its labels are drawn with 2.2, right on 97%."""


@cache
def of_regime(name: str) -> tuple[Floats, Floats]:
    """Logits of all digits and the cumulative probabilities of their labels."""
    inputs, _ = images()
    with torch.no_grad():
        logits = digits(NETWORKS[1]).module(inputs).double().numpy()
    return logits / REGIMES[name], softmax(logits / REGIMES["calibrated"]).cumsum(axis=1)


@cache
def features(name: str) -> tuple[Floats, Floats, Floats]:
    """Penultimate features of all digits, with a column of ones, probabilities, and the weight of the last layer."""
    inputs, _ = images()
    module = digits(name).module
    last = [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)][-1]
    seen: list[torch.Tensor] = []
    handle = last.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    with torch.no_grad():
        p = module(inputs).double().softmax(1).numpy()
    handle.remove()
    return seen[0].double().numpy(), p, last.weight.detach().double().numpy()


@dataclass(frozen=True)
class LastLayer:
    """A network of one layer."""

    module: torch.nn.Linear
    features: torch.Tensor
    """Its inputs, of all digits."""


@cache
def last_layer(name: str, temperature: float) -> LastLayer:
    """The network's last layer, whose logits are divided by `temperature`: the larger, the more images curve."""
    phi, _, weight = features(name)
    phi = phi[:, : weight.shape[1]]
    module = torch.nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
    last = [layer for layer in digits(name).module.modules() if isinstance(layer, torch.nn.Linear)][-1]
    with torch.no_grad():
        module.weight.copy_(last.weight / temperature)
        module.bias.copy_(last.bias / temperature)
    return LastLayer(module.eval(), torch.from_numpy(phi))


def objective(name: str, rows: slice = slice(None)) -> Objective:
    """The network's loss on some of all digits."""
    inputs, labels = images()
    return Objective(digits(name).module, inputs[rows], labels[rows], batch_size=512)


TRAINING = slice(0, 512)
"""The first training digits: the probe set of an audit."""


@cache
def fisher_squares(name: str) -> Floats:
    return fisher_rao(objective(name)).squares


@cache
def trace_examples(name: str) -> Floats:
    found = ggn_trace(objective(name))
    assert found is not None
    return found.examples


@cache
def few(name: str) -> Objective:
    """On 64 digits: 576 eigenvalues of G that are not 0, of 6,090."""
    return objective(name, slice(0, 1024, 16))


@cache
def whole(name: str) -> GaussNewton:
    """All of its G."""
    return Plan(few(name)).run()


def rows(name: str) -> tuple[Floats, Floats]:
    """R (n·classes, P) with G = RᵀR, and each example's gradient (n, P)."""
    o = few(name)
    jacobian = torch.stack(list(jacobians(o))).double()
    p = o.logits().double().softmax(1)
    centred = jacobian - torch.einsum("ik,ikp->ip", p, jacobian)[:, None]
    gradients = -centred[range(len(p)), o.labels]
    return ((p / len(p)).sqrt()[:, :, None] * centred).flatten(0, 1).numpy(), gradients.numpy()


def random_draws(name: str, pairs: int = 300) -> tuple[Floats, Floats]:
    """What each ± pair of draws gives for `sharpness.random` and for its antithetic form."""
    found = [random_sharpness(objective(name, TRAINING), radius=0.005, draws=4, seed=seed) for seed in range(pairs // 2)]
    return _pairs([f.absolute for f in found]), _pairs([f.antithetic for f in found])


def _pairs(found: Sequence[Sampled]) -> Floats:
    """Both values behind each mean of two, from mean and standard error (which of two draws was first does not matter)."""
    values = [(f.value, f.standard_error) for f in found]
    return np.array([v + sign * e for v, e in values for sign in (1, -1)])


def average_draws(name: str, pairs: int = 500) -> dict[str, Floats]:
    """What each ± pair gives for the two standard forms of average-case sharpness, with the logits plain and normalised."""
    o = objective(name, TRAINING)
    found = {}
    for norm in ("l2", "linf"):
        ball = Ball.around(o, norm, 0.1, adaptive=True)
        each = [average_case(o, ball, draws=4, seed=seed) for seed in range(pairs // 2)]
        found[f"{norm}/adaptive/0.1"] = _pairs([f.plain for f in each])
        found[f"{norm}/adaptive/normalised/0.1"] = _pairs([f.normalised for f in each])
    return found


def paper_draws(name: str, draws: int = 300) -> Floats:
    """What each draw of the published protocol gives."""
    found = [paper_protocol(objective(name, TRAINING), radius=0.005, draws=2, seed=seed) for seed in range(draws // 2)]
    return _pairs([f.sharpness for f in found if f.sharpness])


def group_rises(name: str, groups: int = 40) -> Floats:
    """The largest rise found for each of some random groups of 128 images."""
    inputs, labels = images()
    rng = np.random.default_rng(0)
    found = []
    for _ in range(groups):
        rows = torch.tensor(rng.choice(len(labels), 128, replace=False))
        o = Objective(digits(name).module, inputs[rows], labels[rows], batch_size=128)
        ball = Ball.around(o, "l2", 0.5, adaptive=True)
        found.append(worst_case(o, ball, group=128, iterations=5, seed=0).rise.value)
    return np.array(found)
