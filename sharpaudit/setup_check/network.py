"""Is the network itself ready to be asked: all layers trained, statistics that saw data, nothing random, no image on another?"""

from __future__ import annotations

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from sharpaudit.card import Check
from sharpaudit.checkpoints import Predictor, named_layers
from sharpaudit.errors import clean
from sharpaudit.setup_check.findings import Evidence, Hits, clear, flagged, inapplicable, p_value, passed, percent
from sharpaudit.setup_check.sample import Sample

PASSED_TWICE = 16
"""Images that go through the network three times."""

FEWEST = 32
"""Images from which the statistics of a sample can stand for those of the data."""

GAIN = 0.1
"""Accuracy that stale statistics must cost."""

FEWEST_WEIGHTS = 256
"""Weights of a layer from which their distribution can be told: trained ones of 144 have passed for drawn ones."""

MOST_WEIGHTS = 20_000
"""Weights whose distribution is looked at, evenly spaced over the layer."""

TOLERANCE = 1e-3
"""Largest change of a logit, relative to the largest, that rounding may explain when the batch changes (float32)."""


def renewed(sample: Sample, given: Hits) -> Hits:
    """Which answers are right when BatchNorm takes its statistics from the sample; `given` where that cannot be much better."""
    normalises = any(isinstance(layer, _BatchNorm) for _, layer in named_layers(sample.predictor))
    if not normalises or len(given) < FEWEST or 1 - given.mean() < GAIN:
        return given
    by_batch = deepcopy(sample.predictor)
    for _, layer in named_layers(by_batch):
        if isinstance(layer, _BatchNorm):
            layer.running_mean = layer.running_var = None
    return sample.answers(predictor=by_batch).hits


def fresh_layers(predictor: Predictor) -> list[str]:
    """The layers whose weights are still what an initialiser drew: its distribution, its scale and nothing learned."""
    return [name for name, weight in _weights(predictor) if weight.numel() >= FEWEST_WEIGHTS and _is_fresh(weight)]


def _weights(predictor: Predictor) -> list[tuple[str, Tensor]]:
    return [(name, layer.weight.detach()) for name, layer in named_layers(predictor) if isinstance(layer, nn.Linear | _ConvNd)]


