"""Do the weights fit a network, name by name and shape by shape? All of them or none; never partially.

A network is described by the shapes of its state dict. `settings` reads class count, input channels and image size from the
weights, by asking the builder how its shapes depend on each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from sharpaudit.checkpoints.state_dict import Weights, common_prefix
from sharpaudit.checkpoints.tensors import Tensor
from sharpaudit.errors import clean, closest

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
MAX_PREFIXES = 4
"""Common prefixes that are taken off, one after the other; a name may be nothing but dots."""
COUNTER = "num_batches_tracked"
"""BatchNorm counters: absent from checkpoints of torch < 0.4.1, and used by nothing in eval mode."""


@dataclass(frozen=True)
class Fit:
    """How the names and shapes of weights compare with those of a network."""

    matched: int
    missing: list[str]
    unexpected: list[str]
    misshapen: list[tuple[str, Shape, Shape]]
    """Name, shape in the file, shape in the network."""
    counters_absent: bool = False
    allowed: list[str] = field(default_factory=list)
    """Missing ones that the user allowed to be."""

    @property
    def exact(self) -> bool:
        """Whether everything fits."""
        return not (self.missing or self.unexpected or self.misshapen)

    def explain(self, architecture: str, total: int) -> tuple[str, str]:
        """The message and the hint of a refusal."""
        parts = [f"{self.matched} of {total} names match {architecture}"]
        hints = []
        if self.missing:
            parts.append(f"{len(self.missing)} missing ({_list(self.missing)})")
        if self.unexpected:
            parts.append(f"{len(self.unexpected)} unexpected ({_list(self.unexpected)})")
            near = {name: closest(name, self.missing, limit=1) for name in self.unexpected[:5]}
            hints += [f"{clean(name)} resembles {match[0]}" for name, match in near.items() if match]
        if self.misshapen:
            shown = ", ".join(f"{clean(n)} {list(here)} instead of {list(there)}" for n, here, there in self.misshapen[:5])
            parts.append(f"{len(self.misshapen)} of another shape ({shown})")
        if self.matched == 0:
            parts.append("wrong architecture?")
        return "; ".join(parts), "; ".join(hints) or "name the network the weights came from with --arch"


@dataclass
class Alignment:
    """Weights under the names of the network, and what was done to get there."""

    tensors: dict[str, Tensor]
    steps: list[str] = field(default_factory=list)
    allow_missing: tuple[str, ...] = ()
    """Patterns of names that may be missing."""


def compare(tensors: Mapping[str, Tensor], shapes: Shapes, allow_missing: Sequence[str] = ()) -> Fit:
    """How `tensors` compare with the `shapes` of a network. One-element tensors may differ in rank: (1,) fits ().

    Names that are missing and match a pattern of `allow_missing` (as file names match ``*.bias``) do not count as missing.
    """
    missing = [name for name in shapes if name not in tensors]
    counters = [name for name in missing if name.endswith(COUNTER)]
    counters_absent = bool(counters) and not any(name.endswith(COUNTER) for name in tensors)
    if counters_absent:
        missing = [name for name in missing if not name.endswith(COUNTER)]
    allowed = [name for name in missing if any(fnmatchcase(name, pattern) for pattern in allow_missing)]
    missing = [name for name in missing if name not in allowed]
    unexpected = [name for name in tensors if name not in shapes]
    common = [name for name in shapes if name in tensors]
    misshapen = [(n, tensors[n].shape, shapes[n]) for n in common if not same_shape(tensors[n].shape, shapes[n])]
    return Fit(len(common) - len(misshapen), missing, unexpected, misshapen, counters_absent, allowed)


def variants(weights: Weights) -> list[Alignment]:
    """The weights as they are, then without the prefix that all names share, then without the next one."""
    tensors, steps = weights.tensors, list[str]()
    found = [Alignment(tensors, allow_missing=weights.allow_missing)]
    for _ in range(MAX_PREFIXES):
        prefix = common_prefix(list(tensors))
        if not prefix:
            break
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        steps = [*steps, f"stripped prefix '{clean(prefix)}' from {len(tensors)} names"]
        found.append(Alignment(tensors, steps, weights.allow_missing))
    return found


def rival_prefix(tensors: Mapping[str, Tensor], shapes: Shapes) -> str | None:
    """What to say where some names fit `shapes` as they are or under one prefix, and others under another one."""
    fitting = Counter("" for name, tensor in tensors.items() if shapes.get(name) == tensor.shape)
    for name, tensor in tensors.items():
        prefix, dot, rest = name.partition(".")
        if dot and shapes.get(rest) == tensor.shape:
            fitting[prefix + dot] += 1
    best = fitting.most_common(2)
    if len(fitting) < 2:
        return None
    rates = [
        f"{_share(count, len(tensors))} fit {f'under {clean(prefix)!r}' if prefix else 'as they are'}" for prefix, count in best
    ]
    return f"{', '.join(rates)}: one prefix for all names is wanted (--weights PREFIX. takes the names under it alone)"


def _share(count: int, total: int) -> str:
    return f"{count} of {total} names ({100 * count / total:.0f}%)"


def solve(tensors: Mapping[str, Tensor], one: Shapes, two: Shapes, first: int, second: int) -> int | None:
    """The value of a builder's setting that gives the shapes in `tensors`, or None if they do not depend on it linearly.

    Args:
        tensors: weights from the file.
        one: shapes of the network when the setting is `first`.
        two: shapes of the network when it is `second`.
        first: a value of the setting.
        second: another one.
    """
    for name, shape in one.items():
        given = tensors[name].shape if name in tensors else ()
        for axis, (a, b) in enumerate(zip(shape, two.get(name, ()), strict=False)):
            if a != b and len(given) == len(shape):
                value, rest = divmod((given[axis] - a) * (second - first), b - a)
                return first + value if rest == 0 and first + value > 0 else None
    return None


def same_shape(given: Shape, wanted: Shape) -> bool:
    """Equal, or both of one element."""
    return given == wanted or (set(given) <= {1} and set(wanted) <= {1} and len(given) <= 1 and len(wanted) <= 1)


def _list(names: list[str]) -> str:
    return ", ".join(clean(name) for name in names[:5]) + (", …" if len(names) > 5 else "")
