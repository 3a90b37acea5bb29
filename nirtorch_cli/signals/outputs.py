"""What came out of a run, to a file whose name says the form.

In: arrays (T, B, *shape) with what they are of. Out: a file, whole or not at all.

    .npz                 every array: `output`, or one by each Output's name, and `node:v`;
                         and `dt`, the length of a step
    .csv                 one array, see `tables`
    .nir .h5 .hdf5       NIR data, which nir.read_data and --input read, see `nirdata_writing`

Cost: linear in the numbers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nirtorch_cli.errors import UsageError
from nirtorch_cli.findings import Finding, listed, quoted
from nirtorch_cli.signals.archives import DT, archive_of
from nirtorch_cli.signals.tables import csv_of
from nirtorch_cli.writing import written

Array = np.ndarray[Any, Any]

FORMS = {".npz": "npz", ".csv": "csv", ".nir": "nirdata", ".h5": "nirdata", ".hdf5": "nirdata"}
"""What a name ends in, and what is written then."""


@dataclass(frozen=True)
class Label:
    """What an array is of: the NIR path of a node, and what of it was observed.

    is_output: whether it is what an Output of the model gave; is_only: whether there is no
    other such.
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


def refuse_form(path: str, labels: Sequence[Label]) -> None:
    """Look at a file's name before anything is run: can it hold what is to be written?

    Raises:
        UsageError: it ends in no known suffix, or that form does not hold these arrays.
    """
    form = FORMS.get(os.path.splitext(path)[1].lower())
    if form is None:
        text = f"the name {quoted(path)} does not say which format is meant"
        raise _error(text, f"give one that ends in {', '.join(FORMS)}")
    keys = [label.key for label in labels]
    if form == "csv" and len(keys) > 1:
        text = f"{quoted(path)}: a .csv file holds one array, and there are {len(keys)}"
        raise _error(text, f"write an .npz file for {listed(keys)}")
    if form == "npz" and DT in keys:
        text = f"two arrays would be called {quoted(DT)}: the output, and the length of a step"
        raise _error(text, "write NIR data (.nir)")
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _error(f"two arrays would be called {quoted(twice)}", "leave one out of --record")
    if form == "nirdata":
        from nirtorch_cli.signals.nirdata_writing import refuse_unstorable

        refuse_unstorable({label.node: None for label in labels})
        for label in labels:
            if label.variable == "count":
                text = f"{quoted(label.key)} has no axis of time, which NIR data need"
                raise _error(text, "write an .npz file")


def write_signals(
    path: str, signals: Sequence[tuple[Label, Array]], dt: float, *, clobber: bool = True
) -> None:
    """Write arrays (T, B, *shape).

    Arguments:
        path: what it ends in says the form.
        dt: the length of a step, which an archive and NIR data hold.
        clobber: replace a file that is there already.

    Raises:
        UsageError: see `refuse_form`.
        OutputError: the file cannot be written, or exists and `clobber` is False.
    """
    refuse_form(path, [label for label, _ in signals])
    form = FORMS[os.path.splitext(path)[1].lower()]
    if form == "npz":
        arrays = {label.key: array for label, array in signals}
        content = archive_of({**arrays, DT: np.array(dt, np.float64)})
    elif form == "csv":
        content = csv_of(signals[0][1])
    else:
        from nirtorch_cli.signals.nirdata_writing import nirdata_of

        nodes: dict[str, dict[str, Array]] = {}
        for label, array in signals:
            of_node = nodes.setdefault(label.node, {})
            # NIR's events are made of bool only.
            of_node[label.variable] = array.astype(bool) if _is_spikes(label, array) else array
        content = nirdata_of(nodes, dt)
    with written(path, clobber=clobber) as file:
        file.write(content)


def _is_spikes(label: Label, array: Array) -> bool:
    return label.variable == "spikes" and bool(np.isin(array, (0, 1)).all())


def _error(text: str, hint: str) -> UsageError:
    return UsageError(Finding("NIR700", "error", text, hint=hint))
