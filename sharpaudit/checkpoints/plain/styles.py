"""What may stand between two layers with weights? Activations, poolings and norms, in the orders that are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from sharpaudit.checkpoints.plain.chain import Chain, Weighted
from sharpaudit.checkpoints.plain.description import (
    Activation,
    Conv,
    Description,
    GlobalPool,
    Layer,
    Linear,
    Norm,
    Pool,
    PoolKind,
)
from sharpaudit.checkpoints.plain.geometry import Geometry, Step

RISING = {"relu", "tanh", "sigmoid", "elu", "leaky_relu", "relu6", "selu", "celu", "softplus", "softsign", "hardtanh"}
"""Activations that never fall: the maximum of a window may be taken before or after them."""

Order = tuple[str, ...]
ORDERS: tuple[Order, ...] = (
    ("norm", "activation", "pool"),
    ("activation", "norm", "pool"),
    ("activation", "pool", "norm"),
    ("norm", "pool", "activation"),
    ("pool", "norm", "activation"),
)
"""Other orders compute what one of these does, or are not used."""


@dataclass(frozen=True)
class Style:
    """What is unknown of the layers without weights, once windows and strides are known."""

    activation: Activation
    pool: PoolKind = "max"
    order: Order = ORDERS[0]
    groups: int | None = None
    """Of a group norm, where the weights leave them open."""
    closing: PoolKind = "avg"
    """Kind of a global pooling."""


def assembled(chain: Chain, geometry: Geometry, style: Style) -> Description:
    """The network of this geometry and style."""
    layers: list[Layer] = []
    steps = iter(geometry.steps)
    last, last_conv = chain.main[-1], chain.convs[-1] if chain.convs else None
    for main, others in _grouped(chain):
        step = next(steps) if main.kind == "conv" else None
        layers.append(_main(main, step, geometry, chain))
        if main is not last:
            layers += _between(others, step, style)
        if main is last_conv and geometry.adaptive:
            layers.append(GlobalPool(style.closing, geometry.adaptive))
    return canonical(Description(tuple(layers)))


def canonical(description: Description) -> Description:
    """The same function with every activation that may stand before a max pooling there."""
    layers = list(description.layers)
    for index in range(len(layers) - 1):
        pool, activation = layers[index], layers[index + 1]
        largest = isinstance(pool, Pool | GlobalPool) and pool.kind == "max"
        if largest and isinstance(activation, Activation) and activation.name in RISING:
            layers[index : index + 2] = [activation, pool]
    return replace(description, layers=tuple(layers))


def styles(chain: Chain, geometry: Geometry, activations: Iterable[Activation]) -> Iterator[Style]:
    """The styles worth a look, the usual one first."""
    given = any(layer.kind == "prelu" for layer in chain.layers)
    pooled = any(step.window for step in geometry.steps)
    normed = any(layer.kind in ("norm", "batchnorm") for layer in chain.layers)
    widths = {layer.out for layer in chain.layers[1:] if layer.kind == "norm"} if chain.convs else set()
    groups: list[int | None] = (
        [g for g in (1, 2, 4, 8, 16, 32, 3, 6) if all(width % g == 0 for width in widths)] if widths else [None]
    )
    if widths:
        groups += [0]  # as many as channels: an instance norm
    for activation in [Activation("prelu")] if given else activations:
        for pool in ("max", "avg") if pooled else ("max",):
            for order in orders(chain) if normed else (ORDERS[0], ORDERS[3]):
                for group in groups:
                    for closing in ("avg", "max") if geometry.adaptive else ("avg",):
                        yield Style(activation, pool, order, group, closing)


def orders(chain: Chain) -> tuple[Order, ...]:
    """The orders that the numbers in its names allow, if they do."""
    told = chain.before_norm
    if len(told) != 1:
        return ORDERS
    (before,) = told
    return {0: (ORDERS[0], ORDERS[3]), 1: (ORDERS[1], ORDERS[4]), 2: (ORDERS[2],)}.get(before, ORDERS)


def _grouped(chain: Chain) -> Iterator[tuple[Weighted, list[Weighted]]]:
    """Each convolution and linear layer with the norms behind it."""
    main: Weighted | None = None
    others: list[Weighted] = []
    for layer in chain.layers:
        if layer.kind in ("conv", "linear"):
            if main:
                yield main, others
            main, others = layer, []
        else:
            others.append(layer)
    assert main, "a chain has a layer"
    yield main, others


def _main(main: Weighted, step: Step | None, geometry: Geometry, chain: Chain) -> Layer:
    if step is None:
        return Linear(main.out)
    position = chain.convs.index(main)
    before = chain.convs[position - 1].out if position else main.shape[1]
    kernel = (main.shape[2], main.shape[3])
    return Conv(main.out, kernel, (step.stride, step.stride), step.pad, groups=before // main.shape[1])


def _between(others: list[Weighted], step: Step | None, style: Style) -> Iterator[Layer]:
    """What follows a layer that is not the last."""
    for part in style.order:
        if part == "norm":
            yield from (_norm(layer, step, style) for layer in others if layer.kind in ("norm", "batchnorm"))
        elif part == "activation":
            if style.activation.name != "prelu" or any(layer.kind == "prelu" for layer in others):
                yield style.activation
        elif step and step.window:
            window = step.window
            sizes = ((window.kernel,) * 2, (window.stride,) * 2, (window.pad,) * 2)
            yield Pool(style.pool, *sizes)


def _norm(layer: Weighted, step: Step | None, style: Style) -> Norm:
    if layer.kind == "batchnorm":
        return Norm("batchnorm")
    if step is None:
        return Norm("layernorm")
    return Norm("groupnorm", style.groups) if style.groups else Norm("instancenorm")
