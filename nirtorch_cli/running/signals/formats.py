"""A file with a recording, of any known kind, to an array.

In: a place. Out: the array as the file has it, and whether its axes are (T, B, neurons), as
NIR data and .csv have them, or those of an array that somebody saved. The kind is seen in the
first bytes, so that stdin needs no name; a name that promises another kind is an error.
Cost: linear in the bytes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from nirtorch_cli.reading.sources import Place, bytes_of
from nirtorch_cli.running.signals.binning import refuse_other_step
from nirtorch_cli.running.signals.csv import table_of
from nirtorch_cli.running.signals.npz import (
    DT,
    NPY_SIGNATURE,
    NPZ_SIGNATURES,
    array_of,
    only_array_of,
    step_of,
)

Array = np.ndarray[Any, Any]

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PROMISED = {".npy": "npy", ".npz": "npz", ".nir": "nirdata", ".h5": "nirdata", ".hdf5": "nirdata"}
_CALLED = {"npy": "a .npy file", "npz": "a .npz file", "nirdata": "an HDF5 file"}


@dataclass(frozen=True)
class Recording:
    """values: the numbers. is_flat: whether their axes are (T, B, neurons)."""

    values: Array
    is_flat: bool


def recording_of(
    place: Place, *, dt: float, max_bytes: int | None, stdin: BinaryIO | None
) -> Recording:
    """Read a file.

    Raises:
        ReadError: it is not there, damaged, too large, holds no numbers, or several arrays.
        UsageError: it was recorded at another dt.
    """
    content = bytes_of(place, stdin, max_bytes)
    kind = kind_of(content)
    promised = _PROMISED.get(os.path.splitext(place.file)[1].lower())
    if promised is not None and kind != promised:
        found = "text" if kind == "csv" else _CALLED[kind]
        hint = f"it looks like {found}: name it so" if kind != "csv" else None
        raise place.problem(f"is not {_CALLED[promised]}", hint)
    if kind == "npz":
        step = None if place.part == DT else step_of(content, place, max_bytes)
        if step is not None:
            refuse_other_step(step, dt, file=place.name, node=None)
        values = only_array_of(content, place, max_bytes)
    elif kind == "nirdata":
        from nirtorch_cli.running.signals.nirdata import observable_of  # takes nir and h5py along

        values = observable_of(content, place, dt, max_bytes)
    elif place.part is not None:
        raise place.problem(f"holds one array only, and no {place.part!r}")
    else:
        values = (
            array_of(content, place, max_bytes)
            if kind == "npy"
            else table_of(content, place, max_bytes)
        )
    if values.dtype.kind not in "biuf":
        raise place.problem(f"holds {values.dtype}, not real numbers")
    return Recording(values, kind in ("csv", "nirdata"))


def kind_of(content: bytes) -> str:
    """`npy`, `npz`, `nirdata`, or else `csv`."""
    if content.startswith(NPY_SIGNATURE):
        return "npy"
    if content.startswith(NPZ_SIGNATURES):
        return "npz"
    return "nirdata" if content.startswith(_HDF5_SIGNATURE) else "csv"
