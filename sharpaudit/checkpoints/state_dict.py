"""Which dictionary in the file holds the weights, and under what names?

Checkpoints wrap their weights: in ``state_dict`` or ``model`` beside an optimizer, in a list, as an averaged copy beside the raw
one, as a whole pickled module. `choose` finds every dictionary of tensors, takes one by a fixed order and says so;
`strip_wrappers` removes the prefixes that DataParallel, `torch.compile` and averaging put before every name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from sharpaudit.checkpoints.folder import SHARDED
from sharpaudit.checkpoints.limits import Limits
from sharpaudit.checkpoints.numpy_pickle import tensor
from sharpaudit.checkpoints.pickle_reader import Inert
from sharpaudit.checkpoints.tensors import StoredTensor, Tensor
from sharpaudit.errors import CheckpointError, clean

PREFERRED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "state_dict", "model_state_dict", "model", "net", "network")
"""Wrapper names, best first: timm's order (1.0.31), extended. Averaged weights come before raw ones."""

NOT_WEIGHTS = ("optim", "sched", "lr_", "scaler", "rng", "grad", "amp", "callbacks", "loops")
"""Beginnings of keys whose tensors are training state."""

FLAT_PARAMETERS = ("flat_param", "_flat_param")
"""What FSDP calls the parameters of a whole block, cut and glued into one."""

ZERO_KEYS = {"zero_stage", "partition_count", "param_shapes", "zero_sharded_states"}
"""Keys that DeepSpeed and FairScale write where the weights are spread over machines."""

WRAPPER_PREFIXES = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
FULL_MODULE_HINT = "re-save with torch.save(model.state_dict(), ...) or as safetensors"


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


@dataclass
class Weights:
    """The tensors that were chosen and everything that was decided on the way."""

    tensors: dict[str, Tensor]
    steps: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    clean_load: bool = True
    allow_missing: tuple[str, ...] = ()
    """Patterns of names that a network may have and these weights lack."""
    ties: dict[str, str] = field(default_factory=dict)
    """Names that view the same elements as an earlier name; each gets a copy of its own."""


def choose(root: object, weights: str, limits: Limits) -> Weights:
    """The weights in `root`.

    Args:
        root: what the reader returned.
        weights: ``auto``, ``ema``, ``raw``, the key of a dictionary, or a prefix of names, which ends in a dot.
        limits: budgets for depth, number and names.

    Raises:
        CheckpointError: no tensors, only an optimizer, or no dictionary by that key.
    """
    found = ranked(root, limits)
    if not found:
        raise _nothing(root)
    _refuse_shards(root, found[0])
    chosen = _pick(found, weights)
    result = Weights(dict(chosen.tensors), dropped=_dropped(root, chosen))
    if chosen.path:
        result.steps.append(f"opened {' > '.join(clean(part) for part in chosen.path)}")
    if weights.endswith("."):
        result.steps.append(f"took the {len(chosen.tensors)} names that begin with '{clean(weights)}', without it")
    rest = [other.name for other in found if other.path != chosen.path and other.name]
    if rest:
        alternatives = ", ".join(clean(name) for name in rest[:5])
        note = f"took '{clean(chosen.name) or 'the top level'}'; the file also holds {alternatives} (--weights KEY)"
        (result.warnings if chosen.is_average or any(o.is_average for o in found) else result.steps).append(note)
    if chosen.module:
        result.clean_load = False
        result.warnings.append(
            f"full module of class {clean(chosen.module)}: its weights were read, its code was not; {FULL_MODULE_HINT}"
        )
    limits.check("max_tensors", len(result.tensors), "tensors")
    for name, described in result.tensors.items():
        limits.check("max_name_chars", len(name), f"characters in the tensor name '{clean(name, 40)}'")
        described.check(name, limits)
    strip_wrappers(result)
    result.ties = ties(result.tensors)
    result.steps += [f"'{clean(name)}' shares its storage with '{clean(other)}': copied" for name, other in result.ties.items()]
    return result


def ranked(root: object, limits: Limits) -> list[Candidate]:
    """Every dictionary of tensors in `root`, the one that ``auto`` takes first."""
    return sorted(candidates(root, limits), key=_rank)


def candidates(root: object, limits: Limits) -> Iterator[Candidate]:
    """Every dictionary of tensors and every pickled module in `root`, outermost first."""
    todo: list[tuple[tuple[str, ...], object]] = [((), root)]
    seen: set[int] = set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        limits.check("max_depth", len(path), "levels of nesting")
        if isinstance(node, Inert) and (tensors := _of_module(node, limits)):
            yield Candidate(path, tensors, [], node.kind)
            continue
        entries = _entries(node)
        found = {key: tensor(value) for key, value in entries.items()}
        tensors = {key: value for key, value in found.items() if value is not None}
        if tensors:
            yield Candidate(path, tensors, [key for key in entries if key not in tensors])
        todo += [((*path, key), value) for key, value in reversed(entries.items()) if not key.lower().startswith(NOT_WEIGHTS)]


