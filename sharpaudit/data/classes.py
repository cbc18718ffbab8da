"""Which output of the network does each class of the data stand for?

Told, in this order, by a class map that the user gives; by names, where data and checkpoint both have them and every name of the
data is one of the checkpoint's (ImageNet-A holds 200 of 1,000 classes, and its accuracy is 0.08% if it is not mapped); by order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sharpaudit.data.files import read_text
from sharpaudit.data.images import ImageSet, Labels, numbered
from sharpaudit.errors import DataError, clean, closest

MAX_MAP_BYTES = 4 << 20


@dataclass(frozen=True)
class ClassMap:
    """A file that says which output each class of the data is: one class a line, its name, then the number of its output."""

    name: str
    output_of: dict[str, int]


@dataclass(frozen=True)
class ClassOrder:
    """The outputs of a network as the data name them."""

    outputs: Labels
    """The output of each class of the data, (classes of the data,)."""
    classes: tuple[str, ...]
    """A name for every output."""
    origin: str
    """Who named the classes."""
    notes: tuple[str, ...] = ()

    def applied(self, images: ImageSet) -> ImageSet:
        """The same images, labelled by outputs."""
        return replace(
            images,
            labels=self.outputs[images.labels],
            classes=self.classes,
            classes_declared=True,
            classes_origin=self.origin,
            notes=(*images.notes, *self.notes),
        )


def class_order(
    images: ImageSet,
    num_outputs: int,
    *,
    names: Sequence[str] | None = None,
    names_origin: str = "the checkpoint",
    class_map: ClassMap | None = None,
) -> ClassOrder:
    """Where the classes of `images` stand among the outputs of a network.

    Args:
        images: labelled by their own classes, which need not be named.
        num_outputs: of the network.
        names: of its outputs, where the checkpoint states them.
        names_origin: where it states them.
        class_map: given by the user.

    Raises:
        DataError: the data have other classes than the network, or the map does not fit both.
    """
    stated = tuple(map(clean, names)) if names else None
    named = images.classes if images.classes_declared else numbered(len(images.classes))
    if class_map is not None:
        return _mapped(named, images, num_outputs, stated, class_map)
    if not images.classes_declared:
        return _unnamed(images, num_outputs, stated, names_origin)
    if stated and named != stated and len(set(stated)) == len(stated) and set(named) <= set(stated):
        outputs = np.array([stated.index(name) for name in named])
        note = f"{len(named)} classes found by name among the {len(stated)} of {names_origin}"
        return ClassOrder(outputs, stated, f"{images.classes_origin}, {names_origin}", (note,))
    if len(named) != num_outputs:
        raise DataError(
            f"the data has {len(named)} classes, the network {num_outputs} outputs",
            hint="--class-map says which output each class is",
            path=images.name,
        )
    differs = stated is not None and stated != named
    note = f"{names_origin} names the classes otherwise ('{stated[0]}' for '{named[0]}', ...): taken in order" if stated else ""
    return ClassOrder(np.arange(num_outputs), named, images.classes_origin, (note,) if differs else ())


def read_class_map(path: Path) -> ClassMap:
    """The map in a text file.

    Raises:
        DataError: a line that is not a name and a number, or a name that occurs twice.
    """
    lines = read_text(path, most=MAX_MAP_BYTES).splitlines()
    output_of: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        output = line.split()[-1]
        name = clean(line.strip().removesuffix(output).strip())
        if not name or not (output.isascii() and output.isdigit()) or len(output) > 9:
            raise DataError(f"line {number}: expected a class and the number of its output, got '{clean(line)}'", path=str(path))
        if name in output_of:
            raise DataError(f"line {number}: '{name}' occurs a second time", path=str(path))
        output_of[name] = int(output)
    return ClassMap(clean(path.name), output_of)


def _mapped(
    named: Sequence[str], images: ImageSet, num_outputs: int, stated: tuple[str, ...] | None, class_map: ClassMap
) -> ClassOrder:
    for name in named:
        if name not in class_map.output_of:
            near = closest(name, class_map.output_of, limit=1)
            hint = f"nearest: {near[0]}" if near else "one line for every class: its name, then the number of its output"
            raise DataError(f"the class map does not name the class '{name}'", hint=hint, path=class_map.name)
    outputs = np.array([class_map.output_of[name] for name in named], dtype=np.int64)
    if outputs.max() >= num_outputs:
        raise DataError(
            f"the class map names output {outputs.max()}, the network has 0 to {num_outputs - 1}", path=class_map.name
        )
    if len(set(outputs.tolist())) < len(outputs):
        twice = next(output for output in outputs.tolist() if (outputs == output).sum() > 1)
        raise DataError(f"the class map gives output {twice} to two classes", path=class_map.name)
    classes = list(stated or numbered(num_outputs))
    for name, output in zip(named, outputs.tolist(), strict=True):
        classes[output] = name
    note = f"{len(named)} of the network's {num_outputs} classes, mapped by {class_map.name}"
    return ClassOrder(outputs, tuple(classes), f"{images.classes_origin or 'numbered'}, {class_map.name}", (note,))


def _unnamed(images: ImageSet, num_outputs: int, stated: tuple[str, ...] | None, names_origin: str) -> ClassOrder:
    if images.labels.max() >= num_outputs:
        raise DataError(
            f"expected labels 0 to {num_outputs - 1}, one per output, got {images.labels.min()} to {images.labels.max()}",
            hint="is this the network's data set? --class-map says which output each class is",
            path=images.name,
        )
    if stated is None or len(set(stated)) < len(stated):
        return ClassOrder(np.arange(num_outputs), numbered(num_outputs), "numbered")
    note = f"names of the classes from {names_origin}"
    return ClassOrder(np.arange(num_outputs), stated, names_origin, (note,))
