"""How is a comparison shown? Two models side by side or a fleet of them, as Markdown, in the terminal and as a page.

It becomes a document, as a card does, whose sections are sheets: a header and rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sharpaudit.card.invariance import is_invariant
from sharpaudit.card.measures import OF_A_CLASS, OF_CORRUPTION, listed, role
from sharpaudit.card.prose import signed
from sharpaudit.comparison import Comparison
from sharpaudit.comparison.differences import LEVEL
from sharpaudit.comparison.records import Difference, Fleet, Pair
from sharpaudit.report import fleet_figures, outline, wording
from sharpaudit.report import html as page
from sharpaudit.report import markdown as md
from sharpaudit.report import terminal as tty
from sharpaudit.report.document import Document, Name, Row, Section, Sheet

CORRECTED = "†: the interval excludes zero, but among so many numbers one like it is expected by chance."

DRAWS = "‡: the interval is of the random draws alone, on these images; others are not in it."

FEW = 10
"""Views and correlations listed; the rest are in the JSON."""

MOST_RANKED = 100
"""Lines of the leaderboard; a page of a thousand models stays one that can be read."""

REST = "comparison.json (--json) holds"


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, ending in a newline."""
    return md.draw(document(comparison))


def terminal(comparison: Comparison, width: int = 80, *, colour: bool = False) -> str:
    """The comparison as lines of at most `width` characters."""
    return tty.draw(document(comparison), width, colour=colour)


def html(comparison: Comparison) -> str:
    """The comparison as one self-contained page."""
    return page.draw(document(comparison), page.source(comparison.schema_, [model.sha256[:16] for model in comparison.models]))


def document(comparison: Comparison) -> Document:
    """What every renderer of a comparison draws."""
    names = [Name(model.label) for model in comparison.models]
    pair = ["B =", names[1], "against A =", names[0]]
    return Document(
        kind="comparison",
        title=pair if comparison.pair else [f"{wording.count(len(names))} checkpoints compared"],
        meta=[Name(comparison.data), f"n = {wording.count(comparison.n)}", f"seed {comparison.seed}"],
        reading=comparison.reading,
        sections=sections(comparison),
    )


def sections(comparison: Comparison) -> list[Section]:
    """The tables of a comparison, those without rows left out."""
    pair, fleet = comparison.pair, comparison.fleet
    found = [*(_pair(pair) if pair else []), *(_fleet(comparison, fleet) if fleet else [])]
    return [section for section in found if section.blocks]


def _section(
    title: str, header: Row, rows: list[Row], align: str, note: str = "", matrix: list[list[float]] | None = None
) -> Section:
    return Section(title, [Sheet(header, rows, align, matrix)] if rows else [], note)


def _pair(pair: Pair) -> Iterator[Section]:
    rows = [row for row in pair.differences if not row.name.startswith(outline.TABLED)]
    flat = [row for row in rows if role(row) == "flatness"]
    yield _differences(
        "Flatness, unmoved by rescaling",
        [row for row in flat if is_invariant(row.name, row.rescaling)],
        wording.NO_GOOD_DIRECTION,
    )
    yield _differences("Flatness, moved by rescaling", [row for row in flat if not is_invariant(row.name, row.rescaling)])
    yield _differences("Safety", [row for row in rows if role(row) == "safety"])
    yield _section("Flatness read against safety", ("by", "and safer by", "and less safe by", "B is"), _quadrants(pair), "llll")
    yield _disagreement(pair)
    yield _views(pair)
    yield _changed(pair)
    yield _differences("Other numbers", [row for row in rows if role(row) == "neither"])
    corruptions = [row for row in pair.differences if row.name.startswith(OF_CORRUPTION) and row.name.count("/") == 1]
    yield _differences("Accuracy by corruption", corruptions)
    labels = [row for row in pair.differences if row.name.startswith(OF_A_CLASS)]
    labels.sort(key=lambda row: -abs(row.difference))
    more = f"The {FEW} of {wording.count(len(labels))} classes that changed most." if len(labels) > FEW else ""
    yield _differences("Accuracy by class", labels[:FEW], more)


