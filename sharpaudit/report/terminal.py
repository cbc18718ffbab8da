"""The card as text for a terminal of 80 columns. Colour only on request, and no markup that comes from data.

Every piece of foreign text becomes a rich `Text` after `wording.foreign`; rich never parses a string of ours or of the card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sharpaudit.card import Card, Measured
from sharpaudit.report import outline, wording
from sharpaudit.report.document import Beside, Block, Cell, Document, Facts, Gap, Gaps, Name, Numbers, Sheet
from sharpaudit.report.grids import Grid
from sharpaudit.report.provenance import Fact

MANY = 4000
"""Longest sentence that is shown whole."""


def terminal(card: Card, width: int = 80, *, colour: bool = False) -> str:
    """The whole card as lines of at most `width` characters."""
    return draw(outline.document(card), width, colour=colour)


def draw(document: Document, width: int = 80, *, colour: bool = False) -> str:
    """A report as lines of at most `width` characters."""
    return _rendered(_parts(document, width), width, colour=colour)


def _rendered(parts: Iterable[RenderableType], width: int, *, colour: bool) -> str:
    """The parts, one below the other, as text; lines end where their text ends."""
    console = Console(
        file=StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _parts(document: Document, width: int) -> Iterable[RenderableType]:
    yield Text(" ".join(map(_piece, document.title)), "bold")
    yield Text(" · ".join(map(_piece, document.meta)))
    yield Text()
    if document.cautions:
        for caution in document.cautions:
            yield text(f"! {caution}", "bold yellow", MANY)
        yield Text()
    sentences = [text(sentence, limit=MANY) for sentence in document.reading]
    if document.verdict:
        yield Text(document.verdict, "bold")
        if sentences:
            yield from (Text(), Text(" ").join(sentences))
    else:
        yield from sentences
    for section in document.sections:
        yield Text()
        note = [text(section.note, "italic", MANY)] if section.note else []
        if isinstance(section.blocks[0], Beside):  # its columns have titles
            yield _beside(section.blocks[0])
            yield from [*note, *_bare([*section.blocks[0].flatness.measured, *section.blocks[0].safety.measured])]
        else:
            yield from [Text(section.title.upper(), "bold cyan"), *note]
            for block in section.blocks:
                yield from _block(block, width)


def _piece(piece: Cell) -> str:
    if isinstance(piece, Measured):
        return wording.estimate(piece)
    if isinstance(piece, Name):
        return wording.foreign(piece)
    return "–" if piece is None else piece


def _block(block: Block, width: int) -> Iterable[RenderableType]:
    """Lines; none for what only a page has room for."""
    match block:
        case Numbers(measured):
            yield _numbers(block)
            yield from _bare(measured)
        case Sheet(header, rows, align):
            yield _sheet(header, [[_piece(cell) for cell in row] for row in rows], align, width)
        case Grid():
            yield _corruption(block)
        case Facts(facts):
            yield _facts(facts)
        case Gaps(gaps):
            yield from map(_gap, gaps)


def text(foreign: str, style: str = "", limit: int = 120) -> Text:
    """Foreign text made safe and never parsed."""
    return Text(wording.foreign(foreign, limit), style)


def _columns(*justify: str) -> Table:
    """A table without lines; one ``left`` or ``right`` for each column."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    for side in justify:
        table.add_column(justify="right" if side == "right" else "left")
    return table


def _sheet(header: Sequence[str], rows: Sequence[Sequence[str]], align: str, width: int) -> Table:
    """A table; where it would not fit, a line for the first and last cell of each row and an indented one for the others.

    Cells must be clean already; `align` has ``l`` or ``r`` for each column.
    """
    widths = [max(map(cell_len, column)) for column in zip(header, *rows, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) <= width:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        for head, side in zip(header, align, strict=True):
            table.add_column(Text(head), justify="right" if side == "r" else "left")
        for row in rows:
            table.add_row(*map(Text, row))
        return table
    stacked = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    stacked.add_column(ratio=1)
    stacked.add_column(justify="right")
    for row in rows:
        between = " · ".join(f"{head} {cell}".strip() for head, cell in zip(header[1:-1], row[1:-1], strict=True))
        stacked.add_row(Group(Text(row[0]), Padding(Text(between), (0, 0, 0, 2))), Text(f"{header[-1]} {row[-1]}".strip()))
    return stacked


def _beside(block: Beside) -> Table:
    table = Table(box=None, show_header=True, padding=(0, 1, 0, 0), pad_edge=False, expand=True, header_style="bold cyan")
    table.add_column("FLATNESS", ratio=1)
    table.add_column("SAFETY", ratio=1)
    sides = block.flatness, block.safety
    for pair in block.rows:
        table.add_row(*(_stacked(m, side) if m else Text() for m, side in zip(pair, sides, strict=True)))
    return table


def _bare(measured: Sequence[Measured]) -> list[Text]:
    """Why numbers have no interval."""
    return [text(sentence, "dim", MANY) for sentence in outline.bare(measured)]


def _stacked(measured: Measured, column: Numbers) -> Group:
    """Title and n on one line, value and interval on the next: two of these fit side by side in 80 columns."""
    top = Table(box=None, show_header=False, padding=0, pad_edge=False, expand=True)
    top.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    top.add_column(justify="right", no_wrap=True)
    mark = column.marks.get(measured.name, "")
    top.add_row(Text(f"{_title(measured)} {mark}".rstrip()), Text(f" n {wording.count(measured.n)}", "dim"))
    return Group(top, Text("  ") + _remarked(measured, column))


def _numbers(block: Numbers) -> Table:
    table = _columns("left", "left", "right")
    for m in block.measured:
        table.add_row(_title(m), _remarked(m, block), Text(f"n {wording.count(m.n)}", "dim"))
    return table


def _remarked(measured: Measured, column: Numbers) -> Text:
    return _estimate(measured) + text(f" {column.remarks.get(measured.name, '')}".rstrip())


def _title(measured: Measured) -> Text:
    return Text(f"{wording.title(measured)} {wording.direction(measured)}".rstrip())


def _estimate(measured: Measured) -> Text:
    doubt = Text(" not converged", "yellow") if measured.converged is False else Text()
    return Text(f"{wording.estimate(measured)} {wording.unit(measured)}".rstrip()) + doubt


def _corruption(grid: Grid) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("severity", no_wrap=True, overflow="ellipsis", max_width=22)
    table.add_column("mean", justify="right")
    for severity in grid.severities:
        table.add_column(str(severity), justify="right")
    for family, members in grid.families():
        table.add_row(text(family, "bold"))
        for row in members:
            cells = ["–" if a is None else f"{a:.3f}" for a in row.accuracy]
            table.add_row(text(f" {row.corruption}"), wording.estimate(row.mean) if row.mean else "–", *cells)
    return table


def _facts(facts: Sequence[Fact]) -> Table:
    table = _columns("left", "left")
    for fact in facts:
        table.add_row(Text(fact.label, "dim"), text(fact.value, limit=400))
    return table


def _gap(gap: Gap) -> Text:
    return Text(f"{gap.status} ", "red" if gap.status == "failed" else "dim") + text(f"{gap.what}: {gap.reason}", limit=MANY)
