"""Writes arrays to a NIR data file that `nir.read_data` can read.

In: arrays (T, B, *shape) by the path of their node and the name of the variable. Out: the bytes of
an HDF5 file of `TimeGriddedData`, (B, T, neurons), with dt. Neurons of several axes are in C order.
The data and attributes are those of `nir.write_data`, which is not used because (in nir 1.0.8) it
never ends on a nested graph. Cost: linear.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.primitives.broadcasting import Array

Observables = Mapping[str, Mapping[str, Array]]


def nirdata_of(nodes: Observables, dt: float) -> bytes:
    """A NIR data file with the observables of each node, by the node's NIR path.

    Raises:
        UsageError: see `require_storable`.
    """
    require_storable(nodes)
    stream = io.BytesIO()
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
    return stream.getvalue()


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


def _write(group: Any, values: Array, dt: float) -> None:
    group.attrs["__type__"] = "TimeGriddedData"
    group.attrs["dt"] = dt
    steps, batch = values.shape[:2]
    neurons = math.prod(values.shape[2:])
    data = values.reshape(steps, batch, neurons).swapaxes(0, 1)
    packing = {"compression": "gzip"} if data.size else {}
    group.create_dataset("data", data=np.ascontiguousarray(data), **packing)
