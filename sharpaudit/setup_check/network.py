"""Is the network itself ready to be asked: statistics that saw data, nothing random, every image on its own?"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from sharpaudit.card import Check
from sharpaudit.errors import clean
from sharpaudit.setup_check.findings import Evidence, Hits, clear, flagged, inapplicable, p_value, passed, percent
from sharpaudit.setup_check.sample import Sample

PASSED_TWICE = 16
"""Images that go through the network three times."""

FEWEST = 32
"""Images from which the statistics of a sample can stand for those of the data."""

GAIN = 0.1
"""Accuracy that stale statistics must cost."""

TOLERANCE = 1e-3
"""Largest change of a logit, relative to the largest, that rounding may explain when the batch changes (float32)."""


def renewed(sample: Sample, given: Hits) -> Hits:
    """Which answers are right when BatchNorm takes its statistics from the sample; `given` where that cannot be much better."""
    normalises = any(isinstance(layer, _BatchNorm) for layer in sample.module.modules())
    if not normalises or len(given) < FEWEST or 1 - given.mean() < GAIN:
        return given
    by_batch = deepcopy(sample.module)
    for layer in by_batch.modules():
        if isinstance(layer, _BatchNorm):
            layer.running_mean = layer.running_var = None
    hits: Hits = sample.answers(module=by_batch) == sample.labels
    return hits


def statistics(module: nn.Module, given: Hits, renewed: Hits, best: Hits) -> Check:
    """Whether every BatchNorm layer holds finite statistics of data, and of data like these.

    Statistics go stale when weights are averaged or edited without passing the data through again (Izmailov et al. 2018,
    §3.2). They are taken for stale when those of the sample serve clearly better, and the `best` explanation is no better.
    """
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, _BatchNorm)]
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
    layers = sample.module.named_modules()
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
