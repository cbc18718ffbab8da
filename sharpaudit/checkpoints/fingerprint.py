"""Which known networks have tensors of these names and shapes? Looked up in an index, without torch.

The index lists the state dict of every network of torchvision, timm and the zoo. An axis that depends on the class count, the
input channels or the image size is left open, and one such axis of each kind is the witness from which the setting is read.
`candidates` fit in every name and every fixed axis; building them (`fitting.identify`) confirms the rest.

``python -m sharpaudit.checkpoints.fingerprint`` writes the index anew, which takes minutes. An index of another version of timm
or torchvision cannot mislead, since candidates are built with what is installed; it can only lack networks.
"""

from __future__ import annotations

import importlib.metadata
import json
import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import isqrt
from pathlib import Path
from typing import Any

from sharpaudit.checkpoints.matching import COUNTER, Shape, Shapes, same_shape
from sharpaudit.checkpoints.state_dict import common_prefix

INDEX_FILE = Path(__file__).with_name("fingerprints.json.xz")
LIBRARIES = ("timm", "torchvision")
OpenShape = tuple[int | None, ...]
"""A shape with None for an axis that depends on a setting."""


@dataclass(frozen=True)
class Candidate:
    """A known network whose names and fixed axes are those of the file."""

    spec: str
    """As typed after ``--arch``."""
    settings: dict[str, int]
    """``num_classes``, ``in_channels`` and ``image_size`` as read from the shapes, each where it shows."""


@dataclass(frozen=True)
class Witness:
    """An axis that tells a setting, with its length at two values of the setting."""

    tensor: int
    """Position among the tensors of the network."""
    axis: int
    power: int
    """Pixels and patches grow with the square of the image size; everything else linearly."""
    settings: tuple[int, int]
    lengths: tuple[int, int]

    def setting(self, length: int) -> int | None:
        """The value at which the axis has this length, where it is whole."""
        first, second = (value**self.power for value in self.settings)
        steps, rest = divmod((length - self.lengths[0]) * (second - first), self.lengths[1] - self.lengths[0])
        raised = max(0, first + steps)
        value = isqrt(raised) if self.power == 2 else raised
        return value if value and rest == 0 and value**self.power == raised else None


@dataclass(frozen=True)
class Network:
    """The state dict of an architecture, by numbers into the names and shapes of its index."""

    names: list[int]
    shapes: list[int]
    witnesses: dict[str, Witness]


@dataclass(frozen=True)
class Index:
    """The networks of one version of each library."""

    versions: dict[str, str]
    names: list[str]
    shapes: list[OpenShape]
    networks: dict[str, Network]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def counters(self) -> frozenset[int]:
        """The numbers of the names of BatchNorm counters."""
        return frozenset(number for number, name in enumerate(self.names) if name.endswith(COUNTER))

    @cached_property
    def stale(self) -> list[str]:
        """Libraries that are installed in another version than the index describes, as ``timm 1.0.31``."""
        return [f"{name} {version}" for name, version in self.versions.items() if importlib.metadata.version(name) != version]

    def candidates(self, shapes: Shapes) -> list[Candidate]:
        """The networks with exactly these names and fixed axes; BatchNorm counters may all be absent."""
        given = {self.numbers.get(name, -1): shape for name, shape in shapes.items()}
        counted = not self.counters.isdisjoint(given)
        found = []
        for spec, network in self.networks.items():
            surplus = len(network.names) - len(given)
            if surplus and (counted or sum(map(self.counters.__contains__, network.names)) != surplus):
                continue
            wanted = dict(zip(network.names, network.shapes, strict=True))
            if surplus:
                wanted = {number: shape for number, shape in wanted.items() if number not in self.counters}
            if wanted.keys() == given.keys() and all(self._fits(given[number], shape) for number, shape in wanted.items()):
                found.append(Candidate(spec, self._settings(network, given)))
        return found

    def nearest(self, shapes: Shapes, limit: int = 3) -> list[tuple[Candidate, float]]:
        """Networks and their share of tensors that fit, of all names in either; best first."""
        given = {self.numbers[name]: shape for name, shape in shapes.items() if name in self.numbers}
        shares = {}
        for spec, network in self.networks.items():
            pairs = zip(network.names, network.shapes, strict=True)
            common = sum(number in given and self._fits(given[number], shape) for number, shape in pairs)
            if common:
                shares[spec] = common / (len(shapes) + len(network.names) - common)
        best = sorted(shares, key=lambda spec: (-shares[spec], spec))[:limit]
        return [(Candidate(spec, self._settings(self.networks[spec], given)), shares[spec]) for spec in best]

    def tells(self, spec: str, setting: str) -> str | None:
        """The tensor whose shape tells a setting of the network that `spec` names, with or without tag and options."""
        network = self.networks.get(spec.partition("?")[0].partition(".")[0])
        witness = network and network.witnesses.get(setting)
        return self.names[network.names[witness.tensor]] if network and witness else None

    def _fits(self, given: Shape, number: int) -> bool:
        wanted = self.shapes[number]
        if len(given) != len(wanted):
            return None not in wanted and same_shape(given, wanted)  # type: ignore[arg-type]  # no axis is open
        return all(there in (None, here) for here, there in zip(given, wanted, strict=True))

    def _settings(self, network: Network, given: Mapping[int, Shape]) -> dict[str, int]:
        """What the witnesses tell, as far as they are among the given tensors."""
        settings = {}
        for key, witness in network.witnesses.items():
            shape = given.get(network.names[witness.tensor], ())
            value = witness.setting(shape[witness.axis]) if witness.axis < len(shape) else None
            if value:
                settings[key] = value
        return settings


