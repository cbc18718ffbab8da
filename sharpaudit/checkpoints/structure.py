"""Are these the tensors of a network of the zoo under other names?

Somebody who writes a known network again numbers and calls its parts otherwise, and keeps their order. So the convolutions are
compared in order, then the linear layers, then the norms, then the rest: by the roles of their tensors (``weight``,
``running_mean``) and the shapes of these. Weights cannot tell whether the function is the same too; labelled images can.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np
import torch

from sharpaudit.checkpoints import architectures, fingerprint
from sharpaudit.checkpoints.fingerprint import Index, OpenShape
from sharpaudit.checkpoints.fitting import Resolved, resolve
from sharpaudit.checkpoints.matching import COUNTER, Alignment
from sharpaudit.checkpoints.plain.chain import natural_order
from sharpaudit.checkpoints.plain.normalisations import published
from sharpaudit.checkpoints.plain.trial import LabelledImages
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.tensors import Tensor
from sharpaudit.checkpoints.weights import fill
from sharpaudit.stats.paired import mcnemar

FAMILY = "zoo:"
"""Networks that are recognised by structure; those of timm have too many twins."""

ASKED = 512
"""Images that a renamed network must answer."""
SIGNIFICANCE = 1e-3
"""Of its being better than always naming the commonest class."""

Module = dict[str, tuple[str, OpenShape]]
"""The name and the shape of each tensor of one module, by role."""


def renamed(weights: Weights, index: Index | None = None) -> list[Resolved]:
    """Every network of the zoo whose layers these are, in this order and under other names; few settings changed come first."""
    index = index or fingerprint.shipped()
    found = []
    for spec, network in index.networks.items():
        if not spec.startswith(FAMILY):
            continue
        wanted = {index.names[n]: index.shapes[s] for n, s in zip(network.names, network.shapes, strict=True)}
        for names in (list(weights.tensors), sorted(weights.tensors, key=natural_order)):
            if aligned := _aligned(weights, names, wanted):
                fit = resolve(architectures.parse(spec), Weights(aligned.tensors, allow_missing=weights.allow_missing))
                if fit.fit.exact:
                    found.append(Resolved(fit.architecture, fit.settings, fit.outline, aligned, fit.fit))
                    break
    return sorted(found, key=lambda fit: (len(fit.changed), fit.architecture.spec))


@torch.inference_mode()
def answers(fit: Resolved, images: LabelledImages, *, allow_nonfinite: bool) -> tuple[int, int, bool]:
    """How many of how many images a network answers rightly, and whether that is more than naming the commonest class gives."""
    defaults = fit.architecture.defaults(fit.outline)
    assert defaults, "every network of the zoo has them"
    normalisation = published(fit)
    size = (len(normalisation.mean), *defaults.input_size[1:])
    pixels, labels = images.sample(size, ASKED, fit.settings["num_classes"])
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (normalisation.mean, normalisation.std))
    module = fill(fit, allow_nonfinite=allow_nonfinite).module
    found = torch.cat([module((chunk - mean) / std).argmax(1) for chunk in torch.split(pixels, 64)])
    right, commonest = (found == labels).numpy(), labels.numpy() == np.bincount(labels.numpy()).argmax()
    wins, losses = int((right & ~commonest).sum()), int((commonest & ~right).sum())
    return int(right.sum()), len(labels), wins > losses and mcnemar(wins, losses) < SIGNIFICANCE


def _aligned(weights: Weights, names: Sequence[str], wanted: dict[str, OpenShape]) -> Alignment | None:
    """The tensors, in that order of their names, under those of the network; None where a layer differs."""
    given = _layers((name, weights.tensors[name].shape) for name in names)
    layers = _layers(wanted.items())
    if given.keys() != layers.keys() or any(len(given[kind]) != len(layers[kind]) for kind in layers):
        return None
    tensors: dict[str, Tensor] = {}
    for kind, modules in layers.items():
        for theirs, ours in zip(given[kind], modules, strict=True):
            lacking = ours.keys() ^ theirs.keys()
            if not lacking <= {COUNTER} or not all(_fits(theirs[role][1], ours[role][1]) for role in ours.keys() - lacking):
                return None
            tensors |= {ours[role][0]: weights.tensors[theirs[role][0]] for role in ours if role in theirs}
    return Alignment(tensors, [f"took {len(tensors)} tensors by the order and the shapes of their layers, under other names"])


def _layers(tensors: Iterable[tuple[str, OpenShape]]) -> dict[int, list[Module]]:
    """The modules in order, apart by the number of axes of their largest tensor: convolutions, linear layers, norms."""
    found: dict[int, list[Module]] = {}
    for _, members in groupby(tensors, key=lambda tensor: tensor[0].rpartition(".")[0]):
        module = {name.rpartition(".")[2]: (name, shape) for name, shape in members}
        found.setdefault(max(len(shape) for _, shape in module.values()), []).append(module)
    return found


def _fits(given: OpenShape, wanted: OpenShape) -> bool:
    return len(given) == len(wanted) and all(there in (None, here) for here, there in zip(given, wanted, strict=True))
