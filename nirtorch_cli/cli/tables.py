"""Tables that fit a terminal: a number or a head of a column is never broken.

In: columns of text, and how many cells a line has (a CJK character takes two). Out: lines.
What does not fit becomes narrower in this order, each step only where it is needed:
1. columns in which no row says anything are left out;
2. names are folded at their slashes and dots, prose at its spaces, lists at their commas; a
   name that would take more than three lines shows its start and its end;
3. a narrower form of the same table is taken, if the caller has one;
4. the columns are spread over up to three tables, one under the other, each with the names;
5. every row becomes a block of lines, one for each column that has something to say.
Always holds: no line is wider than the terminal, if that has 20 cells or more and no number
is longer. Cost: linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

_GAP, RULE = "  ", "─"
_LEAST_NAME, _LEAST_PROSE = 12, 24
"""Names and prose are not folded to fewer cells than that."""
_MOST_TABLES = 3
_MOST_LINES, LEFT_OUT = 3, "…"
_INDENT = "  "

Kind = Literal["plain", "number", "name", "prose", "list"]
_WORDS: dict[Kind, str] = {
    "name": r"[^/._]*[/._]|[^/._]+",
    "prose": r"\S+\s*|\s+",
    "list": r"[^,]*,\s*|[^,]+",
}
"""What is not broken in two, if it fits a line."""


@dataclass(frozen=True)
class Column:
    """A head and a cell for each row.

    kind: numbers stand right; names, prose and lists may be folded; what is plain, a shape or
    a type, is as little broken as a number.
    """

    head: str
    cells: tuple[str, ...]
    kind: Kind = "plain"

    @property
    def is_empty(self) -> bool:
        return not any(self.cells)


@dataclass(frozen=True)
class Lines:
    """Lines of a table, of which some are heads of columns."""

    text: tuple[str, ...]
    heads: frozenset[int]


def fitted(
    wide: Sequence[Column], width: int, cells: Callable[[str], int], narrow: Sequence[Column] = ()
) -> Lines:
    """A table in the widest form that fits.

    Arguments:
        wide: its columns; the first names the rows.
        width: cells of a line.
        cells: how many cells a text takes.
        narrow: the same in fewer or narrower columns.
    """
    if _natural_width(wide, cells) <= width:
        return _drawn([wide], width, cells)
    forms = [_needed(wide), *([_needed(narrow)] if narrow else [])]
    for form in forms:
        if _least_width(form, cells) <= width:
            return _drawn([form], width, cells)
    tables = _spread(forms[-1], width, cells)
    if len(tables) <= _MOST_TABLES and all(_least_width(t, cells) <= width for t in tables):
        return _drawn(tables, width, cells)
    return _blocks(forms[0], width, cells)


def _needed(columns: Sequence[Column]) -> list[Column]:
    return [column for n, column in enumerate(columns) if not n or not column.is_empty]


def _spread(
    columns: Sequence[Column], width: int, cells: Callable[[str], int]
) -> list[list[Column]]:
    """The columns in as few tables as fit, and these as equally wide as can be."""
    tables = _filled(columns, width, cells)
    for narrower in range(width - 1, 0, -1):
        found = _filled(columns, narrower, cells)
        if len(found) > len(tables) or any(_least_width(t, cells) > narrower for t in found):
            break
        tables = found
    return tables


def _filled(
    columns: Sequence[Column], width: int, cells: Callable[[str], int]
) -> list[list[Column]]:
    """The columns after the first in groups that fit beside it, in their order."""
    first, *others = columns
    tables = [[first]]
    for column in others:
        if len(tables[-1]) > 1 and _least_width([*tables[-1], column], cells) > width:
            tables.append([first])
        tables[-1].append(column)
    return tables


def _natural(column: Column, cells: Callable[[str], int]) -> int:
    return max(map(cells, (column.head, *column.cells)))


def _least(column: Column, cells: Callable[[str], int]) -> int:
    natural = _natural(column, cells)
    if column.kind in ("plain", "number"):
        return natural
    least = _LEAST_NAME if column.kind == "name" else _LEAST_PROSE
    return min(natural, max(cells(column.head), least))


def _natural_width(columns: Sequence[Column], cells: Callable[[str], int]) -> int:
    return sum(_natural(column, cells) for column in columns) + len(_GAP) * (len(columns) - 1)


def _least_width(columns: Sequence[Column], cells: Callable[[str], int]) -> int:
    return sum(_least(column, cells) for column in columns) + len(_GAP) * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int, cells: Callable[[str], int]) -> list[int]:
    """What each column gets: its least, and of what is left as much as it needs, shared evenly."""
    widths = [_least(column, cells) for column in columns]
    naturals = [_natural(column, cells) for column in columns]
    left = width - sum(widths) - len(_GAP) * (len(columns) - 1)
    lacking = [n for n in range(len(columns)) if naturals[n] > widths[n]]
    while left > 0 and lacking:
        share = max(left // len(lacking), 1)
        for n in lacking:
            more = min(share, naturals[n] - widths[n], left)
            widths[n], left = widths[n] + more, left - more
        lacking = [n for n in lacking if naturals[n] > widths[n]]
    return widths


def _drawn(tables: Sequence[Sequence[Column]], width: int, cells: Callable[[str], int]) -> Lines:
    text: list[str] = []
    heads: list[int] = []
    for columns in tables:
        if text:
            text.append("")
        heads.append(len(text))
        text.extend(_grid(columns, width, cells))
    return Lines(tuple(text), frozenset(heads))


def _grid(columns: Sequence[Column], width: int, cells: Callable[[str], int]) -> Iterator[str]:
    """The head, a rule, and the rows; a row has as many lines as its longest folded cell."""
    widths = _widths(columns, width, cells)
    yield _line([column.head for column in columns], columns, widths, cells)
    yield RULE * (sum(widths) + len(_GAP) * (len(columns) - 1))
    for row in zip(*(column.cells for column in columns), strict=True):
        parts = [
            folded(cell, wide, cells, column.kind)
            for cell, wide, column in zip(row, widths, columns, strict=True)
        ]
        for n in range(max(map(len, parts))):
            of_line = [part[n] if n < len(part) else "" for part in parts]
            yield _line(of_line, columns, widths, cells)


def _line(
    texts: Sequence[str],
    columns: Sequence[Column],
    widths: Sequence[int],
    cells: Callable[[str], int],
) -> str:
    aligned = []
    for text, column, width in zip(texts, columns, widths, strict=True):
        room = " " * (width - cells(text))
        aligned.append(room + text if column.kind == "number" else text + room)
    return _GAP.join(aligned).rstrip()


def _blocks(columns: Sequence[Column], width: int, cells: Callable[[str], int]) -> Lines:
    """A block for each row: its name, and under it a line for each column that says something."""
    first, *others = columns
    label = max((cells(column.head) for column in others), default=0)
    text: list[str] = []
    heads: list[int] = []
    for row, name in enumerate(first.cells):
        lines = folded(name, width, cells, first.kind)
        heads.extend(range(len(text), len(text) + len(lines)))
        text.extend(lines)
        for column in others:
            if column.cells[row]:
                text.extend(_labelled(column, row, label, width, cells))
    return Lines(tuple(text), frozenset(heads))


def _labelled(
    column: Column, row: int, label: int, width: int, cells: Callable[[str], int]
) -> Iterator[str]:
    start = _INDENT + column.head + " " * (label - cells(column.head)) + _GAP
    kind: Kind = "prose" if column.kind in ("plain", "number") else column.kind
    for line in folded(column.cells[row], max(width - cells(start), 1), cells, kind):
        yield (start + line).rstrip()
        start = " " * cells(start)


def folded(text: str, width: int, cells: Callable[[str], int], kind: Kind) -> list[str]:
    """Text in lines of so many cells, broken where its kind may be, else anywhere."""
    if cells(text) <= width or kind not in _WORDS:
        return [text]
    lines, line = [], ""
    for word in re.findall(_WORDS[kind], text):
        if cells((line + word).rstrip()) <= width:
            line += word
            continue
        if line.rstrip():
            lines.append(line.rstrip())
        *whole, line = _broken(word, width, cells, kind)
        lines.extend(whole)
    lines.append(line.rstrip())
    if kind == "name" and len(lines) > _MOST_LINES:
        return [lines[0], LEFT_OUT + _end(text, width - cells("..."), cells)]
    return lines


def _end(text: str, width: int, cells: Callable[[str], int]) -> str:
    """As much of the end of a text as fits."""
    start = len(text)
    while start and cells(text[start - 1 :]) <= width:
        start -= 1
    return text[start:]


def _broken(word: str, width: int, cells: Callable[[str], int], kind: Kind) -> list[str]:
    """A word in lines; the last keeps the spaces behind it."""
    if cells(word.rstrip()) <= width:
        return [word]
    if kind == "list":
        *whole, last = folded(word, width, cells, "prose")
        return [*whole, last + " " * (len(word) - len(word.rstrip()))]
    lines, line = [], ""
    for character in word:
        if line and cells((line + character).rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += character
    return [*lines, line]


def columns_of(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str],
    names: Sequence[str] = (),
    prose: Sequence[str] = (),
    lists: Sequence[str] = (),
) -> list[Column]:
    """Columns from rows; the first is one of names, if it is not said to be anything else."""
    kinds: dict[str, Kind] = {
        **dict.fromkeys(right, "number"),
        **dict.fromkeys(names, "name"),
        **dict.fromkeys(prose, "prose"),
        **dict.fromkeys(lists, "list"),
    }
    return [
        Column(head, tuple(row[n] for row in rows), kinds.get(head, "plain" if n else "name"))
        for n, head in enumerate(heads)
    ]
