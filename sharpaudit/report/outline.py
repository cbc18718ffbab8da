"""What does the report of a card say, and in which order?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sharpaudit.card import Card, Failed, Measured, Skipped
from sharpaudit.card.invariance import verdicts
from sharpaudit.card.measurement import Page
from sharpaudit.card.measures import OF_A_CLASS, OF_CORRUPTION, find, listed
from sharpaudit.card.patterns import matches
from sharpaudit.card.reading import classes_in_words, worst_classes
from sharpaudit.comparison.records import Difference
from sharpaudit.report import grids, provenance, tables, wording
from sharpaudit.report.document import (
    Beside,
    Block,
    Classes,
    Document,
    Everything,
    Facts,
    Figure,
    Gap,
    Gaps,
    Name,
    Numbers,
    Rescalings,
    Section,
)

FLATNESS, SAFETY, CALIBRATION = listed("flatness"), listed("safety"), listed("calibration")
"""The columns of a card. Flatness: one number for each idea of it, functions first; variants stand in the full list."""

TABLED = (OF_A_CLASS, OF_CORRUPTION)
"""What has tables of its own."""

MOST_CLASSES = 100
"""More classes than this are cut to the least accurate."""


def document(card: Card, *, page: bool = False) -> Document:
    """What every renderer of a card draws; for a page with figures, single classes, curvature and the list of every number.

    Raises:
        CardError: a table of the card has rows that do not fit.
    """
    sections = [_columns(card, page), _calibration(card, page), _corruption(card, page), *(_more(card) if page else ())]
    size = [f"{wording.count(card.subject.num_parameters)} parameters"] if page else []
    return Document(
        kind="report card",
        title=[Name(card.subject.file)],
        meta=[Name(card.subject.architecture), *size, Name(card.data.name), f"n = {wording.count(card.data.n)}"],
        cautions=provenance.cautions(card),
        verdict=summary(card),
        reading=card.reading,
        sections=[section for section in (*sections, *set_up(card)) if section.blocks],
    )


def doubt(card: Card) -> str:
    """Why not to take its numbers as they stand, in a few words for a table; nothing where all is well."""
    found = ["set-up suspect"] if card.setup and card.setup.flagged else []
    return ", ".join(found + (["incomplete"] if card.incomplete else []))


def _columns(card: Card, page: bool) -> Section:
    flat = Numbers(on_page(card, "flatness"), marks=marks(card))
    safe = Numbers(on_page(card, "safety"), remarks=remarks(card))
    tried = tables.reparametrisation(card) if page else []
    run = [probe for probe in ("average_case", "worst_case", "keskar", "first_order", "pac_bayes") if probe in card.probes]
    return Section(
        "Flatness beside safety",
        [Beside(flat, safe), *([Rescalings(tried)] if tried else ())] if flat.measured or safe.measured else [],
        flatness_note(card),
        guides=["fisher_rao", "relative_flatness", "perturbation", *run, "reparametrisation"],
    )


def _calibration(card: Card, page: bool) -> Section:
    bins, measured = tables.reliability(card) if page else [], on_page(card, "calibration")
    caption = (
        f"Accuracy in {len(bins)} bins of confidence with 95% Wilson intervals; below, how many images stand in each bin. "
        "On the dashed line confidence equals accuracy."
    )
    blocks: list[Block] = [Figure("reliability", bins, caption)] if bins else []
    blocks += [Numbers(measured, remarks=remarks(card))] if measured else []
    note = "Do the model's confidences match how often it is right?" if page else ""
    return Section("Calibration", blocks, note, guides=["calibration"])


def _corruption(card: Card, page: bool) -> Section:
    grid = grids.corruption(card)
    if grid is None:
        return Section("Corruption", [])
    drawing = [Figure("corruption", grid, "Change of accuracy from clean, in percentage points.")] if page else []
    return Section("Corruption", [*drawing, grid], grids.note(grid), guides=["corruption"])


def _more(card: Card) -> Iterator[Section]:
    """What only a page has room for."""
    rows, note = tables.classes(card), ""
    shown = sorted(rows, key=lambda row: 2.0 if row.accuracy is None else row.accuracy)[:MOST_CLASSES]
    if len(rows) > MOST_CLASSES:
        note = f"{wording.count(len(rows))} classes; cut to fit: the {len(shown)} least accurate are shown, all are on the card."
    drawing = Figure("classes", rows, "Accuracy with 95% intervals, worst first.")
    yield Section("Per class", [drawing, Classes(shown if note else rows)] if rows else [], note, guides=["accuracy"])
    density = "Spectral density of the Hessian: each Ritz value with its weight and its interval."
    shapes = (
        Figure("spectrum", tables.spectrum(card), density),
        Figure("loss_slice", tables.loss_slice(card), "Loss along one random direction, scaled filter by filter."),
    )
    note = "The shape of the loss around the weights, on the frozen probe set. "
    note += "It changes when layers are rescaled without changing the function."
    guides = ["spectrum", *(["slices"] if "slices" in card.probes else [])]
    yield Section("Curvature", [shape for shape in shapes if shape.data], note, guides)
    rest = others(card, [])
    yield Section("Every number", [Everything(rest)] if rest else [])


def set_up(card: Card) -> list[Section]:
    """What was audited on what, and what was not measured."""
    missing = gaps(card)
    facts = Section("Set-up and provenance", [Facts(provenance.facts(card), card.setup)])
    return [facts, *([Section("Not measured", [Gaps(missing)])] if missing else ())]


def on_page(card: Card, page: Page) -> list[Measured]:
    """What a page lists of the card: by the catalogue, and then what plug-ins want on it."""
    return numbers(card, listed(page)) + [
        m for m in card.measurements if isinstance(m, Measured) and m.declared and find(m.name) is None and page in m.declared.on
    ]


def numbers(card: Card, names: Iterable[str]) -> list[Measured]:
    """The measurements among `names` for which a number was obtained, in that order; of forms, one of each kind."""
    by_name = {m.name: m for m in card.measurements if isinstance(m, Measured)}
    found: list[Measured] = []
    for name in names:
        if "*" in name:
            found += _plainest([m for key, m in by_name.items() if matches(name, key)])
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
    known = set(said)
    return [m for m in card.measurements if isinstance(m, Measured) and m.name not in known and not m.name.startswith(TABLED)]


def marks(card: Card) -> dict[str, str]:
    """The mark of each flatness measure that was tried under rescaling."""
    found = verdicts(card.measurements, card.tables)
    return {name: wording.MARKS[verdict] for name, verdict in found.items() if verdict in wording.MARKS}


def remarks(card: Card) -> dict[str, str]:
    """What stands behind a number beside its unit: which class is the worst and how many images it has, which bins count."""
    found = {}
    if worst := worst_classes(card.measurements):
        counts = sorted({m.n for m in worst})
        images = " to ".join(wording.count(n) for n in dict.fromkeys((counts[0], counts[-1])))
        found["clean.worst_class_accuracy"] = f"({classes_in_words(worst)}; {images} image{'s' * (counts[-1] != 1)})"
    largest = card.measured("calibration.mce")
    if largest and isinstance(fewest := largest.options.get("smallest_bin"), int):
        found["calibration.mce"] = f"(of bins with {fewest} images or more)"
    return found


def bare(rows: Iterable[Measured | Difference]) -> list[str]:
    """Why numbers have no interval: one sentence a reason, with the measures it concerns."""
    grouped: dict[str, list[str]] = {}
    for row in rows:
        if row.ci is None and row.reason:
            grouped.setdefault(row.reason, []).append(wording.title(row))
    return [f"No interval for {', '.join(dict.fromkeys(titles))}: {reason}." for reason, titles in grouped.items()]


def flatness_note(card: Card) -> str:
    """What to know when reading the flatness column: that it grades nothing, and what its marks mean."""
    meanings = {
        "≡": "stays when layers are rescaled without changing the function",
        "≅": "stays when whole layers are, and moves with single units",
        "≢": "moves",
    }
    given = marks(card)
    shown = {given.get(m.name) for m in on_page(card, "flatness")}
    legend = "; ".join(f"{mark} {meaning}" for mark, meaning in meanings.items() if mark in shown)
    tried = f" {legend} (tried on this network; no mark: not tried)." if legend else ""
    return wording.NO_GOOD_DIRECTION + tried


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