def _differences(title: str, rows: Sequence[Difference], note: str = "") -> Section:
    """Both values, their difference with its interval, and the word for B; in the note why intervals are missing."""
    why = outline.bare(rows)
    lines: list[Row] = [
        (
            Name(wording.title(row) + ("" if row.unit in ("fraction", "1") else f", {row.unit}")),
            wording.rough(row.a),
            wording.rough(row.b),
            _change(row),
            wording.count(row.n),
            _word(row),
        )
        for row in rows
    ]
    if any(_corrected(row) for row in rows):
        why.append(CORRECTED)
    if any(row.over == "draws" and row.ci for row in rows):
        why.append(DRAWS)
    return _section(title, ("", "A", "B", "B − A", "n", "B is"), lines, "lrrrrl", " ".join(filter(None, [note, *why])))


def _word(row: Difference) -> str:
    """The verdict, with the margin that it speaks of or the mark that explains it."""
    if row.verdict == "equivalent within margin" and row.margin is not None:
        return f"equivalent within ±{row.margin:g}"
    return "–" if row.verdict is None else row.verdict + "†" * _corrected(row)


def _corrected(row: Difference) -> bool:
    """Whether the interval alone would have decided, and the correction for the number of questions took it back."""
    return row.verdict == "undecided" and row.p_value is not None and row.p_value <= 1 - LEVEL


def _change(row: Difference) -> str:
    said = wording.said(row.difference, row.ci)
    sign = "+" if row.difference > 0 and said.value.strip("0.") else ""
    of_draws = "‡" if row.over == "draws" and said.interval else ""
    return sign + said.value + (f" {said.interval}{of_draws}" if said.interval else "") + said.power


def _quadrants(pair: Pair) -> list[Row]:
    """A line for each reading that some flatness measure has: those that read the same stand together."""
    quadrants, titles = pair.quadrants, {row.name: wording.title(row) for row in pair.differences}
    readings: dict[tuple[str, str, str], list[str]] = {}
    for flatness in dict.fromkeys(quadrant.flatness for quadrant in quadrants):
        decided = [q for q in quadrants if q.flatness == flatness and q.quadrant != "undecided"]
        if decided:
            safer = [titles[q.safety] for q in decided if q.quadrant.endswith("and safer")]
            less = [titles[q.safety] for q in decided if q.quadrant.endswith("and less safe")]
            reading = ("; ".join(safer) or "–", "; ".join(less) or "–", decided[0].quadrant.split()[0])
            readings.setdefault(reading, []).append(titles[flatness])
    return [(Name("; ".join(measures)), Name(safer), Name(less), word) for (safer, less, word), measures in readings.items()]


def _disagreement(pair: Pair) -> Section:
    rows: list[Row] = [
        (wording.title(m), f"{wording.estimate(m)} {wording.unit(m)}".rstrip(), wording.count(m.n)) for m in pair.disagreement
    ]
    return _section("Disagreement", ("", "value", "n"), rows, "lrr")


def _views(pair: Pair) -> Section:
    views = sorted(pair.views, key=lambda view: -view.disagreements / max(view.n, 1))
    more = f"The {FEW} of {len(views)} views on which they disagree most." if len(views) > FEW else ""
    rows: list[Row] = [
        (
            Name(view.view.replace("/", " ").replace("_", " ")),
            f"{view.disagreements / max(view.n, 1):.3f}",
            *map(wording.count, (view.negative_flips, view.positive_flips, view.n)),
        )
        for view in views[:FEW]
    ]
    return _section("Flips by view", ("view", "differ", "right to wrong", "wrong to right", "n"), rows, "lrrrr", more)


def _changed(pair: Pair) -> Section:
    rows: list[Row] = [
        (
            str(change.index),
            Name(change.label),
            Name(f"{change.prediction_a} ({change.confidence_a:.2f})"),
            Name(f"{change.prediction_b} ({change.confidence_b:.2f})"),
            signed(change.nll_change, 2),
        )
        for change in pair.changed
    ]
    note = "Position in the data, label, what each model says and how surely, and how much less likely B finds the label (nats)."
    return _section("Examples that changed most", ("index", "label", "A says", "B says", "change of NLL"), rows, "rlllr", note)


