"""The files that signals are read from and written to: the registry, and reading by content.

In: a `FilePart`. Out: the array in it, and whether its axes are (T, B, neurons), as in NIR data and
.csv, or those of a saved array; or the `Events` in it, see `events`. The first bytes decide the
format, so that stdin needs no name; a suffix of another format is an error. Cost: linear in the
bytes; of a .npy file, whose numbers lie in it as they are, only those are read that are used. Those
of NIR data that are packed are unpacked onto the disk, if they are many.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from typing import BinaryIO

from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.reading.file_kinds import HDF5_SIGNATURE
from nirtorch_cli.reading.formats import Format, format_by_content, format_by_suffix, format_named
from nirtorch_cli.reading.sources import FilePart, bytes_of
from nirtorch_cli.running.signals.binning import require_same_step
from nirtorch_cli.running.signals.csv import named_table_of, table_of
from nirtorch_cli.running.signals.events import Events, columns_of, events_of
from nirtorch_cli.running.signals.npz import (
    DT,
    NPY_SIGNATURE,
    NPZ_SIGNATURES,
    array_of,
    arrays_of_names,
    names_of,
    only_array_of,
    step_of,
)

_HERE, _THERE = "nirtorch_cli.running.signals.formats", "nirtorch_cli.running.signals.outputs"

SIGNALS = (
    Format(
        "npz",
        (".npz",),
        writer=f"{_THERE}:write_npz",
        reader=f"{_HERE}:read_npz",
        called="a .npz file",
        signatures=NPZ_SIGNATURES,
    ),
    Format(
        "csv", (".csv",), writer=f"{_THERE}:write_table", reader=f"{_HERE}:read_csv", called="text"
    ),
    Format(
        "nir",
        (".nir", ".h5", ".hdf5"),
        writer=f"{_THERE}:write_nir",
        reader=f"{_HERE}:read_nir",
        called="an HDF5 file",
        signatures=(HDF5_SIGNATURE,),
    ),
    Format(
        "npy",
        (".npy",),
        reader=f"{_HERE}:read_npy",
        called="a .npy file",
        signatures=(NPY_SIGNATURE,),
    ),
)
"""The formats of inputs, outputs and recordings."""


_LOOKED_AT = 64
"""How many bytes tell the format of a file."""


@dataclass(frozen=True)
class FileArray:
    """values: the numbers. is_flat: whether their axes are (T, B, neurons)."""

    values: Array
    is_flat: bool


def recording_of(
    source: FilePart, *, dt: float, max_bytes: int | None, stdin: BinaryIO | None
) -> FileArray | Events:
    """Read a file.

    Raises:
        ReadError: it does not exist, is damaged or too large, or does not hold a single array of
        numbers. UsageError: it was recorded at another dt.
    """
    content = view_of(source) or bytes_of(source, stdin, max_bytes)
    found, promised = format_of(bytes(content[:_LOOKED_AT])), format_by_suffix(source.file, SIGNALS)
    if promised is not None and promised.signatures and found is not promised:
        hint = None if found.name == "csv" else f"it looks like {found.called}: name it so"
        raise source.problem(f"is not {promised.called}", hint)
    values: Array | Events = found.read()(content, source, dt, max_bytes)
    if isinstance(values, Events):
        return values
    if values.dtype.kind not in "biuf":
        raise source.problem(f"holds {values.dtype}, not real numbers")
    return FileArray(values, found.name in ("csv", "nir"))


def format_of(content: bytes) -> Format:
    """The format that the bytes of a file are in; .csv where nothing else is seen."""
    return format_by_content(content, SIGNALS) or format_named("csv", SIGNALS)


def read_npz(content: bytes, source: FilePart, dt: float, max_bytes: int | None) -> Array | Events:
    """The only array of an archive, or the one that `source` names; or its columns of events."""
    chosen = columns_of(source, names_of(content, source))
    if chosen is not None:
        columns = arrays_of_names(content, source, max_bytes, chosen)
        return events_of(columns, source)
    step = None if source.part == DT else step_of(content, source, max_bytes)
    if step is not None:
        require_same_step(step, dt, file=source.name, node=None)
    return _structured(only_array_of(content, source, max_bytes), source)


def read_nir(
    content: bytes | memoryview, source: FilePart, dt: float, max_bytes: int | None
) -> Array | Events:
    """The only observable of NIR data, or the one that `source` names; or columns of events."""
    from nirtorch_cli.running.signals.nirdata import recorded  # imports h5py

    given = source.file if isinstance(content, memoryview) else content
    return recorded(given, source, dt, max_bytes)


def view_of(source: FilePart) -> memoryview | None:
    """The bytes of a .npy or HDF5 file, each read when it is used; None for any other."""
    try:
        if not os.path.isfile(source.file):  # a pipe can be opened once only
            return None
        with open(source.file, "rb") as stream:
            if not stream.read(_LOOKED_AT).startswith((NPY_SIGNATURE, HDF5_SIGNATURE)):
                return None
            return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None  # why it cannot be opened, `bytes_of` says


def read_npy(
    content: bytes | memoryview, source: FilePart, dt: float, max_bytes: int | None
) -> Array | Events:
    """The array of a .npy file; a structured one of events is its columns."""
    values = array_of(content, source, max_bytes)
    found = _structured(values, source)
    if not isinstance(found, Events):
        _require_whole(source)
    return found


def read_csv(content: bytes, source: FilePart, dt: float, max_bytes: int | None) -> Array | Events:
    """The numbers of a .csv file; columns with the names of events are events."""
    named = named_table_of(content, source, max_bytes)
    chosen = None if named is None else columns_of(source, named.names)
    if named is not None and chosen is not None:
        columns = {name: named.table[:, named.names.index(name)] for name in chosen}
        return events_of(columns, source, named.lines)
    _require_whole(source)
    return table_of(content, source, max_bytes)


def _structured(values: Array, source: FilePart) -> Array | Events:
    """A structured array of events as its columns; other arrays as they are."""
    names = values.dtype.names
    chosen = None if names is None else columns_of(source, names)
    if chosen is None:
        return values
    return events_of({name: values.reshape(-1)[name] for name in chosen}, source)


def _require_whole(source: FilePart) -> None:
    if source.part is not None:
        raise source.problem(f"holds one array only, and no {source.part!r}")
