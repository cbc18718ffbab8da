"""Which dictionaries of tensors are in the file, and which of them is likeliest to be meant?

Checkpoints wrap their weights: in ``state_dict`` or ``model`` beside an optimizer, in a list, as an averaged copy beside the raw
one, as a whole pickled module.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sharpaudit.checkpoints.limits import Meter
from sharpaudit.checkpoints.numpy_pickle import tensor
from sharpaudit.checkpoints.pickle_machine import Inert
from sharpaudit.checkpoints.tensors import Tensor
from sharpaudit.request import Limits

PREFERRED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "net", "network")
"""Wrapper names, best first: timm's order (1.0.31), extended. Averaged weights come before raw ones."""

NOT_WEIGHTS = ("optim", "sched", "lr_", "scaler", "rng", "grad", "amp", "callbacks", "loops")
"""Beginnings of keys whose tensors are training state."""


@dataclass(frozen=True)
class Candidate:
    """A dictionary of tensors somewhere in the file."""

    path: tuple[str, ...]
    tensors: dict[str, Tensor]
    others: list[str]
    """Entries beside the tensors."""
    module: str | None = None
    """Class name where the weights sat in a pickled module."""

    @property
    def name(self) -> str:
        """The path as a user types it after ``--weights``."""
        return ".".join(self.path)

    @property
    def is_average(self) -> bool:
        """Whether the keys on the way say that these are averaged weights."""
        return any("ema" in part.lower() or "averag" in part.lower() or "swa" in part.lower() for part in self.path)


def ranked(root: object, limits: Limits) -> list[Candidate]:
    """Every dictionary of tensors in `root`, the one that ``auto`` takes first."""
    return sorted(candidates(root, limits), key=_rank)


def candidates(root: object, limits: Limits) -> Iterator[Candidate]:
    """Every dictionary of tensors and every pickled module in `root`, outermost first."""
    todo: list[tuple[tuple[str, ...], object]] = [((), root)]
    seen: set[int] = set()
    meter = Meter(limits, 0)
    count = 0
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        limits.check("max_depth", len(path), "levels of nesting")
        if isinstance(node, Inert) and (tensors := _of_module(node, limits, meter)):
            yield Candidate(path, tensors, [], node.kind)
            continue
        named = entries(node)
        meter.step(1 + len(named))
        found = {key: tensor(value) for key, value in named.items()}
        tensors = {key: value for key, value in found.items() if value is not None}
        count += len(tensors)
        limits.check("max_tensors", count, "tensors in all dictionaries of the file")
        if tensors:
            yield Candidate(path, tensors, [key for key in named if key not in tensors])
        for key, value in reversed(named.items()):
            if isinstance(value, dict | list | tuple | Inert) and not key[:99].lower().startswith(NOT_WEIGHTS):
                meter.step(1 + len(path) // 8)
                meter.make(sum(map(len, path)) + len(key))
                todo.append(((*path, key), value))


def _rank(candidate: Candidate) -> tuple[int, int]:
    """Preferred wrapper first, then more tensors."""
    names = [PREFERRED.index(part) for part in candidate.path if part in PREFERRED]
    few = len(candidate.tensors) < 2
    return (len(PREFERRED) + few if few or not names else min(names), -len(candidate.tensors))


def entries(node: object) -> dict[str, object]:
    """The named parts of a dictionary, a list or a dictionary-like object."""
    if isinstance(node, Inert):
        state = node.state if isinstance(node.state, dict) else {}
        node = node.entries or state
    if isinstance(node, list | tuple) and len(node) <= 100:
        return {str(index): value for index, value in enumerate(node)}
    return {key: value for key, value in node.items() if isinstance(key, str)} if isinstance(node, dict) else {}


def _of_module(module: Inert, limits: Limits, meter: Meter) -> dict[str, Tensor]:
    """The state dict of a pickled ``nn.Module``: its parameters, persistent buffers and those of its children."""
    tensors: dict[str, Tensor] = {}
    todo: list[tuple[str, Inert, int]] = [("", module, 0)]
    while todo:
        prefix, node, depth = todo.pop()
        limits.check("max_depth", depth, "levels of nesting")
        if not isinstance(node.state, dict):
            continue
        meter.step(10)
        transient = node.state.get("_non_persistent_buffers_set")
        skipped = {key for key in transient[:1000] if isinstance(key, str)} if isinstance(transient, list) else set()
        for kind in ("_parameters", "_buffers"):
            named = entries(node.state.get(kind))
            meter.step(len(named))
            for name, value in named.items():
                found = tensor(value)
                if found is not None and name not in skipped:
                    meter.make(len(prefix) + len(name))
                    tensors[prefix + name] = found
                    limits.check("max_tensors", len(tensors), "tensors in the pickled network")
        children = entries(node.state.get("_modules"))
        meter.step(len(children))
        for name, child in children.items():
            if isinstance(child, Inert):
                meter.make(len(prefix) + len(name))
                todo.append((f"{prefix}{name}.", child, depth + 1))
    return tensors
