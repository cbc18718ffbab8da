"""Do two cards speak of the same examples, measured the same way? If not, in which fields do they differ?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sharpaudit.card import Card


@dataclass(frozen=True)
class Mismatch:
    """A field that should be equal on both cards and is not."""

    field: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.field}: {self.a} against {self.b}"


def mismatches(a: Card, b: Card, *, strict: bool = False) -> list[Mismatch]:
    """The fields in which `a` and `b` differ and must not: data, seed, probe versions.

    With `strict` also the probe set, the precision and the kind of device: a gate against a baseline wants all of them equal.
    """
    ours, theirs = _fields(a, strict), _fields(b, strict)
    return [
        Mismatch(field, str(ours[field]), str(theirs[field]))
        for field in ours
        if field in theirs and ours[field] != theirs[field]
    ]


def _fields(card: Card, strict: bool) -> Mapping[str, object]:
    """What is compared; the data's name is not, since a copy under another name is the same data."""
    fields: dict[str, object] = {
        "data.n": card.data.n,
        "data.index_hash": card.data.index_hash,
        "data.classes": card.data.classes,
        "seed": card.seed,
    }
    if card.corruptions is not None:
        source = card.corruptions
        fields["corruptions"] = f"{source.label} {source.version or source.fingerprint}"
    if strict:
        fields["environment.dtype"] = card.environment.dtype
        fields["environment.tf32"] = card.environment.tf32
        fields["environment.device"] = "cpu" if card.environment.device == "cpu" else "accelerator"
        if card.train_data is not None:
            fields["train_data.index_hash"] = card.train_data.index_hash
        if card.probe_set is not None:
            fields["probe_set.index_hash"] = card.probe_set.index_hash
            fields["probe_set.precision"] = card.probe_set.precision
            fields["probe_set.trainable_only"] = card.probe_set.trainable_only
    return fields | {f"probes.{name}.version": run.version for name, run in card.probes.items()}
