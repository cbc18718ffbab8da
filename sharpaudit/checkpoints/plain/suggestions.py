"""Which plain networks are the likeliest for these weights, where no images can tell more?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from sharpaudit.checkpoints.plain.chain import Chain
from sharpaudit.checkpoints.plain.description import Activation, Description, written
from sharpaudit.checkpoints.plain.geometry import geometries
from sharpaudit.checkpoints.plain.styles import Style, assembled

MAX_SHOWN = 400
"""Characters of descriptions that are shown at once."""


def suggestions(found: Sequence[Chain], size: tuple[int, int] | None = None, limit: int = 3) -> list[str]:
    """The plainest networks that the weights fit, as typed after ``--arch``; without a size, at the likeliest one."""
    texts = []
    for chain in found:
        sizes = [size] if size else _likely_sizes(chain)
        for height, width in sizes:
            texts += [written(d, chain.inputs) for d in plainest(chain, height, width, limit)]
            if texts:
                break
    found_texts = list(dict.fromkeys(texts))[:limit]
    return found_texts if sum(map(len, found_texts)) < MAX_SHOWN else found_texts[:1]


def _likely_sizes(chain: Chain) -> list[tuple[int, int]]:
    return [(side, side) for side in (28, 32, 64, 16, 8, 48, 24, 96, 224)] if chain.convs else [(1, 1)]


def plainest(chain: Chain, height: int, width: int, limit: int) -> list[Description]:
    """The networks of the plainest geometries for images of that size, with the commonest activation."""
    ways = islice(geometries(chain, height, width), limit)
    activation = Activation("prelu" if any(layer.kind == "prelu" for layer in chain.layers) else "relu")
    return [assembled(chain, geometry, Style(activation)) for geometry in ways]
