"""Small `.nir` files, written field by field, so that they can be wrong in one place.

A file is a tree of dicts (groups) and values (datasets). `model` makes a sound one,
`with_` gives a copy in which one place is another; the rules and repairs are tried on these.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Tree = dict[str, Any]


def write(path: Path, tree: Tree) -> Path:
    """Write a tree as an HDF5 file."""
    with h5py.File(path, "w") as file:
        _fill(file, tree)
    return path


def _fill(group: h5py.Group, tree: Tree) -> None:
    for name, value in tree.items():
        if isinstance(value, dict):
            _fill(group.create_group(name), value)
        elif callable(value):
            value(group, name)
        elif isinstance(value, str) or (name == "edges" and len(value)):
            group.create_dataset(name, data=value, dtype=h5py.string_dtype())
        else:
            group.create_dataset(name, data=value)


def model(nodes: Tree, edges: Sequence[tuple[str, str]], version: str = "1.0.8") -> Tree:
    """The tree of a file."""
    return {"version": version, "node": graph(nodes, edges)}


def graph(nodes: Tree, edges: Sequence[tuple[str, str]]) -> Tree:
    return {"type": "NIRGraph", "nodes": nodes, "edges": list(edges)}


def chain(**nodes: Tree) -> Tree:
    """Nodes in a row, as a file."""
    names = list(nodes)
    return model(nodes, list(zip(names, names[1:])))  # noqa: RUF007 (names is short)


def inlet(*shape: int) -> Tree:
    return {"type": "Input", "shape": np.array(shape)}


def outlet(*shape: int) -> Tree:
    return {"type": "Output", "shape": np.array(shape)}


def scale(*values: float) -> Tree:
    return {"type": "Scale", "scale": np.array(values, dtype=np.float32)}


def linear(*shape: int) -> Tree:
    return {"type": "Linear", "weight": np.full(shape, 0.5, dtype=np.float32)}


def lif(size: int = 2, **values: Any) -> Tree:
    """A LIF node; a value of its own for a parameter replaces the usual one."""
    usual = {"tau": 5e-4, "r": 5.0, "v_leak": 0.01, "v_threshold": 0.1, "v_reset": 0.0}
    arrays = {name: np.full(size, value, dtype=np.float32) for name, value in usual.items()}
    return {"type": "LIF", **arrays, **{n: np.asarray(value) for n, value in values.items()}}


def integrate_and_fire(size: int = 2, **values: Any) -> Tree:
    usual = {"r": 1.0, "v_threshold": 0.25, "v_reset": 0.0}
    arrays = {name: np.full(size, value, dtype=np.float32) for name, value in usual.items()}
    return {"type": "IF", **arrays, **{n: np.asarray(value) for n, value in values.items()}}


def cuba_lif(size: int = 2, **values: Any) -> Tree:
    both = {"tau_syn": 5e-4, "tau_mem": 5e-4, "w_in": 1.0}
    arrays = {name: np.full(size, value, dtype=np.float32) for name, value in both.items()}
    node = {**lif(size), **arrays, "type": "CubaLIF", **values}
    del node["tau"]
    return node


def delay(*seconds: float) -> Tree:
    return {"type": "Delay", "delay": np.array(seconds, dtype=np.float64)}


def conv(weight: Sequence[int], **values: Any) -> Tree:
    """A Conv2d with a kernel of `weight`'s shape on 5 x 6 pixels."""
    return {
        "type": "Conv2d",
        "weight": np.full(weight, 0.25, dtype=np.float32),
        "bias": np.zeros(weight[0], dtype=np.float32),
        "stride": np.array([1, 1]),
        "padding": np.array([0, 0]),
        "dilation": np.array([1, 1]),
        "groups": 1,
        "input_shape": np.array([5, 6]),
        **values,
    }


def flatten(shape: Sequence[int], start: int, end: int = -1) -> Tree:
    return {
        "type": "Flatten",
        "input_type": np.array(shape),
        "start_dim": start,
        "end_dim": end,
    }


def with_(tree: Tree, place: str, value: Any) -> Tree:
    """The tree with another value at a place; None takes the place out."""
    changed = copy.deepcopy(tree)
    *path, last = place.split("/")
    group = changed
    for name in path:
        group = group[name]
    if value is None:
        del group[last]
    else:
        group[last] = value
    return changed


def sound() -> Tree:
    """input -> w -> lif -> output, with nothing to say about it."""
    return chain(input=inlet(3), w=linear(2, 3), lif=lif(2), output=outlet(2))


def loop(*edges: tuple[str, str], **nodes: Tree) -> Tree:
    """input -> lif -> output with more nodes and edges."""
    usual = {"input": inlet(2), "lif": lif(2), "output": outlet(2)}
    return model({**usual, **nodes}, [("input", "lif"), ("lif", "output"), *edges])


def nested(inside: Tree) -> Tree:
    """A graph between the ports of another."""
    return chain(input=inlet(2), nest=inside, output=outlet(2))
