"""How is a comparison shown? Two models side by side or a fleet of them, as Markdown, in the terminal and as a page.

A comparison becomes sheets (a title, a header, rows); each writer only draws them and encodes what is foreign for its own sink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from sharpaudit.compare import Comparison
from sharpaudit.compare.geometry import is_geometric, is_invariant, is_safety
from sharpaudit.compare.records import Association, Difference, Fleet, Pair, Quadrant
from sharpaudit.report import html as page
from sharpaudit.report import markdown as md
from sharpaudit.report import terminal as tty
from sharpaudit.report import wording

FEW = 10
"""Views and correlations listed; the rest are in the JSON."""

LEADERBOARD = ("clean.accuracy", "calibration.ece", "corruption.accuracy", "flatness.fisher_rao", "sharpness.lambda_max")


class Name(str):
    """Text from outside: a file name, a class."""

    __slots__ = ()


@dataclass(frozen=True)
class Sheet:
    """A titled table; cells are words and numbers of ours, or a `Name`."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    align: str
    """``l`` or ``r`` for each column."""
    note: str = ""


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, ending in a newline."""
    parts = [md.heading(" ".join(_written(piece, md.quote) for piece in title(comparison)), "="), _data(comparison, md.quote)]
    parts.append(md.bullets(md.prose(sentence) for sentence in comparison.reading))
    for sheet in sheets(comparison):
        rows = [[_written(cell, md.quote) for cell in row] for row in sheet.rows]
        parts.append(md.section(sheet.title, md.table(sheet.header, rows, sheet.align), sheet.note))
    return "\n\n".join(part for part in parts if part) + "\n"


def terminal(comparison: Comparison, width: int = 80, *, colour: bool = False) -> str:
    """The comparison as lines of at most `width` characters."""

    def parts() -> Iterator[Text | Table]:
        yield Text(" ".join(_written(piece, wording.foreign) for piece in title(comparison)), "bold")
        yield Text(_data(comparison, wording.foreign))
        yield Text()
        for sentence in comparison.reading:
            yield tty.text(sentence, limit=tty.MANY)
        for sheet in sheets(comparison):
            table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
            for head, side in zip(sheet.header, sheet.align, strict=True):
                table.add_column(head, justify="right" if side == "r" else "left", no_wrap=side == "r", overflow="fold")
            for row in sheet.rows:
                table.add_row(*(Text(_written(cell, wording.foreign)) for cell in row))
            yield Text()
            yield Text(sheet.title.upper(), "bold cyan")
            if sheet.note:
                yield Text(sheet.note, "italic")
            yield table

    return tty.render(parts(), width, colour=colour)


def html(comparison: Comparison) -> str:
    """The comparison as one self-contained page."""
    return page.render(
        "comparison.html.j2",
        comparison=comparison,
        title=title(comparison),
        sheets=sheets(comparison),
        foreign=lambda piece: isinstance(piece, Name),
    )


def title(comparison: Comparison) -> list[str]:
    """What is compared with what."""
    names = [Name(model.label) for model in comparison.models]
    if comparison.pair:
        return ["sharpaudit: B =", names[1], "against A =", names[0]]
    return [f"sharpaudit: {wording.count(len(names))} checkpoints compared"]


def sheets(comparison: Comparison) -> list[Sheet]:
    """The tables of a comparison, those without rows left out."""
    found = [
        *(_pair(comparison.pair) if comparison.pair else []),
        *(_fleet(comparison, comparison.fleet) if comparison.fleet else []),
    ]
    return [sheet for sheet in found if sheet.rows]


def _pair(pair: Pair) -> Iterator[Sheet]:
    rows = [row for row in pair.differences if not _is_cell(row.name)]
    flat, safe = [row for row in rows if is_geometric(row.name)], [row for row in rows if is_safety(row.name)]
    rest = [row for row in rows if row not in flat and row not in safe]
    header, align = ("", "A", "B", "B − A", "n", "B is"), "lrrrrl"
    note = f"{wording.NO_GOOD_DIRECTION} Rescaling layers without changing the function leaves those with * alone."
    yield Sheet("Flatness", header, [_difference(row) for row in flat], align, note)
    yield Sheet("Safety", header, [_difference(row) for row in safe], align)
    yield Sheet(
        "Flatness read against safety", ("", "B is", "and safer by", "and less safe by"), _quadrants(pair.quadrants), "llll"
    )
    yield Sheet(
        "Disagreement",
        ("", "value", "n"),
        [
            (wording.title(m.name), f"{wording.estimate(m)} {wording.unit(m)}".rstrip(), wording.count(m.n))
            for m in pair.disagreement
        ],
        "lrr",
    )
    yield _views(pair)
    yield Sheet(
        "Examples that changed most",
        ("index", "label", "A says", "B says", "change of NLL"),
        [
            (
                str(change.index),
                Name(change.label),
                Name(f"{change.prediction_a} {change.confidence_a:.2f}"),
                Name(f"{change.prediction_b} {change.confidence_b:.2f}"),
                wording.signed(change.nll_change, 2),
            )
            for change in pair.changed
        ],
        "rlllr",
    )
    yield Sheet("Other numbers", header, [_difference(row) for row in rest], align)


def _is_cell(name: str) -> bool:
    return name.startswith("clean.accuracy/class/") or (name.startswith("corruption.accuracy/") and name.count("/") > 1)


def _difference(row: Difference) -> tuple[str, ...]:
    """Both values and their difference, all with the digits that the interval of the difference justifies."""
    change = wording.said(row.difference, row.ci)
    values = [wording.number(value, row.ci) for value in (row.a, row.b)]
    sign = "+" if row.difference > 0 and change.value.strip("0.") else ""
    unit = "" if row.unit in ("fraction", "1") else f", {wording.foreign(row.unit, 24)}"
    star = " *" if is_invariant(row.name) else ""
    interval = f" {change.interval}" if change.interval else ""
    words = row.verdict or "–"
    return (
        wording.title(row.name) + unit + star,
        *values,
        sign + change.value + interval + change.power,
        wording.count(row.n),
        words if row.ci or not row.reason else f"{words}: {wording.foreign(row.reason)}",
    )


def _quadrants(quadrants: Sequence[Quadrant]) -> list[tuple[str, ...]]:
    """A line for each flatness measure that differs and for which some safety metric differs too."""
    lines: list[tuple[str, ...]] = []
    for flatness in dict.fromkeys(quadrant.flatness for quadrant in quadrants):
        decided = [q for q in quadrants if q.flatness == flatness and q.quadrant != "undecided"]
        if decided:
            safer = [wording.title(q.safety) for q in decided if q.quadrant.endswith("and safer")]
            less = [wording.title(q.safety) for q in decided if q.quadrant.endswith("and less safe")]
            star = " *" if decided[0].invariant else ""
            lines.append(
                (wording.title(flatness) + star, decided[0].quadrant.split()[0], "; ".join(safer) or "–", "; ".join(less) or "–")
            )
    return lines


def _views(pair: Pair) -> Sheet:
    views = sorted(pair.views, key=lambda view: -view.disagreements / max(view.n, 1))
    more = f"The {FEW} of {len(views)} views on which they disagree most." if len(views) > FEW else ""
    rows: list[tuple[str, ...]] = [
        (
            Name(view.view.replace("/", " ").replace("_", " ")),
            f"{view.disagreements / max(view.n, 1):.3f}",
            *map(wording.count, (view.negative_flips, view.positive_flips, view.n)),
        )
        for view in views[:FEW]
    ]
    return Sheet("Flips by view", ("view", "disagreement", "right to wrong", "wrong to right", "n"), rows, "lrrrr", more)


def _fleet(comparison: Comparison, fleet: Fleet) -> Iterator[Sheet]:
    numbered = {model.label: f"{i}" for i, model in enumerate(comparison.models, 1)}
    conditions = {model.label: Name(model.condition) if model.condition else "–" for model in comparison.models}
    columns = [name for name in LEADERBOARD if any(name in row.values for row in fleet.leaderboard)]
    yield Sheet(
        "Leaderboard",
        ("no.", "checkpoint", "condition", *map(wording.title, columns), "p"),
        [
            (
                numbered[row.label],
                Name(row.label),
                conditions[row.label],
                *(wording.number(row.values[name]) if name in row.values else "–" for name in columns),
                "–" if row.p_against_first is None else f"{row.p_against_first:.2g}",
            )
            for row in fleet.leaderboard
        ],
        "rll" + "r" * (len(columns) + 1),
        f"Most accurate first; n = {wording.count(comparison.n)}; p: exact McNemar against the first, Holm over the board.",
    )
    for name, matrix in (("Disagreement", fleet.disagreement), ("Error consistency κ", fleet.error_consistency)):
        yield Sheet(
            name,
            ("no.", *numbered.values()),
            [(number, *(f"{value:.3f}" for value in row)) for number, row in zip(numbered.values(), matrix or [], strict=False)],
            "r" * (len(numbered) + 1),
            f"Between each two checkpoints, numbered as on the leaderboard; n = {wording.count(comparison.n)}.",
        )
    yield _associations(fleet.associations)


def _associations(rows: Sequence[Association]) -> Sheet:
    known = sorted(
        (row for row in rows if row.kendall is not None), key=lambda row: (row.p_adjusted or 0.0, -abs(row.kendall or 0.0))
    )
    reasons = dict.fromkeys(row.reason for row in rows if row.reason)
    more = [f"The {FEW} clearest of {len(known)}."] if len(known) > FEW else []
    more += [f"{wording.foreign(reason)[:1].upper()}{wording.foreign(reason)[1:]}." for reason in list(reasons)[:1] if reason]
    return Sheet(
        "Flatness against safety, rank correlations",
        ("flatness", "safety", "τ, pooled", "τ, within", "ρ", "p, adjusted", "n"),
        [
            (
                wording.title(row.flatness),
                wording.title(row.safety),
                wording.number(row.kendall or 0.0, row.kendall_ci, show_interval=True),
                ("–" if row.within is None else wording.number(row.within, row.within_ci, show_interval=True))
                + " !" * row.simpson,
                "–" if row.spearman is None else wording.number(row.spearman, row.spearman_ci),
                "–" if row.p_adjusted is None else f"{row.p_adjusted:.2g}",
                str(row.n),
            )
            for row in known[:FEW]
        ],
        "llrrrrr",
        " ".join([*more, "An exclamation mark: pooled and within-condition correlation have opposite signs."]),
    )


def _data(comparison: Comparison, encode: Callable[[str], str]) -> str:
    return f"{encode(comparison.data)} · n = {wording.count(comparison.n)} · seed {comparison.seed}"


def _written(piece: str, encode: Callable[[str], str]) -> str:
    return encode(piece) if isinstance(piece, Name) else piece
