"""A graph as a program built it to one of NIR nodes whose parameters are NumPy arrays.

In: a `nir.NIRGraph`, or a node. Out: the same, or a copy in which what exporters leave there is an
array: tensors, with gradients or on another device, lists and numbers. What is no node, and what
can be no array, is an error that names it. Every graph comes through here before anything looks at
its parameters; the given one is not changed, and shares no memory with an array that was a tensor.
Cost: linear in the nodes, and in the parameters that were no arrays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import nir
import numpy as np

from nirtorch_cli.findings.errors import ConversionError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.primitives.parameters import array_of, is_tensor
from nirtorch_cli.primitives.table import COUNTS, PRIMITIVES, SHAPES, SINGLE, primitive_of
from nirtorch_cli.reading.limits import MAX_NESTING

_NO_PARAMETERS = frozenset({"metadata", *SHAPES})


def with_arrays(graph: nir.NIRGraph) -> nir.NIRGraph:
    """A graph with its parameters as arrays, and those of the graphs nested in it.

    Raises:
        ConversionError: a node is none, or a parameter can be no array; lists all of them.
    """
    problems: list[Finding] = []
    found = _graph(graph, "", (), problems.append)
    if problems:
        raise ConversionError(problems)
    return found


def node_with_arrays(node: nir.NIRNode) -> nir.NIRNode:
    """`with_arrays` for a single node."""
    problems: list[Finding] = []
    found = _node(node, None, problems.append)
    if problems:
        raise ConversionError(problems)
    return found


Report = Callable[[Finding], None]


def _graph(graph: nir.NIRGraph, path: str, around: tuple[int, ...], report: Report) -> nir.NIRGraph:
    """A graph nested in others, by their ids; `path` has their names and its own, with slashes."""
    where = path.rstrip("/") or None
    if not isinstance(graph.nodes, Mapping):
        text = f"its nodes are {_kind(graph.nodes)}, not a dict of them by name"
        report(Finding("NIR006", "error", text, where))
        return graph
    if not _are_pairs(graph.edges):
        report(Finding("NIR007", "error", "are not pairs of names", where, "edges"))
    if id(graph) in around:
        report(Finding("NIR011", "error", "is a graph that holds itself", where))
        return graph
    changed: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            found = _node(node, f"{path}{name}", report)
        elif len(around) < MAX_NESTING:  # a rule says what is nested deeper
            found = _graph(node, f"{path}{name}/", (*around, id(graph)), report)
        else:
            continue
        if found is not node:
            changed[name] = found
    metadata = _metadata(graph.metadata)
    if changed or metadata is not graph.metadata:
        graph = copy.copy(graph)
        graph.nodes, graph.metadata = {**graph.nodes, **changed}, metadata
    return graph


def _node(node: nir.NIRNode, where: str | None, report: Report) -> nir.NIRNode:
    if not isinstance(node, nir.NIRNode):
        text = f"is {_kind(node)}, not a nir.NIRNode"
        report(Finding("NIR005", "error", text, where, hint="make it one, or leave it out"))
        return node
    changed: dict[str, Any] = {}
    primitive = primitive_of(node)
    for name, value in vars(node).items() if primitive is not None else ():
        if name in _NO_PARAMETERS:
            continue
        try:
            array = _parameter(node, name, value)
        except ValueError as error:
            code = "NIR006" if value is None else "NIR008"
            report(Finding(code, "error", str(error), where, name))
            continue
        if array is not value:
            changed[name] = array
    metadata = _metadata(getattr(node, "metadata", None))
    if metadata is not getattr(node, "metadata", None):
        changed["metadata"] = metadata
    if changed:
        node = copy.copy(node)
        vars(node).update(changed)
    return node


def _parameter(node: nir.NIRNode, name: str, value: Any) -> Any:
    """A parameter as an array, if it is numbers; as it is, if it is none, or counts something.

    Raises:
        ValueError: it is missing, or numbers that can be no array.
    """
    if value is None:
        if _may_be_missing(node, name):
            return value
        raise ValueError(f"is None, and {type(node).__name__} needs it")
    if isinstance(value, (np.ndarray, np.generic, str)):
        return value
    if name in COUNTS | SINGLE and not is_tensor(value):
        return value
    array = array_of(value)
    return array if array.dtype.kind in "fiub" else value


def _may_be_missing(node: nir.NIRNode, name: str) -> bool:
    primitive = primitive_of(node)
    assert primitive is not None
    if primitive.name not in PRIMITIVES:
        return name not in primitive.required
    return name not in primitive.fields or (
        primitive.shape_rule == "convolution" and name in ("bias", "input_shape")
    )


def _metadata(value: Any) -> Any:
    """Metadata with tensors as arrays; what cannot be one is no reason to fail, and stays."""
    if isinstance(value, dict):
        found = {key: _metadata(inner) for key, inner in value.items()}
        return found if any(found[key] is not value[key] for key in value) else value
    if not is_tensor(value):
        return value
    try:
        return array_of(value)
    except ValueError:
        return value


def _are_pairs(edges: Any) -> bool:
    if isinstance(edges, (str, bytes)):
        return False
    try:
        return all(len(edge) == 2 and not isinstance(edge, (str, bytes)) for edge in edges)
    except TypeError:
        return False


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    is_class = isinstance(value, type)
    return f"the class {value.__name__}" if is_class else f"of the type {type(value).__name__}"
