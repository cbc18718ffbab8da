"""What is in this file? Everything that can be told without building a network, and so without torch.

A file that would be refused is described all the same, with the refusal: that is when somebody looks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sharpaudit.checkpoints import candidates, contents, fingerprint, state_dict
from sharpaudit.checkpoints.matching import Shapes
from sharpaudit.checkpoints.plain.chain import Weighted, chains
from sharpaudit.checkpoints.plain.suggestions import suggestions
from sharpaudit.checkpoints.statements import Statements
from sharpaudit.checkpoints.tensors import StoredTensor, Tensor
from sharpaudit.errors import SharpauditError, clean
from sharpaudit.request import LIMITS, Limits


@dataclass(frozen=True)
class Listed:
    """One tensor of the weights, its name made safe to show."""

    name: str
    dtype: str
    """Of the file; for a tensor that cannot be a weight, what it is."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """A dictionary of tensors that ``--weights`` could take."""

    key: str
    """As typed after ``--weights``; empty for the top level."""
    tensors: int
    elements: int
    average: bool
    """Whether its key says that these are averaged (EMA, SWA) weights."""


@dataclass(frozen=True)
class Inspection:
    """A checkpoint, described. All texts from the file are cleaned and cut."""

    file: str
    link_to: str | None
    """Base name of the real file, where a link was named."""
    format: str
    size_bytes: int
    sha256: str
    weights: list[Listed] = field(default_factory=list)
    """The tensors that ``--weights`` takes, under the names that are left when wrappers are stripped."""
    dtypes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Tensors and elements of each dtype among them."""
    choices: list[Choice] = field(default_factory=list)
    """Every dictionary of tensors in the file, the one ``auto`` takes first."""
    steps: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    """Free text of a safetensors file; untrusted."""
    stated: Statements = field(default_factory=Statements)
    """What the checkpoint says about itself; foreign text too."""
    globals: list[str] = field(default_factory=list)
    """Names that its pickle mentions; none was imported."""
    code: list[str] = field(default_factory=list)
    """Those that it would have run."""
    networks: list[str] = field(default_factory=list)
    """Known networks that names and shapes fit, with the settings these tell."""
    plain: list[str] = field(default_factory=list)
    """Where the tensors are layers in a row: which, and the plainest descriptions for ``--arch``, at a likely image size."""
    refusal: SharpauditError | None = None
    """Why it cannot be measured as it is."""

    @property
    def num_elements(self) -> int:
        """Numbers in the weights: parameters and buffers."""
        return sum(elements for _, elements in self.dtypes.values())


def inspect(path: Path, *, weights: str = "auto", limits: Limits = LIMITS) -> Inspection:
    """What the checkpoint at `path` holds.

    Args:
        path: a file or a folder.
        weights: ``auto``, ``ema``, ``raw`` or the key of a dictionary.
        limits: budgets of the readers.

    Raises:
        CheckpointError: the file cannot be read at all.
        UnsafeInput: it lies about its sizes or is above a budget.
    """
    found = contents.read(path, limits)
    chosen, refusals = state_dict.Weights({}), list[SharpauditError]()
    choices: list[candidates.Candidate] = []
    try:
        found.refuse_code()
    except SharpauditError as error:
        refusals.append(error)
    try:
        choices = candidates.ranked(found.root, limits)
        chosen = state_dict.choose(found.root, weights, limits)
    except SharpauditError as error:
        refusals.append(error)
    for refusal in refusals:
        refusal.path = refusal.path or str(path)
    shapes = {name: tensor.shape for name, tensor in chosen.tensors.items()}
    return Inspection(
        file=clean(path.name, limit=255),
        link_to=clean(path.resolve().name, limit=255) if path.is_symlink() else None,
        format=found.format,
        size_bytes=found.size_bytes,
        sha256=found.sha256,
        weights=[_listed(name, tensor) for name, tensor in chosen.tensors.items()],
        dtypes=_dtypes(list(chosen.tensors.values())),
        choices=[_choice(candidate) for candidate in choices],
        steps=chosen.steps,
        dropped=chosen.dropped,
        warnings=[*found.stated.notes, *chosen.warnings],
        metadata={clean(key): clean(text) for key, text in sorted(found.metadata.items())},
        stated=found.stated,
        globals=[clean(name) for name in found.globals],
        code=[clean(name) for name in found.calls],
        networks=[_network(c) for c in fingerprint.candidates(shapes)],
        plain=_plain(shapes),
        refusal=refusals[0] if refusals else None,
    )


def _plain(shapes: Shapes) -> list[str]:
    """The orders in which the tensors are layers in a row, then the likeliest descriptions."""
    found = chains(shapes)
    rows = [f"{len(chain.main)} layers in a row: {', '.join(map(_layer, chain.layers))}" for chain in found]
    return [*rows, *(f"for example --arch '{text}'" for text in suggestions(found))]


def _layer(layer: Weighted) -> str:
    """A layer of a chain, as far as shapes tell it."""
    match layer.kind:
        case "conv":
            return f"conv {layer.out} {layer.shape[2]}x{layer.shape[3]}"
        case "linear":
            return f"linear {layer.shape[1]} to {layer.out}"
    return layer.kind


def _listed(name: str, tensor: Tensor) -> Listed:
    return Listed(clean(name), clean(tensor.dtype if isinstance(tensor, StoredTensor) else tensor.kind), tensor.shape)


def _dtypes(tensors: list[Tensor]) -> dict[str, tuple[int, int]]:
    stored = [tensor for tensor in tensors if isinstance(tensor, StoredTensor)]
    count = Counter(tensor.dtype for tensor in stored)
    return {kind: (count[kind], sum(t.num_elements for t in stored if t.dtype == kind)) for kind in sorted(count)}


def _choice(candidate: candidates.Candidate) -> Choice:
    stored = [tensor for tensor in candidate.tensors.values() if isinstance(tensor, StoredTensor)]
    elements = sum(tensor.num_elements for tensor in stored)
    return Choice(clean(candidate.name), len(candidate.tensors), elements, candidate.is_average)


def _network(candidate: fingerprint.Candidate) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in sorted(candidate.settings.items()))
    return f"{candidate.spec} ({settings})" if settings else candidate.spec