def _fleet(comparison: Comparison, fleet: Fleet) -> Iterator[Section]:
    numbers = {model.label: str(i) for i, model in enumerate(comparison.models, 1)}
    yield _leaderboard(comparison, fleet, numbers)
    board = [int(numbers[row.label]) - 1 for row in fleet.leaderboard]
    shown = sorted(board[: fleet_figures.MOST_NUMBERED])
    header = [str(place + 1) for place in shown]
    note = f"Between each two checkpoints, by their numbers on the leaderboard; n = {wording.count(comparison.n)}."
    if len(shown) < len(board):
        held = wording.count(len(fleet.matrices_of))
        note += f" The {len(shown)} most accurate of {wording.count(len(board))}; {REST} {held}."
    for name, whole in (("Disagreement", fleet.disagreement), ("Error consistency", fleet.error_consistency)):
        at = [fleet.matrices_of.index(place) for place in shown] if whole else []
        matrix = [[whole[i][j] for j in at] for i in at] if whole else []
        rows: list[Row] = [(number, *(f"{value:.2f}" for value in row)) for number, row in zip(header, matrix, strict=False)]
        yield _section(name, ("", *header), rows, "r" * (len(header) + 1), note, matrix or None)
    yield _associations(fleet)


def _leaderboard(comparison: Comparison, fleet: Fleet, numbers: dict[str, str]) -> Section:
    conditions = {model.label: model.condition for model in comparison.models}
    plugins = [name for name, said in fleet.declared.items() if "leaderboard" in said.on]
    known = [name for name in (*listed("leaderboard"), *plugins) if any(name in row.values for row in fleet.leaderboard)]
    rows: list[Row] = [
        (
            Name(f"{numbers[row.label]}. {row.label}"),
            Name(conditions[row.label] or "–"),
            *(wording.rough(row.values[name]) if name in row.values else "–" for name in known),
            "–" if row.p_against_first is None else f"{row.p_against_first:.2g}",
        )
        for row in fleet.leaderboard[:MOST_RANKED]
    ]
    header = ("checkpoint", "condition", *(wording.foreign(fleet.title(name)) for name in known), "p")
    n = wording.count(comparison.n)
    note = (
        f"Most accurate first, numbered as given; n = {n}; p: exact McNemar against the first, Holm over the board. "
        "Intervals are on the cards."
    )
    if len(fleet.leaderboard) > MOST_RANKED:
        note += f" The first {MOST_RANKED} of {wording.count(len(fleet.leaderboard))}; {REST} all."
    return _section("Leaderboard", header, rows, "ll" + "r" * (len(known) + 1), note)


def _associations(fleet: Fleet) -> Section:
    known = [row for row in fleet.associations if row.kendall is not None]
    known.sort(key=lambda row: (row.p_adjusted or 0.0, -abs(row.kendall or 0.0)))
    reasons = sorted({row.reason for row in known if row.reason})
    notes = [f"n: models. The {FEW} clearest of {len(known)}." if len(known) > FEW else "n: models."]
    notes += [f"{reason[:1].upper()}{reason[1:]}." for reason in reasons[:1]]
    if any(row.simpson for row in known):
        notes.append("An exclamation mark: pooled and within-condition correlation have opposite signs.")
    rows: list[Row] = [
        (
            Name(fleet.title(row.flatness)),
            Name(fleet.title(row.safety)),
            wording.number(row.kendall or 0.0, row.kendall_ci, show_interval=True),
            "–" if row.within is None else wording.number(row.within, row.within_ci, show_interval=True) + " !" * row.simpson,
            "–" if row.spearman is None else wording.number(row.spearman, row.spearman_ci),
            "–" if row.p_adjusted is None else f"{row.p_adjusted:.2g}",
            str(row.n),
        )
        for row in known[:FEW]
    ]
    header = ("flatness", "safety", "τ pooled", "τ within", "ρ", "p adjusted", "n")
    return _section("Flatness against safety, rank correlations", header, rows, "llrrrrr", " ".join(notes))
