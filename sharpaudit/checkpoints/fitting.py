"""Which settings of an architecture do the weights ask for, and which architectures do they fit at all?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from sharpaudit.checkpoints import architectures, fingerprint
from sharpaudit.checkpoints.architectures import Architecture
from sharpaudit.checkpoints.fingerprint import Index
from sharpaudit.checkpoints.matching import Alignment, Fit, Shape, compare, solve, variants
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.errors import ArchitectureError, clean

IMAGE_SIZES = (
    28,
    32,
    64,
    96,
    112,
    128,
    160,
    192,
    224,
    240,
    256,
    288,
    299,
    320,
    336,
    384,
    448,
    512,
    576,
    640,
    672,
    768,
    896,
    1024,
)
"""Tried in this order where the weights depend on the image size and neither the default nor the fingerprint tells it."""

HELPS = 0.5
"""Share of names and shapes from which a known network is worth a suggestion."""

FAMILIES = ("torchvision", "zoo", "timm")
"""Bare files of torchvision's networks are the commonest."""


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

    @property
    def changed(self) -> list[str]:
        """The settings in which the weights differ from the published ones."""
        return [key for key, value in self.architecture.published.items() if self.settings[key] != value]


def resolve(architecture: Architecture, weights: Weights) -> Resolved:
    """`architecture` with class count, channels and image size read from `weights`; the fit need not be exact."""
    tried = [_resolve(architecture, alignment) for alignment in variants(weights)]
    return max(tried, key=lambda resolved: (resolved.fit.exact, resolved.fit.matched))


def sized(resolved: Resolved, image_size: int | None) -> Resolved:
    """The same network for images of that size, where its weights allow that size too."""
    if image_size is None or resolved.settings.get("image_size", image_size) == image_size or not resolved.fit.exact:
        return resolved
    other = _built(resolved.architecture, {**resolved.settings, "image_size": image_size}, resolved.alignment)
    return other if other and other.fit.exact else resolved


def identify(weights: Weights, index: Index | None = None) -> list[Resolved]:
    """Every known network that `weights` fit, the likeliest first.

    Likeliest is the one with the fewest settings that differ from those of its published weights, torchvision's before the
    zoo's before timm's, then the one of the shortest name. An index of other versions than those installed is completed with
    the networks that it lacks before the weights are refused.

    Raises:
        ArchitectureError: none, and the message names the nearest; or one whose head the file lacks.
    """
    index = index or fingerprint.shipped()
    found = _fitting(index, weights)
    if not found and index.stale:
        index = fingerprint.completed(index)
        found = _fitting(index, weights)
    if not found:
        raise _unknown(index, weights)
    return sorted(found, key=_unlikeliness)


def refuse_headless(resolved: Resolved) -> None:
    """Refuse a network that gives features: built without a classifying head, or whose head the file lacks.

    Raises:
        ArchitectureError: it has no classes, or what is missing are the tensors whose shape depends on their number.
    """
    spec, settings, fit = resolved.architecture.spec, resolved.settings, resolved.fit
    classes = settings.get("num_classes")
    hint = "only classifiers are measured: give the weights of the encoder and of its head in one file"
    if classes == 0 and fit.exact:
        raise ArchitectureError(f"{spec} has no classifying head: it gives features, not logits", hint=hint)
    if not classes or not fit.missing or fit.unexpected or fit.misshapen:
        return
    other = _built(resolved.architecture, {**settings, "num_classes": classes + 1}, resolved.alignment)
    if other and set(fit.missing) == {name for name, shape in resolved.shapes.items() if other.shapes.get(name) != shape}:
        lacking = ", ".join(fit.missing)
        raise ArchitectureError(f"the weights are those of {spec} without its classifying head ({lacking})", hint=hint)


def _unlikeliness(fit: Resolved) -> tuple[int, int, int, str]:
    spec = fit.architecture.spec
    return len(fit.changed), FAMILIES.index(spec.partition(":")[0]), len(spec), spec


def _fitting(index: Index, weights: Weights) -> list[Resolved]:
    """The candidates of the index that fit when they are built."""
    for alignment in variants(weights):
        found = []
        for candidate in index.candidates({name: tensor.shape for name, tensor in alignment.tensors.items()}):
            try:
                architecture = architectures.parse(candidate.spec)
            except ArchitectureError:  # a network that the installed version no longer has
                continue
            found.append(_resolve(architecture, alignment, candidate.settings))
        if exact := [resolved for resolved in found if resolved.fit.exact]:
            return exact
    return []


def nearest(weights: Weights, index: Index | None = None) -> list[tuple[fingerprint.Candidate, float]]:
    """Known networks that have most of these names and shapes, with the share that they have."""
    shapes = {name: tensor.shape for name, tensor in variants(weights)[-1].tensors.items()}
    return [(candidate, share) for candidate, share in (index or fingerprint.shipped()).nearest(shapes) if share >= HELPS]


def _unknown(index: Index, weights: Weights) -> ArchitectureError:
    alignment = variants(weights)[-1]
    near = nearest(weights, index)
    message = f"no architecture was named, and none of the known ones is near these {len(alignment.tensors)} names and shapes"
    hint = "name it with --arch"
    if near:
        candidate = near[0][0]
        best = _resolve(architectures.parse(candidate.spec), alignment, candidate.settings)
        refuse_headless(best)
        message = f"no architecture was named and none fits; the nearest: {best.fit.explain(candidate.spec, len(best.shapes))[0]}"
        hint = "nearest: " + ", ".join(f"--arch {other.spec} ({share:.0%} of names and shapes)" for other, share in near)
    if index.stale:
        hint += f"; the index was built with {', '.join(index.stale)}: python -m sharpaudit.checkpoints.fingerprint renews it"
    return ArchitectureError(message, hint=hint)


def _resolve(architecture: Architecture, alignment: Alignment, read: Mapping[str, int] | None = None) -> Resolved:
    """`architecture` with the settings that make the most of `alignment`, beginning with those that were `read` from it."""
    best = _built(architecture, {**architecture.settings, **read}, alignment) if read else None
    best = best or _built(architecture, architecture.settings, alignment)
    assert best is not None, "the default settings build"
    for key in ("num_classes", "in_channels"):
        now = best.settings.get(key)
        if _only_shapes_differ(best.fit) and isinstance(now, int):  # a file may state None
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
    except architectures.REFUSALS as error:
        if settings == architecture.settings:
            reason = f"{type(error).__name__}: {clean(str(error))}"
            raise ArchitectureError(f"{architecture.spec} cannot be built: {reason}") from error
        return None
    shapes = {name: tuple(tensor.shape) for name, tensor in outline.state_dict().items()}
    return Resolved(architecture, dict(settings), outline, alignment, compare(alignment.tensors, shapes, alignment.allow_missing))
