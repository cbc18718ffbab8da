"""What was audited, on what and with which settings, and what is to be known before any number of it is trusted?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sharpaudit.card import Card, CorruptionSource, DataRecord, Measured, SetupCheck, Signature
from sharpaudit.report import wording

REPEATABLE = {"bitwise": "the bit", "tolerance": "rounding"}
"""How exactly the same audit on the same machine gives the same numbers."""


@dataclass(frozen=True)
class Fact:
    """A line of the set-up."""

    label: str
    value: str


def facts(card: Card) -> list[Fact]:
    """What was audited, on what, with which software and settings."""
    subject, data, env = card.subject, card.data, card.environment
    pre = subject.preprocessing
    shape = "×".join(map(str, pre.input_size))
    told = "; ".join(f"{setting.replace('_', ' ')} from {origin}" for setting, origin in sorted(subject.origins.items()))
    lines = [
        Fact("Checkpoint", f"{subject.file} ({subject.format}, {size(subject.size_bytes)})"),
        Fact("SHA-256", subject.sha256),
        *([Fact("Signature", _signed(subject.signature))] if subject.signature else []),
        Fact("Architecture", f"{subject.architecture}, decided by {subject.architecture_origin}"),
        Fact("Parameters", f"{_parameters(card)}; {wording.count(subject.num_classes)} classes"),
        Fact("Preprocessing", f"mean {_listed(pre.mean)}, std {_listed(pre.std)}, input {shape} ({pre.origin})"),
        *([Fact("Inferred from", told)] if told else []),
        Fact("Data", _images(data)),
    ]
    if data.classes_origin:
        lines.append(Fact("Classes", f"{wording.count(len(data.classes))}, {_named(data.classes_origin)}"))
    if card.train_data:
        lines.append(Fact("Training data", _images(card.train_data)))
    if card.corruptions:
        lines.append(Fact("Corruptions", _corruptions(card.corruptions)))
    if frozen := card.probe_set:
        images = f"{wording.count(frozen.n)} frozen {frozen.source} images"
        lines.append(Fact("Probe set", f"{images} in {frozen.precision}, index {short(frozen.index_hash)}"))
    if card.setup:
        lines.append(Fact("Set-up check", _asked(card.setup)))
    precision = env.dtype + (", TF32" if env.tf32 else "")
    again = f", repeatable to {REPEATABLE[env.determinism]}" if env.determinism else ""
    lines.append(Fact("Device", f"{env.device}, {precision}, {env.threads} thread{'s' * (env.threads != 1)}{again}"))
    if env.versions:
        lines.append(Fact("Versions", ", ".join(f"{name} {version}" for name, version in sorted(env.versions.items()))))
    chosen = [f"{key} = {it.value} ({it.origin})" for key, it in sorted(card.config.items()) if it.origin != "default"]
    lines.append(Fact("Settings", ", ".join(chosen) or "defaults"))
    lines.append(Fact("Seed", str(card.seed)))
    if run := card.timing:
        lines.append(Fact("Run", f"{run.started}, {run.seconds:.0f} s, peak memory {run.peak_memory_mib:.0f} MiB"))
    lines += [Fact("Data note", note) for note in data.notes]
    lines += [Fact("Prepared", step) for step in subject.steps]
    lines += [Fact("Dropped", ", ".join(subject.dropped))] if subject.dropped else []
    return lines


def _signed(signature: Signature) -> str:
    if not signature.verified:
        return "model.sig lies beside it and was not verified: --trusted-keys was not given"
    return f"model.sig, verified with the trusted key of SHA-256 {short(signature.key or '-')}"


def _corruptions(source: CorruptionSource) -> str:
    if source.version:
        return f"{source.label}, made by {source.version}, no published files"
    return f"{source.label}, published files, fingerprint {short(source.fingerprint or '-')}"


def _named(origin: str) -> str:
    """How the classes got their names and their order; `origin` lists who gave them, ``numbered`` for nobody."""
    givers = [giver for giver in origin.split(", ") if giver != "numbered"]
    return f"named and ordered by {' and '.join(givers)}" if givers else "without names, numbered as in the labels"


def _parameters(card: Card) -> str:
    """How many there are and, where some are frozen, whether those count."""
    words = wording.count(card.subject.num_parameters)
    if not card.subject.num_frozen:
        return words
    words += f", {wording.count(card.subject.num_frozen)} of them frozen"
    if card.probe_set is None:
        return words
    held = "held constant (--trainable-only)" if card.probe_set.trainable_only else "counted like the others"
    return f"{words} and, in curvature and perturbations, {held}"


def _asked(setup: SetupCheck) -> str:
    """How many images were asked what, and with which result."""
    named = [(status, [c.name for c in setup.checks if c.status == status]) for status in ("flagged", "passed", "not applicable")]
    results = "; ".join(f"{status} {', '.join(names)}" for status, names in named if names)
    return f"{wording.count(setup.n)} images, {wording.count(setup.forward)} forward passes: {results}"


def cautions(card: Card) -> list[str]:
    """What to know before trusting any number of this card, the most doubtful first."""
    found = []
    if card.incomplete:
        missing = f"{', '.join(card.incomplete)} {'was' if len(card.incomplete) == 1 else 'were'} not measured"
        found.append(f"This card is incomplete: {missing}. The same command, given again, continues.")
    found += [f"Set-up suspect, {check.name}: {check.message}." for check in (card.setup.flagged if card.setup else [])]
    found += card.subject.warnings
    if card.corruptions and card.corruptions.missing:
        found.append(f"The corrupted set {card.corruptions.label} lacks {', '.join(card.corruptions.missing)}.")
    if not card.subject.clean_load:
        found.append("The file held code that was ignored on request.")
    found += [f"{warning[:1].upper()}{warning[1:]}." for warning in card.data.warnings]
    if card.data.ran_user_code:
        found.append("The images came from a Python file that was executed on request.")
    if card.subject.ran_user_code:
        found.append("The architecture came from a Python file that was executed on request.")
    for name, run in sorted(card.probes.items()):
        if run.distribution is not None:
            found.append(f"The probe {name} is not part of sharpaudit: it came from {run.distribution}.")
    if open_ends := [wording.title(m) for m in card.measurements if isinstance(m, Measured) and m.converged is False]:
        found.append(f"Not converged, and not to be relied on: {', '.join(open_ends)}.")
    return found


def size(num_bytes: int) -> str:
    """Bytes in a unit a person reads."""
    amount, units = float(num_bytes), ["B", "KiB", "MiB", "GiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{amount:.0f} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def short(digest: str) -> str:
    """The first twelve characters of a hash, enough to compare by eye."""
    return digest[:12]


def _images(data: DataRecord) -> str:
    return f"{data.name}, {wording.count(data.n)} images, index {short(data.index_hash)}"


def _listed(values: Sequence[float]) -> str:
    return " ".join(f"{v:g}" for v in values)
