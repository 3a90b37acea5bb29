"""Comma-separated values: a row for each time step, a column for each neuron.

In: the bytes of a .csv file. Out: an array (T, B, neurons); and back. A first line of names is
optional. Where its first name is `batch`, that column says which batch row a line belongs to,
and the lines of each batch row are its steps in order; elsewhere B is 1. Lines that begin with
`#` and empty ones are skipped. Always holds: what is written is read back as the same numbers.
Cost: linear in the bytes.
"""

from __future__ import annotations

import io
import itertools
import math
import warnings
from typing import Any

import numpy as np

from nirtorch_cli.findings import quoted
from nirtorch_cli.signals.sources import Place

Array = np.ndarray[Any, Any]

BATCH = "batch"


def table_of(content: bytes, place: Place, max_bytes: int) -> Array:
    """The values of a .csv file, (T, B, neurons).

    Raises:
        ReadError: it is no text, a cell holds no number, lines have different lengths, or the
            batch rows have different numbers of steps.
    """
    place.claim((content.count(b",") + content.count(b"\n") + 1) * 8, max_bytes)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = "give .npy, .npz, .csv or NIR data"
        raise place.problem("holds neither arrays nor text", hint) from error
    if "\0" in text:
        raise place.problem("holds neither arrays nor text", "give .npy, .npz, .csv or NIR data")
    names, lines = _header(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's that there are no lines: said elsewhere
            table = np.loadtxt(lines, np.float64, comments="#", delimiter=",", ndmin=2)
    except ValueError as error:
        hint = "a row is a time step, a column a neuron"
        raise place.problem(f"is no table of numbers: {_first_fault(text)}", hint) from error
    if names and table.size and len(names) != table.shape[1]:
        raise place.problem(f"names {len(names)} columns and has {table.shape[1]}")
    if names and names[0] == BATCH:
        return _by_batch_row(table, place)
    return table[:, np.newaxis]


def csv_of(values: Array) -> bytes:
    """A .csv file of an array (T, B, *shape); several batch rows get a column for their number."""
    steps, batch, *shape = values.shape
    table = values.reshape(steps * batch, math.prod(shape))
    columns = ["n" + "_".join(map(str, place)) for place in np.ndindex(*shape)]
    form = "%.17g" if values.dtype == np.float64 else "%.9g"
    formats = [form] * len(columns)
    if batch != 1:
        numbers = np.tile(np.arange(batch), steps)[:, np.newaxis]
        table = np.hstack([numbers, table.astype(np.float64)])
        columns, formats = [BATCH, *columns], ["%d", *formats]
    stream = io.BytesIO()
    header = ",".join(columns)
    np.savetxt(stream, table, formats, delimiter=",", header=header, comments="")
    return stream.getvalue()


def _header(text: str) -> tuple[list[str], Any]:
    """The names in the first line, none where that is numbers already, and the other lines."""
    lines = (line for line in io.StringIO(text) if line.strip() and not line.startswith("#"))
    first = next(lines, "")
    cells = [cell.strip().strip('"') for cell in first.split(",")]
    if first and not all(map(_is_number, cells)):
        return cells, lines
    return [], itertools.chain([first] if first else [], lines)


def _first_fault(text: str) -> str:
    """What is wrong with the first line that does not fit the ones before it."""
    width = 0
    for number, line in enumerate(io.StringIO(text), start=1):
        cells = [cell.strip() for cell in line.partition("#")[0].split(",")]
        if cells == [""]:
            continue
        wrong = [cell for cell in cells if not _is_number(cell)]
        if wrong and width:
            return f"line {number} has {quoted(wrong[0][:40])}"
        if width not in (0, len(cells)):
            return f"line {number} has {len(cells)} columns, the one before it {width}"
        width = len(cells)
    return "NumPy does not read it"


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _by_batch_row(table: Array, place: Place) -> Array:
    if not table.size:
        return np.zeros((0, 1, max(table.shape[1] - 1, 0)))
    rows, counts = np.unique(table[:, 0], return_counts=True)
    if not np.array_equal(rows, np.arange(len(rows))):
        raise place.problem(f"its column {BATCH} does not count the batch rows from 0")
    if len(set(counts.tolist())) != 1:
        text = f"its batch rows have from {counts.min():,} to {counts.max():,} steps"
        raise place.problem(text, "all must have the same number")
    order = np.argsort(table[:, 0], kind="stable")
    shape = (len(rows), int(counts[0]), table.shape[1] - 1)
    by_step: Array = table[order, 1:].reshape(shape).swapaxes(0, 1)
    return by_step
