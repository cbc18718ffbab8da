"""A description and a file's tensors become a network: which tensor is which layer's, do the sizes meet, what is built?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from sharpaudit.checkpoints.architectures import REFUSALS, Architecture
from sharpaudit.checkpoints.fitting import Resolved
from sharpaudit.checkpoints.matching import Alignment, compare
from sharpaudit.checkpoints.meta import outline
from sharpaudit.checkpoints.plain.chain import Chain, Weighted
from sharpaudit.checkpoints.plain.description import (
    ACTIVATIONS,
    Activation,
    Conv,
    Description,
    GlobalPool,
    Layer,
    Linear,
    Norm,
    Pool,
    written,
)
from sharpaudit.checkpoints.preprocessing import Defaults
from sharpaudit.checkpoints.state_dict import Weights
from sharpaudit.checkpoints.tensors import StoredTensor, Tensor
from sharpaudit.errors import ArchitectureError, clean


@dataclass(frozen=True)
class Bound:
    """A layer of a description, with the tensors that are its weights."""

    layer: Layer
    weighted: Weighted | None
    spatial: bool
    """Whether what enters it are images, not rows of numbers."""


def bind(description: Description, chain: Chain) -> list[Bound]:
    """Each layer with its tensors.

    Raises:
        ArchitectureError: a layer and the tensors in its place differ, or one of the two is left over.
    """
    bound: list[Bound] = []
    waiting = list(chain.layers)
    spatial = bool(chain.convs)
    for layer in description.layers:
        spatial = spatial and not isinstance(layer, Linear)
        weighted = None
        if isinstance(layer, Conv | Linear | Norm) or layer == Activation("prelu"):
            weighted = waiting.pop(0) if waiting else None
            if weighted is None or not _belongs(layer, weighted, bound):
                raise ArchitectureError(_unlike(layer, weighted))
        bound.append(Bound(layer, weighted, spatial))
    if waiting:
        raise ArchitectureError(f"the description ends before {clean(waiting[0].stem)} {list(waiting[0].shape)}")
    return bound


def _belongs(layer: Layer, weighted: Weighted, before: list[Bound]) -> bool:
    match layer:
        case Conv():
            channels = next((b.weighted.out for b in reversed(before) if b.weighted and isinstance(b.layer, Conv)), None)
            groups_fit = channels is None or channels == weighted.shape[1] * layer.groups
            return weighted.kind == "conv" and (layer.out, *layer.kernel) == (weighted.out, *weighted.shape[2:]) and groups_fit
        case Linear():
            return weighted.kind == "linear" and layer.out == weighted.out
        case Norm(kind="batchnorm"):
            return weighted.kind == "batchnorm"
        case Norm():
            return weighted.kind == "norm"
    return weighted.kind == "prelu"


def _unlike(layer: Layer, weighted: Weighted | None) -> str:
    if weighted is None:
        return f"the description has '{layer}' where the weights end"
    stored = f" (stored as {list(weighted.shape[::-1])})" if weighted.transposed else ""
    return f"'{layer}' is not {clean(weighted.stem)}, a {weighted.kind} of shape {list(weighted.shape)}{stored}"


def part(bound: Bound) -> nn.Module:
    """The module of one layer, with fresh weights."""
    layer, weighted = bound.layer, bound.weighted
    match layer:
        case Conv():
            assert weighted
            channels = weighted.shape[1] * layer.groups
            return nn.Conv2d(
                channels,
                layer.out,
                layer.kernel,
                layer.stride,
                layer.pad,
                layer.dilation,
                layer.groups,
                bias="bias" in weighted.names,
            )
        case Linear():
            assert weighted
            return nn.Linear(weighted.shape[1], layer.out, bias="bias" in weighted.names)
        case Norm():
            assert weighted
            return _norm(layer, weighted, spatial=bound.spatial)
        case Pool(kind="max"):
            return nn.MaxPool2d(layer.kernel, layer.stride, layer.pad, ceil_mode=layer.ceil)
        case Pool():
            return nn.AvgPool2d(layer.kernel, layer.stride, layer.pad, ceil_mode=layer.ceil)
        case GlobalPool():
            return (nn.AdaptiveMaxPool2d if layer.kind == "max" else nn.AdaptiveAvgPool2d)(layer.size)
        case Activation(name="prelu"):
            assert weighted
            return nn.PReLU(weighted.out)
    module: nn.Module = getattr(nn, ACTIVATIONS[layer.name])(*[layer.parameter] * (layer.parameter is not None))
    return module


def _norm(layer: Norm, weighted: Weighted, *, spatial: bool) -> nn.Module:
    width, affine = weighted.out, "weight" in weighted.names
    match layer.kind:
        case "batchnorm":
            return (nn.BatchNorm2d if spatial else nn.BatchNorm1d)(width, affine=affine)
        case "instancenorm":
            return nn.InstanceNorm2d(width, affine=True)
        case "groupnorm":
            return nn.GroupNorm(layer.groups or 1, width)
    return nn.GroupNorm(1, width) if spatial else nn.LayerNorm(width)


def keys(bound: list[Bound]) -> list[str]:
    """What the layers are called in the network: those with weights as in the file, with _ for dots."""
    stems = [each.weighted.stem.replace(".", "_") if each.weighted else "" for each in bound]
    named = [stem for stem in stems if stem]
    if len(set(named)) < len(named) or any(hasattr(nn.Sequential, stem) for stem in named):
        stems = [f"layer{position}" if stem else "" for position, stem in enumerate(stems)]
    taken = {stem for stem in stems if stem}
    found = []
    for position, (each, stem) in enumerate(zip(bound, stems, strict=True)):
        key = stem or f"{str(each.layer).split()[0]}_{position}"
        while not stem and key in taken:
            key += "_"
        found.append(key)
    return found


def network(bound: list[Bound]) -> nn.Sequential:
    """The whole network with fresh weights: rows of logits come out."""
    parts = nn.Sequential()
    spatial = bound[0].spatial
    for key, each in zip(keys(bound), bound, strict=True):
        if isinstance(each.layer, Linear) and (spatial or len(parts) == 0):
            parts.add_module("flatten", nn.Flatten())
            spatial = False
        parts.add_module(key, part(each))
    if spatial:
        parts.add_module("flatten", nn.Flatten())
    return parts


def aligned(bound: list[Bound], weights: Weights) -> Alignment:
    """The file's tensors under the names of the network."""
    tensors: dict[str, Tensor] = {}
    turned = []
    for key, each in zip(keys(bound), bound, strict=True):
        for role, name in each.weighted.names.items() if each.weighted else ():
            tensor = weights.tensors[name]
            if role == "weight" and each.weighted and each.weighted.transposed and isinstance(tensor, StoredTensor):
                tensor = replace(tensor, shape=tensor.shape[::-1], strides=tensor.strides[::-1])
                turned.append(clean(name))
            tensors[f"{key}.{role}"] = tensor
    steps = [f"transposed {', '.join(turned[:5])}{', …' * (len(turned) > 5)}: stored as (in, out)"] if turned else []
    return Alignment(tensors, steps)