def _is_fresh(weight: Tensor) -> bool:
    """Whether the entries are independent draws, uniform or normal, of a scale that a usual initialiser gives this shape.

    Training leaves heavy tails, another scale, and directions that stand out: the largest singular value of p × n independent
    entries is at most about σ(√p + √n) (Marchenko and Pastur 1967), that of a trained layer mostly 1.1 to 4 times as much.
    """
    from scipy.stats import kstest

    rows, columns = weight.flatten(1).shape
    fan_in, fan_out = columns, rows * weight[0, 0].numel()
    entries = weight.flatten().cpu().double()
    size, largest, deviation = len(entries), float(entries.abs().max()), float(entries.std())
    if not math.isfinite(deviation) or deviation == 0:
        return False
    some = entries[:: -(-size // MOST_WEIGHTS)].numpy()
    bounds = [fan_in**-0.5, (6 / fan_in) ** 0.5, (6 / (fan_in + fan_out)) ** 0.5]
    for bound in bounds:
        if bound * (1 - 10 / size) <= largest <= bound * (1 + 1e-5):
            return bool(kstest(some, "uniform", (-bound, 2 * bound)).pvalue > 0.01)
    deviations = [(2 / fan_in) ** 0.5, (2 / fan_out) ** 0.5, (2 / (fan_in + fan_out)) ** 0.5, fan_in**-0.5, 0.01, 0.02]
    for usual in deviations:
        if abs(deviation / usual - 1) <= 3 / (2 * size) ** 0.5 and kstest(some, "norm", (0, usual)).pvalue > 0.01:
            leading = float(torch.linalg.matrix_norm(weight.flatten(1).cpu().double(), 2))
            return bool(leading <= 1.03 * deviation * (rows**0.5 + columns**0.5))
    return False


def weights(predictor: Predictor, fresh: list[str], given: Hits) -> Check:
    """Whether some layers were never trained, in a network that leaves much to be desired."""
    count = len(_weights(predictor))
    if not count:
        return inapplicable("weights", "the network has no linear layer and no convolution")
    evidence: Evidence = {"layers": count, "newly_initialised": len(fresh), "accuracy": float(given.mean())}
    named = f"'{clean(fresh[0])}'" + (f" and {len(fresh) - 1} more" if len(fresh) > 1 else "") if fresh else ""
    if not fresh:
        return passed("weights", "no layer has the weights of a newly initialised one", evidence)
    if 1 - given.mean() < GAIN:
        return passed("weights", f"layers as newly initialised ({named}), which cost no accuracy", evidence)
    if len(fresh) == count:
        return flagged(
            "weights", f"all {count} layers have the weights of newly initialised ones: it was never trained", evidence
        )
    words = "have the weights of newly initialised ones" if len(fresh) > 1 else "has the weights of a newly initialised one"
    return flagged("weights", f"layer {named} {words}, unlike the others: never trained, or not in the file?", evidence)


def statistics(predictor: Predictor, given: Hits, renewed: Hits, best: Hits, untrained: list[str]) -> Check:
    """Whether every BatchNorm layer holds finite statistics of data, and of data like these.

    Statistics go stale when weights are averaged or edited without passing the data through again (Izmailov et al. 2018,
    §3.2). They are taken for stale when those of the sample serve clearly better, and the `best` explanation is no better.
    """
    layers = [(name, layer) for name, layer in named_layers(predictor) if isinstance(layer, _BatchNorm)]
    if not layers:
        return inapplicable("batch_norm", "the network has no BatchNorm layer")
    kept = [
        (clean(name), mean, var)
        for name, layer in layers
        if isinstance(mean := layer.running_mean, Tensor) and isinstance(var := layer.running_var, Tensor)
    ]
    fresh = [name for name, mean, var in kept if not mean.any() and bool((var == 1).all())]
    broken = [name for name, mean, var in kept if not (mean.isfinite().all() and var.isfinite().all())]
    evidence: Evidence = {"layers": len(layers), "never_updated": len(fresh), "not_finite": len(broken)}
    if broken:
        return flagged(
            "batch_norm", f"statistics of {len(broken)} BatchNorm layers are not finite (first: {broken[0]})", evidence
        )
    if fresh:
        return flagged(
            "batch_norm",
            f"{len(fresh)} of {len(layers)} BatchNorm layers hold mean 0 and variance 1 everywhere (first: {fresh[0]}): their "
            "statistics never saw data",
            evidence,
        )
    if untrained and clear(renewed, given, GAIN):
        return passed("batch_norm", "the statistics do not fit the weights, of which some are newly initialised", evidence)
    if not clear(renewed, given, GAIN) or clear(best, renewed, 0):
        return passed("batch_norm", f"the {len(layers)} BatchNorm layers hold statistics of data", evidence)
    accuracy, with_own = float(given.mean()), float(renewed.mean())
    return flagged(
        "batch_norm",
        f"with BatchNorm statistics of the sample itself {percent(with_own)} are right instead of {percent(accuracy)}: the "
        "stored ones are stale (averaged weights?) or of images shown in another way",
        {
            **evidence,
            "accuracy": accuracy,
            "accuracy, statistics of the sample": with_own,
            "p_value": p_value(renewed, given),
        },
    )


def repeatability(sample: Sample) -> Check:
    """Whether the logits are a fixed function of one image: asked again, and in another batch."""
    layers = named_layers(sample.predictor)
    active = [name for name, layer in layers if isinstance(layer, _BatchNorm | _DropoutNd) and layer.training]
    first = sample.pixels[:PASSED_TWICE]
    logits, again = sample.logits(first), sample.logits(first)
    among_others = sample.logits(torch.stack([first, 255 - first], 1).flatten(0, 1))[::2]
    if not (logits.isfinite().all() and among_others.isfinite().all()):
        return flagged("repeatability", "the logits are not finite numbers", {"layers_in_train_mode": len(active)})
    scale = float(logits.abs().max().clamp_min(1e-30))
    repeated = float((logits - again).abs().max()) / scale
    mixed = float((logits - among_others).abs().max()) / scale
    evidence = {"layers_in_train_mode": len(active), "change_when_repeated": repeated, "change_in_another_batch": mixed}
    if repeated > TOLERANCE:
        why = f"layer '{clean(active[0])}' is in train mode" if active else "dropout in the forward pass that eval() cannot stop?"
        return flagged("repeatability", f"the same batch twice gives logits {repeated:.1%} apart: {why}", evidence)
    if mixed > TOLERANCE:
        why = f"layer '{clean(active[0])}' is in train mode" if active else "normalisation by the statistics of the batch?"
        return flagged("repeatability", f"among other images an image's logits change by {mixed:.1%}: {why}", evidence)
    if active:
        return flagged("repeatability", f"{len(active)} layers are in train mode (first: {clean(active[0])})", evidence)
    return passed("repeatability", "an image's logits are the same again, and in another batch", evidence)
