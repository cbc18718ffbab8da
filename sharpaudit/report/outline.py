"""What does a report say, and in which order? One outline of the card, drawn by every renderer.

Text that came from outside (file names, class names, reasons) is still raw here: each renderer encodes it for its own sink.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sharpaudit.card import Card, CorruptionSource, DataRecord, Failed, Measured, SetupCheck, Skipped
from sharpaudit.card.invariance import verdicts
from sharpaudit.report import tables, wording

LABEL = re.compile(r"[a-z0-9-]{1,30}")
"""What a set of corrupted images may be called in a caption; nothing else of a stored card goes there."""

FLATNESS = (
    "flatness.fisher_rao",
    "flatness.relative_trace",
    "flatness.relative_trace_normalised",
    "flatness.relative_lambda",
    "sharpness.average/",
    "sharpness.worst/",
    "sharpness.lambda_max",
    "sharpness.lambda_min",
    "sharpness.trace",
    "sharpness.soft_rank",
    "sharpness.random",
    "sharpness.sam",
    "sharpness.pac_bayes_sigma",
    "sharpness.first_order",
)
"""The left column: one number for each idea of flatness, functions first. Their variants stand in the full list.

A name that ends in a slash stands for its qualifiers, one of each kind.
"""

SAFETY = (
    "clean.accuracy",
    "clean.worst_class_accuracy",
    "clean.generalisation_gap",
    "clean.nll",
    "calibration.ece",
    "corruption.accuracy",
    "corruption.ece",
    "adversarial.accuracy/",
    "adversarial.median_epsilon",
    "disagreement.rate",
    "disagreement.negative_flips",
)
"""The right column."""

CALIBRATION = (
    "calibration.ece",
    "calibration.ece_floor",
    "calibration.ece_debiased",
    "calibration.adaptive_ece",
    "calibration.classwise_ece",
    "calibration.smooth_ece",
    "calibration.mce",
    "calibration.ks",
    "clean.brier",
    "calibration.temperature",
    "calibration.ece_after_temperature",
)

FEW = 6
"""How many names of one kind are spelled out."""


def numbers(card: Card, names: Iterable[str]) -> list[Measured]:
    """The measurements among `names` for which a number was obtained, in that order."""
    by_name = {m.name: m for m in card.measurements if isinstance(m, Measured)}
    found: list[Measured] = []
    for name in names:
        if name.endswith("/"):
            found += _plainest([m for key, m in by_name.items() if key.startswith(name)])
        elif name in by_name:
            found.append(by_name[name])
    return found


def _plainest(family: Iterable[Measured]) -> list[Measured]:
    """One for each first qualifier, a norm or an attack: rather adaptive, with the logits as they are, and first on the card."""
    chosen: dict[str, Measured] = {}
    for m in sorted(family, key=lambda m: ("/normalised/" in m.name, "/adaptive/" not in m.name)):
        chosen.setdefault(m.name.split("/")[1], m)
    return list(chosen.values())


def others(card: Card, said: Iterable[str]) -> list[Measured]:
    """All numbers but those already `said`, and but single classes and single corruptions, which have tables of their own."""
    known, tabled = set(said), ("clean.accuracy/class/", "corruption.accuracy/")
    return [m for m in card.measurements if isinstance(m, Measured) and m.name not in known and not m.name.startswith(tabled)]


def marks(card: Card) -> dict[str, str]:
    """The mark of each flatness measure that was tried under rescaling."""
    found = verdicts(card.measurements, card.tables)
    return {name: wording.MARKS[verdict] for name, verdict in found.items() if verdict in wording.MARKS}


def flatness_note(card: Card) -> str:
    """What to know when reading the flatness column: that it grades nothing, and what its marks mean."""
    meanings = {
        "≡": "stays when layers are rescaled without changing the function",
        "≅": "stays when whole layers are, and moves with single units",
        "≢": "moves",
    }
    given = marks(card)
    shown = {given.get(m.name) for m in numbers(card, FLATNESS)}
    legend = "; ".join(f"{mark} {meaning}" for mark, meaning in meanings.items() if mark in shown)
    tried = f" {legend} (tried on this network; no mark: not tried)." if legend else ""
    return wording.NO_GOOD_DIRECTION + tried


@dataclass(frozen=True)
class Grid:
    """Corruption accuracy: a row for each corruption, grouped by family, a column for each severity."""

    severities: list[int]
    rows: list[GridRow]
    n: list[int]
    """The distinct numbers of images a cell."""
    clean: float | None
    half_width: float | None
    """The widest interval of a single cell, halved; None when no cell has one."""
    source: str
    """Where the corrupted images came from: ``synthetic-c``, or the name of a published set; empty where it is not known."""

    def families(self) -> Iterator[tuple[str, list[GridRow]]]:
        """The rows of each family, families in order of first appearance."""
        for family in dict.fromkeys(row.family for row in self.rows):
            yield family, [row for row in self.rows if row.family == family]


@dataclass(frozen=True)
class GridRow:
    """One corruption at every severity."""

    corruption: str
    family: str
    accuracy: list[float | None]
    """By severity; None where the cell was not measured."""
    mean: Measured | None
    """The mean over severities, as the card measured it."""


def grid(card: Card) -> Grid | None:
    """The table ``corruption`` as a grid; None when the card has none."""
    table = tables.corruption(card)
    if not table:
        return None
    severities = sorted({cell.severity for cell in table})
    cells = {(cell.corruption, cell.severity): cell.accuracy for cell in table}
    families = {cell.corruption: cell.family for cell in table}
    by_name = {m.name: m for m in card.measurements if isinstance(m, Measured) and m.name.startswith("corruption.accuracy/")}
    widths = [m.ci.high - m.ci.low for name, m in by_name.items() if name.count("/") == 2 and m.ci]
    clean = card.measured("clean.accuracy")
    label = card.corruptions.label if card.corruptions else ""
    return Grid(
        severities=severities,
        rows=[
            GridRow(name, family, [cells.get((name, s)) for s in severities], by_name.get(f"corruption.accuracy/{name}"))
            for name, family in families.items()
        ],
        n=sorted({cell.n for cell in table}),
        clean=clean.value if clean else None,
        half_width=max(widths) / 2 if widths else None,
        source=label if LABEL.fullmatch(label) else "",
    )


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
        Fact("Architecture", f"{subject.architecture}, decided by {subject.architecture_origin}"),
        Fact("Parameters", f"{wording.count(subject.num_parameters)}; {wording.count(subject.num_classes)} classes"),
        Fact("Preprocessing", f"mean {_listed(pre.mean)}, std {_listed(pre.std)}, input {shape} ({pre.origin})"),
        *([Fact("Told by", told)] if told else []),
        Fact("Data", _images(data)),
    ]
    if data.classes_origin:
        lines.append(Fact("Classes", f"{wording.count(len(data.classes))}, named and ordered by {data.classes_origin}"))
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
    lines.append(Fact("Device", f"{env.device}, {precision}, {env.threads} thread{'s' * (env.threads != 1)}"))
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


def _corruptions(source: CorruptionSource) -> str:
    if source.version:
        return f"{source.label}, made by {source.version}, no published files"
    return f"{source.label}, published files, fingerprint {short(source.fingerprint or '-')}"


def _asked(setup: SetupCheck) -> str:
    """How many images were asked what, and with which result."""
    named = [(status, [c.name for c in setup.checks if c.status == status]) for status in ("flagged", "passed", "not applicable")]
    results = "; ".join(f"{status} {', '.join(names)}" for status, names in named if names)
    return f"{wording.count(setup.n)} images, {wording.count(setup.forward)} forward passes: {results}"


def cautions(card: Card) -> list[str]:
    """What to know before trusting any number of this card."""
    found = list(card.subject.warnings)
    if card.corruptions and card.corruptions.missing:
        found.append(f"The corrupted set {card.corruptions.label} lacks {', '.join(card.corruptions.missing)}.")
    found += [f"Set-up suspect, {check.name}: {check.message}." for check in (card.setup.flagged if card.setup else [])]
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
    return found


@dataclass(frozen=True)
class Gap:
    """Numbers that are missing for one reason."""

    status: str
    names: list[str]
    reason: str

    @property
    def what(self) -> str:
        """The names, or a few of them and how many more."""
        more = len(self.names) - FEW
        return ", ".join(self.names) if more <= 1 else f"{', '.join(self.names[:FEW])} and {more} more"


def gaps(card: Card) -> list[Gap]:
    """What was not measured and why, failures first, one entry for each reason."""
    grouped: dict[tuple[str, str], list[str]] = {}
    missing = [m for m in card.measurements if isinstance(m, Skipped | Failed)]
    for m in missing:
        grouped.setdefault((m.status, m.reason), []).append(m.name)
    for probe in sorted(card.probes.keys() - {m.probe for m in missing}):
        run = card.probes[probe]
        if run.status != "measured":
            grouped.setdefault((run.status, run.reason or "no reason was given"), []).append(probe)
    found = [Gap(status, names, reason) for (status, reason), names in grouped.items()]
    return sorted(found, key=lambda gap: gap.status == "skipped")


def summary(card: Card) -> str:
    """The card in one sentence, made of measured numbers only."""
    parts = []
    if accuracy := card.measured("clean.accuracy"):
        right, n = wording.count(round(accuracy.value * accuracy.n)), wording.count(accuracy.n)
        parts.append(f"right on {right} of {n} images, accuracy {wording.estimate(accuracy)}")
    if ece := card.measured("calibration.ece"):
        floor = card.measured("calibration.ece_floor")
        chance = f" (chance alone gives {wording.number(floor.value, ece.ci)})" if floor else ""
        parts.append(f"calibration error {wording.estimate(ece)}{chance}")
    if corrupted := card.measured("corruption.accuracy"):
        parts.append(f"{wording.estimate(corrupted)} under corruption")
    text = "; ".join(parts) or "no safety number was measured"
    return text[0].upper() + text[1:] + "."


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


def grid_note(grid: Grid) -> str:
    """What a corruption grid shows: the number of images and how exact a cell is."""
    images = " or ".join(map(wording.count, grid.n))
    on = f" on {grid.source}" if grid.source else ""
    note = f"Accuracy{on} by corruption and severity; n = {images} images a cell"
    note += f", 95 % interval of a cell at most ± {grid.half_width:.3f}" if grid.half_width else ""
    return note + (f"; without corruption {grid.clean:.3f}." if grid.clean is not None else ".")
