"""A run as arrays by node and variable, and reading one that was written as a file.

In: a file of NumPy's format .npz, with an array (T, B, *shape) for each `node:variable`, for
each Output by its name alone, and perhaps `dt`, a number. Out: a `Recording`.
Always holds: reading runs no code of the file, and unpacks no more than is allowed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from nirtorch_cli.arrays import Array
from nirtorch_cli.findings import quoted
from nirtorch_cli.limits import DEFAULT_MAX_BYTES
from nirtorch_cli.sequences.watching import VARIABLES
from nirtorch_cli.signals.archives import NPZ_SIGNATURES, arrays_of
from nirtorch_cli.signals.sources import Place, bytes_of

DT = "dt"
"""The name of the array that holds the length of a step."""


@dataclass(frozen=True)
class Recording:
    """What was recorded of a run.

    name: what it is called in a comparison. dt: the length of a step; None if it is not known.
    trace: by NIR path and variable (spikes, v, i, output) arrays (T, B, *shape). is_flat: whether
    they are (T, B, neurons) instead, in C order. counted: by NIR path, of a run with shorter
    steps than dt, how often outputs were 1 in each dt that were nothing but 0 and 1.
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
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Recording:
    """The recording in a .npz file.

    Arguments:
        dt: the length of a step; None for that which the file says, if it does.
        max_bytes: refuse a file whose arrays are larger than this.

    Raises:
        ReadError: it is not there, damaged, too large, or no .npz file of numbers.
    """
    place = Place(os.fspath(path))
    content = bytes_of(place, None, max_bytes)
    if not content.startswith(NPZ_SIGNATURES):
        raise place.problem("is no recording of a run (.npz)", code="NIR023")
    arrays = arrays_of(content, place, max_bytes)
    held = arrays.pop(DT, None)
    trace: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise place.problem(
                f"{quoted(key)} holds {array.dtype}, not real numbers", code="NIR023"
            )
        node, colon, variable = key.rpartition(":")
        if not colon or variable not in VARIABLES:
            node, variable = key, "output"
        if variable != "count":  # it has no time, and says less than the spikes
            trace.setdefault(node, {})[variable] = array
    return Recording(f"trace:{place.file}", _number(held) if dt is None else dt, trace)


def _number(array: Array | None) -> float | None:
    """The positive number that an array holds, if it does."""
    if array is None or array.size != 1 or array.dtype.kind not in "fiu":
        return None
    number = float(array.item())
    return number if 0 < number < math.inf else None
