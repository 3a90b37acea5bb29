"""Comma-separated values: one row per time step, one column per neuron.

In: the bytes of a .csv file. Out: an array (T, B, neurons); and back. A first line of names is
optional; each name has a letter, and the line has no numbers. If the first name is `batch`, that
column has the batch row of each line, and the lines of each batch row are its steps in order;
otherwise B is 1. Empty lines and lines that begin with `#` are skipped. Several arrays are written
to one table, in groups of columns; such a table is not an input.

Always holds: written numbers are read back unchanged; a line that could be a time step is never
taken for names. Cost: linear in the bytes.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.text import counted, listed, printable, quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.sources import FilePart
from nirtorch_cli.running.signals.events import are_events
from nirtorch_cli.running.signals.signal import Signal, blocks

BATCH = "batch"

_GROUPED = re.compile(r"(.*)\[[0-9_]*\]")
"""The name of a column of one of several arrays."""

_LONGEST_HEAD = 2**10
"""The bytes in which the names of events are looked for."""

_FEWEST_COUNTED = 3
"""With at least this many columns, `0,1,2` numbers the columns; `0,1` could as well be spikes."""


def table_of(content: bytes, source: FilePart, max_bytes: int | None) -> Array:
    """The values of a .csv file, (T, B, neurons).

    Raises:
        ReadError: it is not text, a cell does not hold a number, lines have different lengths, the
        columns are those of several arrays, or the batch rows have different numbers of steps.
    """
    names, table = _table(content, source, max_bytes)
    has_rows = bool(names) and names[0].lower() == BATCH
    _require_one_array(names[1:] if has_rows else names, source)
    if has_rows:
        return _by_batch_row(table, source)
    return table[:, np.newaxis]


def _table(content: bytes, source: FilePart, max_bytes: int | None) -> tuple[list[str], Array]:
    """The names in the first line, if there are any, and the numbers."""
    claimed = (sum(map(content.count, (b",", b"\n", b"\r"))) + 1) * 8
    source.claim(claimed, max_bytes, len(content))
    text = content.decode("utf-8-sig", "replace")
    if "\0" in text or "\ufffd" in text:
        raise source.problem("holds neither an array nor text", "give .npy, .npz, .csv or NIR data")
    names, lines = _header(text, source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's own, for no lines; reported elsewhere
            table = np.loadtxt(lines, np.float64, comments="#", delimiter=",", ndmin=2)
    except ValueError as error:
        raise _first_fault(text, names, source) from error
    if names and table.size and len(names) != table.shape[1]:
        raise source.problem(f"names {counted(len(names), 'column')} and has {table.shape[1]}")
    return names, table


@dataclass(frozen=True)
class NamedTable:
    """A table whose first line is names; `lines` gives the numbers of the others in the file."""

    names: list[str]
    table: Array
    lines: Callable[[], Sequence[int]]


def named_table_of(content: bytes, source: FilePart, max_bytes: int | None) -> NamedTable | None:
    """The columns of a .csv file with the names of events; None of any other.

    Raises:
        ReadError: the lines below are no numbers, or of different lengths.
    """
    start = content[:_LONGEST_HEAD].decode("utf-8-sig", "replace")
    first = next((line for _, line in _lines(start)), "")
    names = [name.strip() for name in first.split(",")]
    if not are_events(names):
        return None
    table = _table(content, source, max_bytes)[1]

    def lines() -> Sequence[int]:
        text = content.decode("utf-8-sig", "replace")
        return [number for number, _ in _lines(text)][1:]

    return NamedTable(names, table.reshape(-1, len(names)), lines)


def write_csv(stream: BinaryIO, arrays: Mapping[str, Signal]) -> None:
    """Write arrays (T, B, *shape): of a single one a column for each neuron, `n3`, of several
    `name[3]`; and a column for the batch row if B > 1.

    >>> stream = io.BytesIO()
    >>> arrays = {"lif:v": np.zeros((1, 1, 2)), "output": np.ones((1, 1))}
    >>> write_csv(stream, {name: Signal.of(array) for name, array in arrays.items()})
    >>> stream.getvalue().decode()
    'lif:v[0],lif:v[1],output[]\\n0,0,1\\n'
    """
    steps, batch = next(iter(arrays.values())).shape[:2]
    names = [column for name, held in arrays.items() for column in _columns(name, held, arrays)]
    formats = [
        "%.17g" if held.dtype == np.float64 else "%.9g"
        for held in arrays.values()
        for _ in range(math.prod(held.shape[2:]))
    ]
    if batch != 1:
        names, formats = [BATCH, *names], ["%d", *formats]
    stream.write((",".join(map(_cell, names)) + "\n").encode())
    for start, stop in blocks(steps, batch * len(names)):
        table = _lines_of([held.part(start, stop) for held in arrays.values()])
        np.savetxt(stream, table, formats, delimiter=",", encoding="utf8")


def _columns(name: str, held: Signal, arrays: Mapping[str, Signal]) -> list[str]:
    """The names of an array's columns, with the index of each neuron: 3, or 1_0 for two axes."""
    indices = ["_".join(map(str, index)) for index in np.ndindex(*held.shape[2:])]
    if len(arrays) == 1:
        return [f"n{index}" for index in indices]
    return [f"{printable(name)}[{index}]" for index in indices]


