"""Which settings of an architecture do the weights ask for, and which architecture do they fit at all?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from sharpaudit.checkpoints import architectures, zoo
from sharpaudit.checkpoints.architectures import Architecture
from sharpaudit.checkpoints.matching import Alignment, Fit, Shape, compare, solve, variants
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.errors import ArchitectureError

IMAGE_SIZES = (28, 32, 64, 96, 112, 128, 160, 192, 224, 240, 256, 288, 299, 320, 336, 384, 448, 512)
"""Tried in this order where the weights depend on the image size and do not fit the default."""


@dataclass(frozen=True)
class Resolved:
    """An architecture with the settings that the weights ask for."""

    architecture: Architecture
    settings: dict[str, int]
    outline: nn.Module
    """The network on the meta device."""
    alignment: Alignment
    fit: Fit

    @property
    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the network's state dict."""
        return {name: tuple(tensor.shape) for name, tensor in self.outline.state_dict().items()}


def resolve(architecture: Architecture, weights: Weights) -> Resolved:
    """`architecture` with class count, channels and image size read from `weights`; the fit need not be exact."""
    tried = [_resolve(architecture, alignment) for alignment in variants(weights)]
    return max(tried, key=lambda resolved: (resolved.fit.exact, resolved.fit.matched))


def _resolve(architecture: Architecture, alignment: Alignment) -> Resolved:
    best = _built(architecture, architecture.settings, alignment)
    assert best is not None, "the default settings build"
    for key in ("num_classes", "in_channels"):
        if _only_shapes_differ(best.fit) and key in best.settings:
            now = best.settings[key]
            other = _built(architecture, {**best.settings, key: now + 1}, alignment)
            value = solve(alignment.tensors, best.shapes, other.shapes, now, now + 1) if other else None
            better = _built(architecture, {**best.settings, key: value}, alignment) if value else None
            best = better or best
    for size in IMAGE_SIZES:
        if not _only_shapes_differ(best.fit) or "image_size" not in best.settings:
            break
        better = _built(architecture, {**best.settings, "image_size": size}, alignment)
        best = better if better and better.fit.matched > best.fit.matched else best
    return best


def _only_shapes_differ(fit: Fit) -> bool:
    return bool(fit.misshapen) and not fit.missing and not fit.unexpected


def _built(architecture: Architecture, settings: Mapping[str, int], alignment: Alignment) -> Resolved | None:
    """The architecture at `settings`, or None where its builder refuses them."""
    try:
        outline = architecture.outline(**settings)
    except (ValueError, TypeError, RuntimeError, AssertionError, IndexError, ZeroDivisionError):
        if settings == architecture.settings:
            raise
        return None
    shapes = {name: tuple(tensor.shape) for name, tensor in outline.state_dict().items()}
    return Resolved(architecture, dict(settings), outline, alignment, compare(alignment.tensors, shapes))


def identify(weights: Weights) -> Resolved:
    """The one network of the zoo that `weights` fit.

    Raises:
        ArchitectureError: none, or several.
    """
    tried = [resolve(architectures.parse(f"zoo:{name}"), weights) for name in zoo.ENTRIES]
    exact = [resolved for resolved in tried if resolved.fit.exact]
    if len(exact) == 1:
        return exact[0]
    if exact:
        names = ", ".join(resolved.architecture.spec for resolved in exact)
        raise ArchitectureError(f"the weights fit several architectures: {names}", hint="choose one with --arch")
    best = max(tried, key=lambda resolved: resolved.fit.matched)
    message, _ = best.fit.explain(best.architecture.spec, len(best.shapes))
    raise ArchitectureError(f"no architecture was named and none fits; the nearest: {message}", hint="name it with --arch")
