"""Writes arrays to a NIR data file that `nir.read_data` can read.

In: signals (T, B, *shape) by the path of their node and the name of the variable. Out: an HDF5 file
of `TimeGriddedData`, (B, T, neurons), with dt. Neurons of several axes are in C order. The data and
attributes are those of `nir.write_data`, which is not used because (in nir 1.0.8) it never ends on
a nested graph. Cost: linear; memory for one part of a signal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import h5py

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.running.signals.signal import Signal, blocks

_CHUNK = 2**16
"""About how many numbers a chunk of the file holds: whole steps of some batch rows."""


def write_nirdata(stream: BinaryIO, nodes: Mapping[str, Mapping[str, Signal]], dt: float) -> None:
    """Write a NIR data file with the observables of each node, by the node's NIR path.

    Arguments:
        stream: can be read and written anywhere, as HDF5 needs it.

    Raises:
        UsageError: see `require_storable`.
    """
    require_storable(nodes)
    with h5py.File(stream, "w") as file:
        top = _graph(file)
        for path, observables in nodes.items():
            *graphs, name = path.split("/")
            group = top
            for graph in graphs:
                group = (
                    group[f"{graph}/nodes"] if graph in group else _graph(group.create_group(graph))
                )
            node = group.create_group(name)
            node.attrs["__type__"] = "NIRNodeData"
            inside = node.create_group("observables")
            for variable, values in observables.items():
                _write(inside.create_group(variable), values, dt)


def require_storable(paths: Mapping[str, Any]) -> None:
    """Refuse to write both the output of a nested graph and variables of its nodes.

    Raises:
        UsageError: in a NIR data file, a graph has nodes and no observables.
    """
    for path in paths:
        if any(other.startswith(f"{path}/") for other in paths):
            text = "NIR data hold either a nested graph's output or that of its nodes"
            raise UsageError("NIR700", text, path, hint="write an .npz file")


def _graph(group: Any) -> Any:
    group.attrs["__type__"] = "NIRGraphData"
    return group.create_group("nodes")


def _write(group: Any, signal: Signal, dt: float) -> None:
    group.attrs["__type__"] = "TimeGriddedData"
    group.attrs["dt"] = dt
    steps, batch = signal.shape[:2]
    neurons = math.prod(signal.shape[2:])
    shape, parts = (batch, steps, neurons), list(blocks(steps, signal.width))
    packing: dict[str, Any] = {}
    if math.prod(shape):
        length = parts[0][1]  # no chunk is packed twice: parts of time end where chunks do
        rows = max(1, min(batch, _CHUNK // (length * neurons)))
        packing = {"compression": "gzip", "chunks": (rows, length, neurons)}
    data = group.create_dataset("data", shape, signal.dtype, **packing)
    for start, stop in parts if math.prod(shape) else ():
        part = signal.part(start, stop).reshape(stop - start, batch, neurons)
        data[:, start:stop] = part.swapaxes(0, 1)