def _lines_of(arrays: Sequence[Array]) -> Array:
    """Arrays of some steps beside each other, a line for each step and batch row."""
    steps, batch = arrays[0].shape[:2]
    tables: list[Array] = [a.reshape(steps * batch, math.prod(a.shape[2:])) for a in arrays]
    if batch != 1:
        tables = [np.tile(np.arange(batch), steps)[:, np.newaxis], *tables]
    return tables[0] if len(tables) == 1 else np.hstack([t.astype(np.float64) for t in tables])


def _cell(name: str) -> str:
    """A name as a cell, in quotes if it has characters with a meaning in .csv."""
    is_plain = name.strip() == name and not any(mark in name for mark in ',"#')
    quoted_name = name.replace('"', '""')
    return name if is_plain else f'"{quoted_name}"'


def _header(text: str, source: FilePart) -> tuple[list[str], Iterator[str]]:
    """The names in the first line, or none if it holds numbers, and the other lines.

    Raises:
        ReadError: the line is neither names nor numbers, or could be either.
    """
    lines = _lines(text)
    number, first = next(lines, (0, None))
    if first is None:
        return [], iter(())
    rest = (line for _, line in lines)
    cells = _cells(first)
    if all(map(_is_number, cells)):
        if len(cells) >= _FEWEST_COUNTED and cells == [str(i) for i in range(len(cells))]:
            text = f"line {number} is 0, 1, .. {len(cells) - 1}: are these names or a step?"
            hint = "put '#' before it if it numbers the columns, or add a line of names above it"
            raise source.problem(text, hint)
        return [], itertools.chain([first], rest)
    try:
        names = [name.strip() for name in next(csv.reader([first], skipinitialspace=True))]
    except csv.Error as error:  # a cell of 100,000 letters
        raise source.problem(f"line {number} is not a line of names: {error}", _hint("")) from error
    if not all(map(_is_name, names)):
        odd = [name for name in names if not _is_number(name)] or names
        cell = odd[0] if len(odd) < len(names) else next(n for n in names if not _is_name(n))
        where = f"it has {quoted(cell[:40])} in column {names.index(cell) + 1}"
        raise source.problem(f"line {number} is neither numbers nor names: {where}", _hint(cell))
    return names, rest


def _require_one_array(names: list[str], source: FilePart) -> None:
    """Refuse the columns of several arrays, which would be mistaken for neurons of one."""
    groups = [_GROUPED.fullmatch(name) for name in names]
    arrays = list(dict.fromkeys(group[1] for group in groups if group is not None))
    if len(arrays) > 1 and None not in groups:
        text = f"has columns of {len(arrays)} arrays, {listed(arrays)}"
        raise source.problem(text, "an input is one array: write one, or all to an .npz file")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are neither comments nor empty, with their numbers; any line ends."""
    for number, line in enumerate(io.StringIO(text, newline=None), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _cells(line: str) -> list[str]:
    """The cells of a line, as NumPy splits it."""
    return [cell.strip() for cell in line.partition("#")[0].split(",")]


def _first_fault(text: str, names: list[str], source: FilePart) -> ReadError:
    """The error for the first line that does not fit the lines before it."""
    width, fault, hint = len(names), "NumPy does not read it", _hint("")
    for number, line in itertools.islice(_lines(text), 1 if names else 0, None):
        cells = _cells(line)
        wrong = [cell for cell in cells if not _is_number(cell)]
        if wrong:
            fault, hint = f"line {number} has {quoted(wrong[0][:40])}", _hint(wrong[0])
            break
        if width not in (0, len(cells)):
            fault = f"line {number} has {counted(len(cells), 'column')}, the one before it {width}"
            break
        width = len(cells)
    return source.problem(f"is not a table of numbers: {fault}", hint)


def _hint(cell: str) -> str:
    """The hint for a cell that is not a number."""
    if not cell:
        return "no cell may be empty; pandas does not number the lines with index=False"
    if any(mark in cell for mark in ";\t "):
        return "columns are separated by commas"
    return "a row is a time step, a column a neuron"


def _is_name(cell: str) -> bool:
    return any(c.isalpha() for c in cell) and not _is_number(cell)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _by_batch_row(table: Array, source: FilePart) -> Array:
    if not table.size:
        return np.zeros((0, 1, max(table.shape[1] - 1, 0)))
    rows, counts = np.unique(table[:, 0], return_counts=True)
    if not np.array_equal(rows, np.arange(len(rows))):
        raise source.problem(f"its column {BATCH} does not count the batch rows from 0")
    if len(set(counts.tolist())) != 1:
        text = f"its batch rows have from {counts.min():,} to {counts.max():,} steps"
        raise source.problem(text, "all must have the same number")
    order = np.argsort(table[:, 0], kind="stable")
    shape = (len(rows), int(counts[0]), table.shape[1] - 1)
    by_step: Array = table[order, 1:].reshape(shape).swapaxes(0, 1)
    return by_step