def ties(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Every name that views the same elements as an earlier name, with that name."""
    found = {}
    first: dict[tuple[int, int, tuple[int, ...]], str] = {}
    for name, described in tensors.items():
        if isinstance(described, StoredTensor) and described.num_elements:
            other = first.setdefault((id(described.storage), described.offset, described.shape), name)
            if other != name:
                found[name] = other
    return found


def strip_wrappers(weights: Weights) -> None:
    """Remove, in place, the prefixes that wrappers put before every name."""
    tensors = weights.tensors
    if len(tensors) > 1 and "n_averaged" in tensors:
        del tensors["n_averaged"]
        weights.steps.append("dropped n_averaged of an averaged model")
    while prefix := next((p for p in WRAPPER_PREFIXES if all(name.startswith(p) and name != p for name in tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        weights.steps.append(f"stripped prefix '{prefix}' from {len(tensors)} names")
    for inner in WRAPPER_PREFIXES:
        shorter = {name.replace(f".{inner}", "."): tensor for name, tensor in tensors.items()}
        if inner != "module." and len(shorter) == len(tensors) and shorter.keys() != tensors.keys():
            tensors = shorter
            weights.steps.append(f"removed '{inner}' inside names")
    weights.tensors = tensors


def common_prefix(names: list[str]) -> str | None:
    """The first component, with its dot, if all names share it."""
    first = {name.partition(".")[0] for name in names}
    return f"{first.pop()}." if len(first) == 1 and all("." in name for name in names) else None


def _entries(node: object) -> dict[str, object]:
    """The named parts of a dictionary, a list or a dictionary-like object."""
    if isinstance(node, Inert):
        state = node.state if isinstance(node.state, dict) else {}
        node = node.entries or state
    if isinstance(node, list | tuple) and len(node) <= 100:
        return {str(index): value for index, value in enumerate(node)}
    return {key: value for key, value in node.items() if isinstance(key, str)} if isinstance(node, dict) else {}


def _of_module(module: Inert, limits: Limits) -> dict[str, Tensor]:
    """The state dict of a pickled ``nn.Module``: its parameters, persistent buffers and those of its children."""
    tensors: dict[str, Tensor] = {}
    todo: list[tuple[str, Inert, int]] = [("", module, 0)]
    visited = 0
    while todo:
        prefix, node, depth = todo.pop()
        visited += 1
        limits.check("max_tensors", visited, "modules in the pickled network")
        limits.check("max_depth", depth, "levels of nesting")
        if not isinstance(node.state, dict):
            continue
        transient = node.state.get("_non_persistent_buffers_set")
        skipped = {key for key in transient if isinstance(key, str)} if isinstance(transient, list) else set()
        for kind in ("_parameters", "_buffers"):
            for name, value in _entries(node.state.get(kind)).items():
                found = tensor(value)
                if found is not None and name not in skipped:
                    tensors[prefix + name] = found
        children = _entries(node.state.get("_modules"))
        todo += [(f"{prefix}{name}.", child, depth + 1) for name, child in children.items() if isinstance(child, Inert)]
    return tensors


def _rank(candidate: Candidate) -> tuple[int, int]:
    """Preferred wrapper first, then more tensors."""
    names = [PREFERRED.index(part) for part in candidate.path if part in PREFERRED]
    few = len(candidate.tensors) < 2
    return (len(PREFERRED) + few if few or not names else min(names), -len(candidate.tensors))


def _pick(found: list[Candidate], weights: str) -> Candidate:
    if weights == "auto":
        return found[0]
    if weights.endswith("."):
        return _under(found, weights)
    if weights in ("ema", "raw"):
        fitting = [c for c in found if c.is_average == (weights == "ema")]
    else:
        fitting = [c for c in found if weights in (c.name, c.path[-1:] and c.path[-1])]
    if not fitting:
        keys = ", ".join(clean(c.name) or "(top level)" for c in found[:10])
        raise CheckpointError(f"--weights {clean(weights)}: nothing by that name in the file", hint=f"it holds: {keys}")
    return fitting[0]


def _under(found: list[Candidate], prefix: str) -> Candidate:
    """The tensors whose names begin with `prefix`, without it: one network of several in a dictionary."""
    for candidate in found:
        names = [name for name in candidate.tensors if name.startswith(prefix)]
        if names:
            others = [name for name in candidate.tensors if name not in names]
            tensors = {name.removeprefix(prefix): candidate.tensors[name] for name in names}
            return replace(candidate, tensors=tensors, others=[*candidate.others, *others])
    raise CheckpointError(f"--weights {clean(prefix)}: no name in the file begins so")


def _dropped(root: object, chosen: Candidate) -> list[str]:
    """What stood beside the weights, with the class of objects."""
    dropped = [clean(other) for other in chosen.others]
    if chosen.path:
        for key, value in _entries(root).items():
            if key != chosen.path[0]:
                dropped.append(clean(f"{key} ({value.kind})" if isinstance(value, Inert) else key))
    return sorted(set(dropped))


def _refuse_shards(root: object, candidate: Candidate) -> None:
    """Recognise training state in which the weights are in pieces.

    Raises:
        CheckpointError: FSDP flat parameters, or the empty tensors that DeepSpeed leaves behind.
    """
    flat = next((name for name in candidate.tensors if name.rpartition(".")[2] in FLAT_PARAMETERS), None)
    if flat:
        hint = "save it again under FSDP.state_dict_type(model, StateDictType.FULL_STATE_DICT)"
        raise CheckpointError(f"sharded training state (FSDP, '{clean(flat)}'): consolidate first", hint=hint)
    if ZERO_KEYS & _entries(root).keys() and not all(0 not in t.shape for t in candidate.tensors.values()):
        raise CheckpointError("sharded training state (DeepSpeed ZeRO): consolidate first", hint=SHARDED["zero_to_fp32.py"])


def _nothing(root: object) -> CheckpointError:
    keys = list(_entries(root))
    shown = ", ".join(clean(key) for key in keys[:10]) or "nothing by name"
    if ZERO_KEYS & set(keys):
        return CheckpointError("sharded training state (DeepSpeed ZeRO): consolidate first", hint=SHARDED["zero_to_fp32.py"])
    if "param_groups" in keys or (keys and all(key.lower().startswith(NOT_WEIGHTS) for key in keys)):
        return CheckpointError(f"only optimizer state, no weights; keys seen: {shown}", hint="give the file with the weights")
    return CheckpointError(f"no tensors in the file; keys seen: {shown}", hint="give the file with the weights")
