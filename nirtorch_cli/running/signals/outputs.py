"""Writes the results of a run to a file, in the format of its suffix, or to a stream.

In: signals (T, B, *shape) with their labels. Out: a complete file, or none.

    .npz                 every array: `output`, or one by each Output's name, and `node:v`;
                         and `dt`, the length of a step
    .csv                 one array, or several in groups of columns, see `csv`
    .nir .h5 .hdf5       NIR data, which nir.read_data and --input read, see `nirdata_writing`

Cost: linear in the numbers; memory for one part of a signal.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from nirtorch_cli.conversion.artefacts.atomic import atomic_write
from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.formats import Format, format_named, format_to_write
from nirtorch_cli.running.signals.csv import write_csv
from nirtorch_cli.running.signals.formats import SIGNALS
from nirtorch_cli.running.signals.npz import DT, write_archive
from nirtorch_cli.running.signals.signal import Signal

_TIMED = {"csv": "a .csv file needs", "nir": "NIR data need"}
"""What holds no array without an axis of time."""


@dataclass(frozen=True)
class Label:
    """What an array holds: the NIR path of a node, and a variable of it.

    is_output: whether it is an Output of the model; is_only: whether it is the only Output.
    """

    node: str
    variable: str = "output"
    is_output: bool = False
    is_only: bool = False

    @property
    def key(self) -> str:
        """The array's name in an archive."""
        if self.is_output:
            return "output" if self.is_only else self.node
        return f"{self.node}:{self.variable}"


def form_of(path: str, form: str | None = None) -> Format:
    """The format in which signals are written to a file.

    Arguments:
        form: the name of one, whatever that of the file; None to go by what that ends in.

    Raises:
        UsageError: see `format_to_write`.
    """
    if form is not None:
        return format_named(form, SIGNALS)
    return format_to_write(path, SIGNALS, "a recording", or_else=", or give --format")


def check_format(path: str, labels: Sequence[Label], form: str | None = None) -> None:
    """Check before a run that the file's format can hold the arrays that will be written.

    Raises:
        UsageError: see `form_of`; or that form does not hold these arrays.
    """
    chosen = form_of(path, form).name
    keys = [label.key for label in labels]
    if chosen == "npz" and DT in keys:
        text = f"two arrays would be called {quoted(DT)}: the output, and the length of a step"
        raise UsageError(text, hint="write NIR data (.nir)")
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UsageError(
            f"two arrays would be called {quoted(twice)}", hint="leave one out of --record"
        )
    for label in labels if chosen in _TIMED else ():
        if label.variable == "count":
            text = f"{quoted(label.key)} has no axis of time, which {_TIMED[chosen]}"
            raise UsageError(text, hint="write an .npz file")
    if chosen == "nir":
        from nirtorch_cli.running.signals.nirdata_writing import require_storable

        require_storable({label.node: None for label in labels})


def write_signals(
    target: str | BinaryIO,
    signals: Sequence[tuple[Label, Signal | Array]],
    dt: float,
    *,
    form: str | None = None,
    clobber: bool = True,
) -> None:
    """Write arrays (T, B, *shape).

    Arguments:
        target: a path, or a stream of bytes, for which the format must be given.
        dt: the length of a step, which .npz files and NIR data hold too.
        form: `npz`, `csv` or `nir`; None to go by what the path ends in.
        clobber: replace a file that is there already.

    Raises:
        UsageError: see `check_format`.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    path = target if isinstance(target, str) else "<stream>"
    check_format(path, [label for label, _ in signals], form)
    write = form_of(path, form).write()
    held = [(label, a if isinstance(a, Signal) else Signal.of(a)) for label, a in signals]
    with contextlib.ExitStack() as stack:
        file = target
        if isinstance(file, str):
            file = stack.enter_context(atomic_write(file, clobber=clobber))
        if file.seekable() and file.readable():
            write(file, held, dt)
            return
        # A pipe takes what comes; archives and HDF5 files are not written from start to end.
        spool = stack.enter_context(tempfile.TemporaryFile())
        write(spool, held, dt)
        spool.seek(0)
        shutil.copyfileobj(spool, file)


def write_npz(file: BinaryIO, signals: Sequence[tuple[Label, Signal]], dt: float) -> None:
    """Write an archive of all arrays, with dt."""
    arrays = {label.key: signal for label, signal in signals}
    write_archive(file, {**arrays, DT: np.array(dt, np.float64)})


def write_table(file: BinaryIO, signals: Sequence[tuple[Label, Signal]], dt: float) -> None:
    """Write a table of one array, or of several in groups of columns."""
    write_csv(file, {label.key: signal for label, signal in signals})


def write_nir(file: BinaryIO, signals: Sequence[tuple[Label, Signal]], dt: float) -> None:
    """Write NIR data."""
    from nirtorch_cli.running.signals.nirdata_writing import write_nirdata

    nodes: dict[str, dict[str, Signal]] = {}
    for label, signal in signals:
        of_node = nodes.setdefault(label.node, {})
        # NIR makes events from bool arrays only.
        of_node[label.variable] = signal.cast(bool) if _is_spikes(label, signal) else signal
    write_nirdata(file, nodes, dt)


def _is_spikes(label: Label, signal: Signal) -> bool:
    return label.variable == "spikes" and all(
        bool(np.isin(part, (0, 1)).all()) for part in signal.parts()
    )