def resolve(description: Description, chain: Chain, weights: Weights, defaults: Defaults | None) -> Resolved:
    """The described network, ready to be filled with the weights.

    Raises:
        ArchitectureError: it does not fit them, or images of the size in `defaults` do not pass through it.
    """
    bound = bind(description, chain)
    architecture = Architecture(written(description, chain.inputs), lambda: network(bound), {}, lambda _: defaults)
    sketch = outline(architecture.network)
    if defaults:
        _run(sketch, defaults.input_size)
    alignment = aligned(bound, weights)
    shapes = {name: tuple(tensor.shape) for name, tensor in sketch.state_dict().items()}
    return Resolved(architecture, {}, sketch, alignment, compare(alignment.tensors, shapes))


def _run(sketch: nn.Module, input_size: tuple[int, int, int]) -> None:
    """Send an image without values through a network without values, one layer after the other.

    Raises:
        ArchitectureError: a layer cannot take what the one before gives.
    """
    image = torch.empty(1, *input_size, device="meta")
    for name, module in sketch.eval().named_children():
        before = "×".join(map(str, image.shape[1:]))
        try:
            image = module(image)
        except REFUSALS as error:
            size = "×".join(map(str, input_size))
            weight = module.state_dict().get("weight")
            takes = "" if weight is None else f" (its weight is {list(weight.shape)})"
            raise ArchitectureError(
                f"of images of {size}, {before} arrive at '{clean(name)}', which cannot take them{takes}",
                hint="another pad, stride or pooling in the description, or another --input-size",
            ) from error
