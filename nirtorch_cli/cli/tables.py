"""Tables on stdout: in a terminal by rich and as wide as it is, in a pipe plain lines.

In: heads and rows of text. In a terminal, empty columns are left out and text is folded; if the
table is still too wide, a narrower form is used if the caller has one, and otherwise every row
becomes a block with a line per column. In a pipe nothing is left out, folded or cut.

Always holds: no number and no head is broken. Cost: linear in the text.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nirtorch_cli.cli.terminal import can_draw, has_colours
from nirtorch_cli.findings.text import printable

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from nirtorch_cli.running.activity import NodeActivity

_GAP = 2
_LEAST = 10
"""The least width to which text is folded, in cells."""

Form = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Heads, and rows with a cell for each."""


def table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    folds: Sequence[str] = (),
    narrow: Form | None = None,
) -> None:
    """Print a table.

    Arguments:
        right: columns of numbers, which are aligned there.
        folds: columns that may be folded, beside the first.
        narrow: heads and rows with the same content in less width.
    """
    forms = [
        (texts, [[printable(cell) for cell in row] for row in cells])
        for texts, cells in [(heads, rows), *([narrow] if narrow else [])]
    ]
    if not can_draw(sys.stdout):
        _write_plain(*forms[0], right)
        return
    from rich.console import Console

    console = Console(force_terminal=True, color_system="auto" if has_colours(sys.stdout) else None)
    console.print(fitted(forms, right, folds, console.width), crop=False)


def fitted(
    forms: Sequence[Form], right: Sequence[str], folds: Sequence[str], width: int
) -> RenderableType:
    """The first of these forms that fits into the width, or else a block for each row."""
    tables = (_table(*form, right, folds, width) for form in forms)
    return next((found for found in tables if found is not None), _blocks(*forms[0]))


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Sequence[str],
    folds: Sequence[str],
    width: int,
) -> Table | None:
    """A table of that width; None if something would have to be broken that cannot be folded."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    used = [n for n in range(len(heads)) if not n or any(row[n] for row in rows)]
    widths = {n: max(map(cell_len, (heads[n], *(row[n] for row in rows)))) for n in used}
    foldable = {n for n in used if not n or heads[n] in folds}

    def at(most: int) -> dict[int, int]:
        """The width of each column if text, but not heads, is folded to `most` cells."""
        return {
            n: min(wide, max(most, cell_len(heads[n]))) if n in foldable else wide
            for n, wide in widths.items()
        }

    space = width - _GAP * (len(used) - 1)
    most = next((m for m in range(space, _LEAST - 1, -1) if sum(at(m).values()) <= space), None)
    if most is None:
        return None
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for n, wide in at(most).items():
        drawn.add_column(
            Text(heads[n]),
            width=wide,
            justify="right" if heads[n] in right else "left",
            overflow="fold",
        )
    for row in rows:
        drawn.add_row(*(Text(row[n]) for n in used))
    return drawn


def _blocks(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> RenderableType:
    """For each row its name, and under it a line for each column that is not empty."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    lines: list[RenderableType] = []
    for name, *cells in rows:
        block = Table.grid(padding=(0, _GAP))
        block.add_column(min_width=max(map(len, heads[1:]), default=0) + _GAP)
        block.add_column(overflow="fold", min_width=_LEAST)
        for label, cell in zip(heads[1:], cells, strict=True):
            if cell:
                block.add_row(Text(" " * _GAP + label), Text(cell))
        lines += [Text(name, "bold", overflow="fold"), block]
    return Group(*lines)


def _write_plain(heads: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    """Print columns as wide as their widest cell, without rich, whose import takes 35 ms."""
    lines = [list(heads), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        aligned = [
            cell.rjust(width) if head in right else cell.ljust(width)
            for cell, width, head in zip(line, widths, heads, strict=True)
        ]
        print("  ".join(aligned).rstrip())


def show_activity(activities: Sequence[NodeActivity]) -> None:
    """Print how much the neurons of each node fired; nothing without spiking nodes."""
    from nirtorch_cli.running.activity import COLUMNS, NARROW_COLUMNS, RIGHT, activity_rows, folded

    shown = folded(activities) if sys.stdout.isatty() else list(activities)
    if shown:
        print()
        narrow = (NARROW_COLUMNS, activity_rows(shown, narrow=True))
        table(COLUMNS, activity_rows(shown), right=RIGHT, narrow=narrow)
