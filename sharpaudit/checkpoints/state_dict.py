"""Which dictionary in the file is taken for the weights, and under what names?

`choose` takes one of the `candidates` by a fixed order, or the one that was asked for, and says so; `strip_wrappers` removes the
prefixes that DataParallel, `torch.compile` and averaging put before every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sharpaudit.checkpoints.candidates import NOT_WEIGHTS, Candidate, entries, ranked
from sharpaudit.checkpoints.folder import SHARDED
from sharpaudit.checkpoints.pickle_machine import Inert
from sharpaudit.checkpoints.tensors import StoredTensor, Tensor
from sharpaudit.errors import CheckpointError, clean
from sharpaudit.request import Limits

FLAT_PARAMETERS = ("flat_param", "_flat_param")
"""What FSDP calls the parameters of a whole block, cut and glued into one."""

ZERO_KEYS = {"zero_stage", "partition_count", "param_shapes", "zero_sharded_states"}
"""Keys that DeepSpeed and FairScale write where the weights are spread over machines."""

WRAPPER_PREFIXES = ("_orig_mod.", "module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
MAX_DROPPED = 1000
"""Entries beside the weights that are listed."""

MAX_WRAPPERS = 8
"""Prefixes that are taken off, one after the other; three are usual, and a name may be nothing but prefixes."""

FULL_MODULE_HINT = "re-save with torch.save(model.state_dict(), ...) or as safetensors"


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
    limits.check("max_shared_bytes", _shared_bytes(result.tensors), "bytes of the tensors beyond those stored for them")
    strip_wrappers(result)
    result.ties = ties(result.tensors)
    result.steps += [f"'{clean(name)}' shares its storage with '{clean(other)}': copied" for name, other in result.ties.items()]
    return result


def _shared_bytes(tensors: Mapping[str, Tensor]) -> int:
    """How much more the tensors take, each with a copy of its own, than the distinct buffers they are views of."""
    stored = [tensor for tensor in tensors.values() if isinstance(tensor, StoredTensor)]
    buffers = {(id(t.storage.data.obj), t.storage.key): t.storage.num_bytes for t in stored}
    return sum(tensor.num_bytes for tensor in stored) - sum(buffers.values())


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
    for _ in range(MAX_WRAPPERS):
        prefix = next((p for p in WRAPPER_PREFIXES if all(name.startswith(p) and name != p for name in tensors)), None)
        if prefix is None:
            break
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
        for key, value in entries(root).items():
            if key != chosen.path[0]:
                dropped.append(clean(f"{key[:200]} ({value.kind})" if isinstance(value, Inert) else key))
    shown = sorted(set(dropped[:MAX_DROPPED]))
    return [*shown, f"{len(dropped) - MAX_DROPPED:,} more"] if len(dropped) > MAX_DROPPED else shown


def _refuse_shards(root: object, candidate: Candidate) -> None:
    """Recognise training state in which the weights are in pieces.

    Raises:
        CheckpointError: FSDP flat parameters, or the empty tensors that DeepSpeed leaves behind.
    """
    flat = next((name for name in candidate.tensors if name.rpartition(".")[2] in FLAT_PARAMETERS), None)
    if flat:
        hint = "save it again under FSDP.state_dict_type(model, StateDictType.FULL_STATE_DICT)"
        raise CheckpointError(f"sharded training state (FSDP, '{clean(flat)}'): consolidate first", hint=hint)
    if ZERO_KEYS & entries(root).keys() and any(0 in t.shape for t in candidate.tensors.values()):
        raise _zero()


def _nothing(root: object) -> CheckpointError:
    keys = list(entries(root))
    shown = ", ".join(clean(key) for key in keys[:10]) or "nothing by name"
    if ZERO_KEYS & set(keys):
        return _zero()
    if "param_groups" in keys or (keys and all(key.lower().startswith(NOT_WEIGHTS) for key in keys)):
        return CheckpointError(f"only optimizer state, no weights; keys seen: {shown}", hint="give the file with the weights")
    return CheckpointError(f"no tensors in the file; keys seen: {shown}", hint="give the file with the weights")


def _zero() -> CheckpointError:
    return CheckpointError("sharded training state (DeepSpeed ZeRO): consolidate first", hint=SHARDED["zero_to_fp32.py"])
