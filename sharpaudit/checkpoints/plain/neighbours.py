"""Which networks are next to one, and how usual is it? Those that differ in one choice, or in the ways of a few windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise

from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import Activation, Conv, Description, GlobalPool, Layer, Linear, Norm, Pool
from sharpaudit.checkpoints.plain.geometry import geometries
from sharpaudit.checkpoints.plain.normalisations import moved
from sharpaudit.checkpoints.plain.styles import ORDERS, Order, Style, assembled, canonical, orders
from sharpaudit.checkpoints.plain.trial import Hypothesis, Normalisation

STANDING_IN = (Activation("relu"), Activation("tanh"), Activation("sigmoid"))
"""One activation of each kind: they tell the right geometry when they are not the right activation."""
COMMON = tuple(Activation(name) for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu"))
RARE = (
    *(Activation("leaky_relu", slope) for slope in (0.1, 0.2)),
    *(Activation(name) for name in ("relu6", "selu", "softplus", "mish", "hardtanh", "hardswish", "softsign")),
)
MAX_GEOMETRIES = 1500
"""Geometries among which those near one are looked for."""
NEAR = 40
"""Of these, how many are compared with it."""


def around(hypothesis: Hypothesis, normalisations: Sequence[Normalisation]) -> list[Hypothesis]:
    """Every network that differs in one choice: all activations or one of them, all poolings or one, the order, the images."""
    layers = hypothesis.description.layers
    found: list[Sequence[Layer]] = []
    places = [i for i, layer in enumerate(layers) if isinstance(layer, Activation) and layer.name != "prelu"]
    for activation in (*COMMON, *RARE):
        found.append([activation if i in places else layer for i, layer in enumerate(layers)])
    for place in places:
        found.append([*layers[:place], *layers[place + 1 :]])
        found += [[*layers[:place], other, *layers[place + 1 :]] for other in STANDING_IN]
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, Pool | GlobalPool)]
    for changed in [pools, *([place] for place in pools)]:
        found.append([_flipped(layer) if i in changed else layer for i, layer in enumerate(layers)])
    found += [_reordered(layers, order) for order in orders(hypothesis.chain)]
    found += [_regrouped(layers, groups) for groups in (1, 2, 4, 8, 16, 32)]
    networks = [replace(hypothesis, description=canonical(Description(tuple(changed)))) for changed in found]
    unusual = moved(hypothesis.normalisation) if len(normalisations) > 1 else []  # else it is known
    shown = [replace(hypothesis, normalisation=normalisation) for normalisation in (*normalisations, *unusual)]
    return [other for other in dict.fromkeys([*networks, *shown]) if other != hypothesis]


def other_geometries(best: Hypothesis, chains: Sequence[Chain], size: tuple[int, int]) -> Iterator[Hypothesis]:
    """The networks of all other geometries that differ from the best in few layers, in its style."""
    layers = best.description.layers
    style = Style(
        activation=next((layer for layer in layers if isinstance(layer, Activation)), Activation("relu")),
        pool=next((layer.kind for layer in layers if isinstance(layer, Pool)), "max"),
        order=next((order for order in ORDERS if _reordered(layers, order) == list(layers)), ORDERS[0]),
        groups=next((layer.groups for layer in layers if isinstance(layer, Norm) and layer.groups), None),
        closing=next((layer.kind for layer in layers if isinstance(layer, GlobalPool)), "avg"),
    )
    shape = [layer for layer in layers if isinstance(layer, Conv | Pool | GlobalPool)]
    for chain in chains:
        near = []
        for geometry in islice(geometries(chain, *size), MAX_GEOMETRIES):
            other = assembled(chain, geometry, style)
            theirs = [layer for layer in other.layers if isinstance(layer, Conv | Pool | GlobalPool)]
            apart = sum(a != b for a, b in zip(shape, theirs, strict=False)) + abs(len(shape) - len(theirs))
            if 0 < apart <= 2:
                near.append((apart, geometry.unusual, Hypothesis(chain, other, best.normalisation)))
        near.sort(key=lambda item: item[:2])
        yield from (hypothesis for _, _, hypothesis in near[:NEAR])


def strangeness(hypothesis: Hypothesis) -> float:
    """How unusual a network is, in nats: about the logarithm of how much rarer such networks are than the commonest."""
    layers = hypothesis.description.layers
    convs = [layer for layer in layers if isinstance(layer, Conv) and max(layer.kernel) > 1]
    pools = [layer for layer in layers if isinstance(layer, Pool)]
    padded = [conv.pad == tuple((side - 1) // 2 for side in conv.kernel) for conv in convs]
    unpadded = [conv.pad == (0, 0) for conv in convs]
    odd_pads = sum(not (same or valid) for same, valid in zip(padded, unpadded, strict=True))
    mixed = not (all(padded) or all(unpadded))
    unlike = len({layer.kind for layer in pools}) > 1
    seldom = 15 * odd(hypothesis) + 15 * any(isinstance(a, Pool) and isinstance(b, Activation) for a, b in pairwise(layers))
    rest = 2 * mixed + 4 * unlike + sum(pool.stride != pool.kernel or pool.pad != (0, 0) for pool in pools)
    return 3 * odd_pads + rest + seldom + {0: 0, 1: 3, 2: 20}[_rarity(hypothesis)]


def _rarity(hypothesis: Hypothesis) -> int:
    """0 for ReLU, 1 for other common activations, 2 for the rest."""
    used = {layer for layer in hypothesis.description.layers if isinstance(layer, Activation)} - {Activation("prelu")}
    return 0 if used <= {Activation("relu")} else 1 if used <= set(COMMON) else 2


def odd(hypothesis: Hypothesis) -> bool:
    """Whether it is a network that few would make: it is thought of only where it is clearly better than every usual one."""
    layers = hypothesis.description.layers
    main = [i for i, layer in enumerate(layers) if isinstance(layer, Conv | Linear)]
    between = [layers[a:b] for a, b in pairwise(main)]
    silent = any(not any(isinstance(layer, Activation) for layer in part) for part in between)
    adaptive = any(isinstance(layer, GlobalPool) and layer.size > 1 for layer in layers)
    mixed = len({layer for layer in layers if isinstance(layer, Activation)}) > 1
    return silent or adaptive or mixed or not hypothesis.normalisation.usual


def rare(hypothesis: Hypothesis) -> bool:
    """Whether its activations, or the numbers of its normalisation, are seldom used."""
    return _rarity(hypothesis) == 2 or not hypothesis.normalisation.usual


def _flipped(layer: Layer) -> Layer:
    assert isinstance(layer, Pool | GlobalPool)
    return replace(layer, kind="avg" if layer.kind == "max" else "max")


def _reordered(layers: Sequence[Layer], order: Order) -> list[Layer]:
    """What stands between two layers with weights in another order."""
    found: list[Layer] = []
    between: list[Layer] = []

    def kind(layer: Layer) -> int:
        return order.index("norm" if isinstance(layer, Norm) else "activation" if isinstance(layer, Activation) else "pool")

    for layer in layers:
        if isinstance(layer, Conv | Linear | GlobalPool):
            found += [*sorted(between, key=kind), layer]
            between = []
        else:
            between.append(layer)
    return found + between


def _regrouped(layers: Sequence[Layer], groups: int) -> list[Layer]:
    found: list[Layer] = []
    width = 0
    for layer in layers:
        width = layer.out if isinstance(layer, Conv | Linear) else width
        grouped = isinstance(layer, Norm) and layer.kind == "groupnorm" and width % groups == 0
        found.append(replace(layer, groups=groups) if grouped and isinstance(layer, Norm) else layer)
    return found
