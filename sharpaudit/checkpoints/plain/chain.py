"""Are these tensors the weights of layers that stand one after the other, and in which order?

Names give the parts of a layer (``fc1.weight``, ``fc1.bias``; ``w1``, ``b1``) and shapes give the rest: what leaves one layer
enters the next. Order is that of the file, else that of the numbers in the names, else norms are put after layers of their width.
Needs no torch: `inspect` calls it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import islice, pairwise
from typing import Literal

from sharpaudit.checkpoints.matching import Shape, Shapes

MAX_CHAINS = 16
"""Orders that are followed up, where norms of equal width may stand in several places."""
MAX_TENSORS = 500

ROLES = {
    **{name: "weight" for name in ("weight", "kernel", "w", "W", "gamma")},
    **{name: "bias" for name in ("bias", "b", "beta")},
    **{name: name for name in ("running_mean", "running_var", "num_batches_tracked")},
}
BARE = re.compile(r"(.*?)[_.]?(weight|bias|kernel|w|b|W)(\d*)")
"""``w1``, ``fc1_b``, ``conv2_weight``: a name without a module before it."""

Kind = Literal["conv", "linear", "batchnorm", "norm", "prelu"]


@dataclass(frozen=True)
class Weighted:
    """A layer with weights."""

    kind: Kind
    shape: Shape
    """Of its weight: (out, in, height, width), (out, in) or (features,)."""
    names: dict[str, str]
    """What its tensors are called in the file, by role."""
    stem: str
    """What their names have in common."""
    transposed: bool = False
    """A linear layer that is stored as (in, out)."""

    @property
    def out(self) -> int:
        """Channels or features that leave it."""
        return self.shape[0]


@dataclass(frozen=True)
class Chain:
    """Layers in an order in which each takes what the one before gives."""

    layers: tuple[Weighted, ...]

    @property
    def main(self) -> tuple[Weighted, ...]:
        """The convolutions and linear layers."""
        return tuple(layer for layer in self.layers if layer.kind in ("conv", "linear"))

    @property
    def convs(self) -> tuple[Weighted, ...]:
        """The convolutions, which come first."""
        return tuple(layer for layer in self.layers if layer.kind == "conv")

    @property
    def inputs(self) -> int:
        """Channels that enter the first convolution, or numbers that enter the first linear layer."""
        return self.main[0].shape[1]

    @property
    def head(self) -> int | None:
        """Numbers that enter the first linear layer behind convolutions."""
        first = next((layer for layer in self.layers if layer.kind == "linear"), None)
        return first.shape[1] if first else None

    def between(self, position: int) -> int | None:
        """How many modules without weights stand behind the main layer at `position`, where its names number all modules."""
        found = self._between
        return found[position] if found else None

    @cached_property
    def _between(self) -> list[int | None] | None:
        """For each main layer but the last. Numbers without room for an activation anywhere number layers only."""
        places = [self.layers.index(layer) for layer in self.main]
        gaps = [
            sum(steps) if None not in (steps := [_gap(*pair) for pair in pairwise(self.layers[a : b + 1])]) else None  # type: ignore[arg-type]  # no None is left
            for a, b in pairwise(places)
        ]
        return None if any(gap is not None and gap < 1 for gap in gaps) else gaps

    @property
    def before_norm(self) -> set[int]:
        """How many modules without weights stand between a layer and its norm, as far as names tell."""
        pairs = [(a, b) for a, b in pairwise(self.layers) if b.kind in ("norm", "batchnorm") and a.kind in ("conv", "linear")]
        return {gap for a, b in pairs if (gap := _gap(a, b)) is not None} if self._between else set()

    @property
    def num_classes(self) -> int:
        """Outputs of the last layer."""
        return self.main[-1].out


def _gap(one: Weighted, other: Weighted) -> int | None:
    """How many modules are numbered between two of one parent."""
    (parent, _, first), (theirs, _, second) = one.stem.rpartition("."), other.stem.rpartition(".")
    numbered = parent == theirs and first.isascii() and second.isascii() and first.isdigit() and second.isdigit()
    return max(int(second) - int(first) - 1, 0) if numbered else None


def chains(shapes: Shapes) -> list[Chain]:
    """Every order in which the tensors are a plain network; none where they are not, or something is left over."""
    if not 0 < len(shapes) <= MAX_TENSORS:
        return []
    groups: dict[str, dict[str, str]] = {}
    for name in shapes:
        stem, role = _stem_and_role(name)
        if role in groups.setdefault(stem, {}):
            return []
        groups[stem][role] = name
    read = [_weighted(stem, names, shapes) for stem, names in groups.items()]
    layers = [layer for layer in read if layer is not None]
    if len(layers) < len(read) or not any(layer.kind in ("conv", "linear") for layer in layers):
        return []
    for stored in (layers, [_turned(layer) for layer in layers]):  # as (out, in) if that fits anyhow, else as (in, out)
        if all(map(_bias_fits, stored, [shapes] * len(stored))):
            found = {tuple(layer.stem for layer in order): order for order in _orders(stored) if _linked(order)}
            if found:
                return [Chain(tuple(order)) for order in found.values()]
    return []


def _stem_and_role(name: str) -> tuple[str, str]:
    stem, _, last = name.rpartition(".")
    if last in ROLES and stem:
        return stem, ROLES[last]
    bare = BARE.fullmatch(name)
    return (bare[1] + bare[3] or "layer", ROLES[bare[2]]) if bare else (name, "weight")


def _weighted(stem: str, names: dict[str, str], shapes: Shapes) -> Weighted | None:
    """The layer that these tensors make, if they make one."""
    shape = shapes[names["weight"]] if "weight" in names else None
    if {"running_mean", "running_var"} <= names.keys():
        mean = shapes[names["running_mean"]]
        vectors = [shapes[name] for role, name in names.items() if role != "num_batches_tracked"]
        return Weighted("batchnorm", mean, names, stem) if len(mean) == 1 and set(vectors) == {mean} else None
    if shape is None or not names.keys() <= {"weight", "bias"} or 0 in shape:
        return None
    if len(shape) == 1:
        if "bias" not in names:
            return Weighted("prelu", shape, names, stem)
        return Weighted("norm", shape, names, stem) if shapes[names["bias"]] == shape else None
    return Weighted("conv" if len(shape) == 4 else "linear", shape, names, stem) if len(shape) in (2, 4) else None


def _turned(layer: Weighted) -> Weighted:
    return replace(layer, shape=layer.shape[::-1], transposed=True) if layer.kind == "linear" else layer


def _bias_fits(layer: Weighted, shapes: Shapes) -> bool:
    return "bias" not in layer.names or shapes[layer.names["bias"]] == (layer.out,)


def _orders(layers: Sequence[Weighted]) -> Iterator[Sequence[Weighted]]:
    """Orders worth a look, the likeliest first."""
    natural = sorted(layers, key=lambda layer: natural_order(layer.stem))
    yield layers
    yield natural
    main = [*(layer for layer in natural if layer.kind == "conv"), *(layer for layer in natural if layer.kind == "linear")]
    others = [layer for layer in natural if layer.kind not in ("conv", "linear")]
    if others and _linked(main) and not any(map(_linked, (layers, natural))):
        yield from islice(_interleaved(main, others), MAX_CHAINS)
    elif not others:
        yield main


def _interleaved(main: Sequence[Weighted], others: Sequence[Weighted]) -> Iterator[list[Weighted]]:
    """The norms, in their order, each directly behind a layer of its width.

    No place is tried from which the rest cannot be placed: without that, the orders of a ResNet's norms take for ever.
    """

    @cache
    def places(norm: int, start: int) -> tuple[int, ...]:
        """Layers from `start` on behind which a norm may stand, so that all later ones have a place too."""
        if len(others) - norm > len(main) - 1 - start:
            return ()
        fitting = (p for p in range(start, len(main) - 1) if others[norm].shape in ((main[p].out,), (1,)))
        return tuple(p for p in fitting if norm + 1 == len(others) or places(norm + 1, p + 1))

    def placed(norm: int, start: int) -> Iterator[list[Weighted]]:
        if norm == len(others):
            yield list(main[start:])
            return
        for place in places(norm, start):
            for rest in placed(norm + 1, place + 1):
                yield [*main[start : place + 1], others[norm], *rest]

    return placed(0, 0)


def natural_order(stem: str) -> list[tuple[int, str]]:
    """A key by which ``conv10`` comes after ``conv2``."""
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", stem)]


def _linked(layers: Sequence[Weighted]) -> bool:
    """Whether each layer takes what the one before gives, with at most one norm and one PReLU between two.

    Groups are believed where there is one for each channel: others let the blocks of a ResNet pass for layers in a row.
    """
    main = [layer for layer in layers if layer.kind in ("conv", "linear")]
    kinds = [layer.kind for layer in main]
    if layers[0] is not main[0] or layers[-1] is not main[-1] or kinds != sorted(kinds):  # "conv" < "linear"
        return False
    for before, here in pairwise(main):
        rest = here.shape[1] % before.out if before.kind == "conv" else here.shape[1] - before.out
        depthwise = here.kind == "conv" and here.shape[1] == 1 and here.out % before.out == 0
        if not depthwise and (here.shape[1] != before.out if here.kind == "conv" else rest):
            return False
    width = layers[0].out
    for before, here in pairwise(layers):
        if here.kind in ("conv", "linear"):
            width = here.out
        elif here.kind == before.kind or here.shape not in ((width,), (1,)):
            return False
    return True