def candidates(shapes: Shapes) -> list[Candidate]:
    """The known networks that these names and shapes fit, as they are or without the one prefix that all names share."""
    prefix = common_prefix(list(shapes))
    found = shipped().candidates(shapes)
    return found if found or not prefix else shipped().candidates({n.removeprefix(prefix): s for n, s in shapes.items()})


@cache
def shipped() -> Index:
    """The index that comes with the package."""
    return decoded(INDEX_FILE.read_bytes())


def decoded(data: bytes) -> Index:
    """The index that was `encoded`."""
    stored = json.loads(lzma.decompress(data))
    networks = {
        spec: Network(names, shapes, {key: _witness(*numbers) for key, numbers in witnesses.items()})
        for spec, (names, shapes, witnesses) in stored["networks"].items()
    }
    return Index(stored["versions"], stored["names"], [tuple(shape) for shape in stored["shapes"]], networks)


def _witness(tensor: int, axis: int, power: int, settings: list[int], lengths: list[int]) -> Witness:
    return Witness(tensor, axis, power, (settings[0], settings[1]), (lengths[0], lengths[1]))


def encoded(index: Index) -> bytes:
    """The bytes of `INDEX_FILE`."""
    networks = {
        spec: [
            network.names,
            network.shapes,
            {key: [w.tensor, w.axis, w.power, w.settings, w.lengths] for key, w in network.witnesses.items()},
        ]
        for spec, network in index.networks.items()
    }
    stored = {"versions": index.versions, "names": index.names, "shapes": index.shapes, "networks": networks}
    return lzma.compress(json.dumps(stored, separators=(",", ":")).encode(), preset=9 | lzma.PRESET_EXTREME)


def completed(index: Index) -> Index:
    """The index with the networks that it lacks, built on the meta device: a fraction of a second each."""
    return _described([spec for spec in installed() if spec not in index.networks], index)


def installed() -> list[str]:
    """Every architecture of torchvision, the zoo and timm."""
    import timm
    from torchvision import models

    from sharpaudit.checkpoints import zoo

    known = {"torchvision": models.list_models(module=models), "zoo": zoo.ENTRIES, "timm": timm.list_models()}
    return [f"{family}:{name}" for family, names in known.items() for name in names]


def build(specs: Iterable[str]) -> Index:
    """The index of some architectures, as they are installed."""
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return _described(specs, Index(versions, [], [], {}))


def _described(specs: Iterable[str], index: Index) -> Index:
    """`index` with the networks `specs` added."""
    names = {name: number for number, name in enumerate(index.names)}
    shapes = {shape: number for number, shape in enumerate(index.shapes)}
    networks = dict(index.networks)
    for spec in specs:
        open_shapes, witnesses = _outline(spec)
        networks[spec] = Network(
            [names.setdefault(name, len(names)) for name in open_shapes],
            [shapes.setdefault(shape, len(shapes)) for shape in open_shapes.values()],
            witnesses,
        )
    return Index(index.versions, list(names), list(shapes), networks)


def _outline(spec: str) -> tuple[dict[str, OpenShape], dict[str, Witness]]:
    """Names and open shapes of a network, found by building it at two values of each setting."""
    from sharpaudit.checkpoints import architectures

    architecture = architectures.parse(spec)
    usual = {**architecture.settings, "num_classes": 1000}
    base = _shapes(architecture.outline(**usual))
    opened: dict[str, OpenShape] = dict(base)
    witnesses: dict[str, Witness] = {}
    for key, value in usual.items():
        other = {"num_classes": 1003, "in_channels": 1 if value == 3 else 3, "image_size": 2 * value}[key]
        try:
            changed = _shapes(architecture.outline(**{**usual, key: other}))
        except architectures.REFUSALS:
            continue
        for position, name in enumerate(base):
            for axis, lengths in enumerate(zip(base[name], changed.get(name, base[name]), strict=True)):
                if lengths[0] != lengths[1]:
                    opened[name] = (*opened[name][:axis], None, *opened[name][axis + 1 :])
                    power = 2 if key == "image_size" and _grows_with_area(*lengths) else 1
                    witnesses.setdefault(key, Witness(position, axis, power, (value, other), lengths))
    return opened, witnesses


def _grows_with_area(one: int, four: int) -> bool:
    """Whether lengths at an image size and at its double may count pixels or patches, these with up to 16 tokens beside them."""
    patches, rest = divmod(four - one, 3)
    return rest == 0 and (one == patches or (isqrt(patches) ** 2 == patches and 0 <= one - patches <= 16))


def _shapes(module: Any) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


if __name__ == "__main__":
    INDEX_FILE.write_bytes(encoded(build(installed())))
