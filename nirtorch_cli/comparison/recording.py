"""A run as arrays by node and variable, and reading it from a file.

In: what `nirtorch run -o` writes. That is a file of NumPy's format .npz, with an array
(T, B, *shape) for each `node:variable`, for each Output by its name alone, and `dt`, a number;
or NIR data with `TimeGriddedData` for each variable of a node. Out: a `Recording`.
Always holds: reading runs no code of the file, and unpacks no more than is allowed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.sources import FilePart, bytes_of
from nirtorch_cli.running.recording import known_variables
from nirtorch_cli.running.signals.formats import format_of
from nirtorch_cli.running.signals.npz import DT, arrays_of


@dataclass(frozen=True)
class Recording:
    """What was recorded of a run.

    name: its name in a comparison. dt: the length of a step; None if it is not known. trace: by NIR
    path and variable (spikes, v, i, output) arrays (T, B, *shape). is_flat: whether they are (T, B,
    neurons) instead, in C order. counted: by NIR path, for a run with shorter steps than dt and
    outputs that are all 0 or 1, how often they were 1 in each dt.
    """

    name: str
    dt: float | None
    trace: Mapping[str, Mapping[str, Array]]
    is_flat: bool = False
    counted: Mapping[str, Array] = field(default_factory=dict)


def read_recording(
    path: str | os.PathLike[str],
    *,
    dt: float | None = None,
    max_bytes: int | None = None,
) -> Recording:
    """The recording in a file.

    Arguments:
        dt: the length of a step; None for that of the file, if it has one.
        max_bytes: refuse a file whose arrays are larger than this.

    Raises:
        ReadError: it is not there, damaged, too large, or holds no numbers of a run.
    """
    source = FilePart(os.fspath(path))
    content = bytes_of(source, None, max_bytes)
    kind = format_of(content).name
    if kind == "npz":
        named, said = _of_archive(content, source, max_bytes)
    elif kind == "nir":
        from nirtorch_cli.running.signals.nirdata import gridded_of  # takes nir and h5py along

        found, said = gridded_of(content, source, max_bytes)
        named = {_known(*key, "/".join(key)): array for key, array in found.items()}
    else:
        text = "is not a recording of a run (.npz, or NIR data)"
        raise source.problem(text, code="NIR023")
    trace: dict[str, dict[str, Array]] = {}
    for (node, variable), array in named.items():
        if variable != "count":  # it has no time axis, and says less than the spikes
            trace.setdefault(node, {})[variable] = array
    name, step = f"trace:{source.file}", said if dt is None else dt
    return Recording(name, step, trace, is_flat=kind == "nir")


def _of_archive(
    content: bytes, source: FilePart, max_bytes: int | None
) -> tuple[dict[tuple[str, str], Array], float | None]:
    """The arrays of a .npz file by node and variable, and dt."""
    arrays = arrays_of(content, source, max_bytes)
    step = _number(arrays[DT]) if DT in arrays else None
    if DT in arrays and arrays[DT].ndim < 2:  # an Output may have that name
        del arrays[DT]
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            text = f"{quoted(key)} holds {array.dtype}, not real numbers"
            raise source.problem(text, code="NIR023")
    parts = {key: key.rpartition(":") for key in arrays}
    return {_known(parts[key][0], parts[key][2], key): a for key, a in arrays.items()}, step


def _known(node: str, variable: str, key: str) -> tuple[str, str]:
    """The node and variable of a key; a key without a variable means the output."""
    return (node, variable) if node and variable in known_variables() else (key, "output")


def _number(array: Array) -> float | None:
    """The positive number that an array holds, if it does."""
    if array.size != 1 or array.dtype.kind not in "fiu":
        return None
    number = float(array.item())
    return number if 0 < number < math.inf else None
