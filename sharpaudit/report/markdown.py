"""The card as Markdown that reads well in a GitHub comment, in a step summary and as plain text.

Headings are underlined, not hashed: a CI runner takes lines that begin with ``##`` for commands. Foreign text passes through
`quote` (names) or `prose` (sentences) and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sharpaudit.card import Card, Measured
from sharpaudit.report import outline, wording
from sharpaudit.report.document import Beside, Block, Cell, Document, Facts, Gaps, Name, Numbers, Sheet
from sharpaudit.report.grids import Grid

ACTIVE = re.compile(
    r"""(?<=\S\ )(\[[-−\d., ]+\])(?![(\[])   # an interval inside a sentence is no link: stays
      | (?i:(?<=www)\.)                     # bare addresses
      | :(?!\s) | [@\#] | (?<=GH)-         # emoji, schemes, mentions, issues
      | [\\`*{}\[\]<>|~&$^]                # markup
      | (?<![A-Za-z0-9])_|_(?![A-Za-z0-9]) # the same, unless inside a word
      | ^(?:[-+=]|\d+[.)])                 # a list, a heading""",
    re.VERBOSE,
)
"""What Markdown or GitHub could act on in a sentence."""

MANY = 4000
"""Longest sentence that is shown whole."""


def markdown(card: Card) -> str:
    """The whole card, ending in a newline."""
    return draw(outline.document(card), brand="sharpaudit: ")


def draw(document: Document, brand: str = "") -> str:
    """A report, ending in a newline."""
    sentences = [prose(sentence) for sentence in document.reading]
    parts = [
        heading(brand + " ".join(map(_piece, document.title)), "="),
        " · ".join(map(_piece, document.meta)),
        bullets(f"⚠ {prose(caution)}" for caution in document.cautions),
        f"**{document.verdict}**" if document.verdict else "",
        " ".join(sentences) if document.verdict else bullets(sentences),
        *(section(each.title, "\n\n".join(map(_block, each.blocks)), prose(each.note)) for each in document.sections),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _piece(piece: Cell) -> str:
    if isinstance(piece, Measured):
        return wording.estimate(piece)
    if isinstance(piece, Name):
        return quote(piece)
    return "–" if piece is None else piece


def _block(block: Block) -> str:
    match block:
        case Beside(flatness, safety):
            rows = [(*_cells(a, flatness), *_cells(b, safety)) for a, b in block.rows]
            shown = table(("Flatness", "value", "n", "Safety", "value", "n"), rows, "lrrlrr")
            return _explained(shown, [*flatness.measured, *safety.measured])
        case Numbers(measured):
            return _explained(table(("", "value", "n"), (_cells(m, block) for m in measured), "lrr"), measured)
        case Sheet(header, rows_of_names, align):
            return table(header, ([_piece(cell) for cell in row] for row in rows_of_names), align)
        case Grid():
            return _corruption(block)
        case Facts(facts):
            return table(("", ""), ((fact.label, quote(fact.value, 200)) for fact in facts), "ll")
        case Gaps(found):
            return bullets(f"**{gap.status}** {quote(gap.what, 400)}: {prose(gap.reason)}" for gap in found)
        case _:  # what only a page has room for
            return ""


def quote(text: str, limit: int = 120) -> str:
    """A foreign name as code: nothing in it is a mention, a link, a heading or a cell border."""
    shown = wording.foreign(text, limit).strip() or "(empty)"
    return f"<code>{_entities(shown)}</code>" if re.search(r"[`|\\]", shown) else f"`{shown}`"


def prose(text: str) -> str:
    """A foreign sentence: whatever could be acted on is an entity; an empty comment ends a mention or a link."""

    def inert(match: re.Match[str]) -> str:
        return match[1] or _entities(match[0]) + ("<!-- -->" if match[0] in "@#:-." else "")

    return ACTIVE.sub(inert, wording.foreign(text, MANY).strip())


def table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """A pipe table; `align` has ``l`` or ``r`` for each column. Cells must be encoded already."""
    rule = ["---:" if side == "r" else ":---" for side in align]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def _entities(text: str) -> str:
    return "".join(c if c.isalnum() or c == " " else f"&#{ord(c)};" for c in text)


def heading(text: str, underline: str) -> str:
    """A heading with ``=`` or ``-`` below it; `text` must be encoded already."""
    return f"{text}\n{underline * 3}"


def section(title: str, body: str, note: str = "") -> str:
    """A titled part; nothing at all where there is no body."""
    return "\n\n".join(part for part in (heading(title, "-"), note, body) if part) if body else ""


def bullets(lines: Iterable[str]) -> str:
    """A list; its lines must be encoded already."""
    return "\n".join(f"- {line}" for line in lines)


def _explained(shown: str, measured: Sequence[Measured]) -> str:
    """A table, and below it why numbers in it have no interval."""
    return "\n\n".join(filter(None, [shown, bullets(map(prose, outline.bare(measured)))]))


def _cells(measured: Measured | None, column: Numbers) -> tuple[str, str, str]:
    """Title with its arrow or mark; value with interval, unit and remark; n."""
    if measured is None:
        return "", "", ""
    title = f"{_title(measured)} {wording.direction(measured)}{column.marks.get(measured.name, '')}".rstrip()
    doubt = "(not converged)" if measured.converged is False else ""
    behind = map(prose, (wording.unit(measured), column.remarks.get(measured.name, ""), doubt))
    return title, " ".join(filter(None, [wording.estimate(measured), *behind])), wording.count(measured.n)


def _title(measured: Measured) -> str:
    return prose(wording.title(measured))


def _corruption(grid: Grid) -> str:
    header = ("", "mean", *(f"severity {s}" for s in grid.severities))
    rows = []
    for family, members in grid.families():
        rows.append((f"**{prose(family)}**", *[""] * (len(header) - 1)))
        for row in members:
            cells = ["–" if a is None else f"{a:.3f}" for a in row.accuracy]
            rows.append((quote(row.corruption), wording.estimate(row.mean) if row.mean else "–", *cells))
    return table(header, rows, "l" + "r" * (len(header) - 1))
