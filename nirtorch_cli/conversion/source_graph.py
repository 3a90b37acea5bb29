"""The NIR graph that a module was made from: kept in the module, and filled with what it learned.

In: a sound graph, and the module that was made from it. Out: a `SourceGraph` for the module's
`meta`. Later, in: the module, trained perhaps. Out: a `nir.NIRGraph`: the same nodes, edges and
metadata, and as parameters the module's tensors.

    in the file          kept                            given back
    weight, float32      that it is the tensor weight    the tensor
    tau, float64         the same, and its array, since  the array, while the tensor is what it is
                         float32 rounds it               rounded to; else the tensor
    stride, delay, ...   its value                       its value

A parameter is held by the tensor of its name, if that has its shape and numbers. Of a module that
keeps its parameters otherwise (as beta, say) all is kept, and it must not have changed.

Cost: linear in the nodes, and in the parameters that are not float32; one more copy of these.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from nirtorch_cli.conversion.graph_module import ConvertedModule
from nirtorch_cli.findings.errors import ConversionError, SaveError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import quoted
from nirtorch_cli.primitives.broadcasting import Array
from nirtorch_cli.primitives.modules.build import tensor as as_tensor

SOURCE = "graph"
"""Where the `meta` of a module keeps its `SourceGraph`."""


@dataclass(frozen=True)
class Held:
    """A parameter that a tensor of the module holds.

    dtype: in the file. array: as it is there, where the type of the tensor rounds it; rounded: that
    type.
    """

    dtype: np.dtype[Any]
    array: Array | None = None
    rounded: torch.dtype = torch.float32

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and _are_equal(vars(self), vars(other))

    def value(self, tensor: Tensor) -> Array:
        """The parameter, of the tensor as it is now."""
        if self.array is not None:
            before = _rounded(self.array, self.rounded).to(tensor.device, tensor.dtype)
            if torch.equal(before, tensor):
                return np.array(self.array)
        now = tensor.detach().cpu()
        known = now.float() if now.dtype == torch.bfloat16 else now  # which NumPy does not have
        return np.array(known.numpy(), self.dtype)


@dataclass(frozen=True, eq=False)
class SourceGraph:
    """A graph whose parameters are `Held` where its module has them.

    digests: by the NIR path of nodes whose modules keep something else too, a digest of that.
    """

    graph: nir.NIRGraph
    digests: Mapping[str, bytes]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SourceGraph) and _are_equal(vars(self), vars(other))


def source_graph(
    graph: nir.NIRGraph,
    given: nir.NIRGraph,
    module: ConvertedModule,
    references: Collection[str],
    *,
    shares: bool = False,
) -> SourceGraph:
    """What a module keeps of the graph that it was made from.

    Arguments:
        given: the graph before it was made sound, whose edges may have another order.
        references: the NIR paths of nodes that have a reference module, whose tensors are the
            parameters of the same name, whatever rounded them.
        shares: whether the graph's arrays are nobody else's, and may be kept.
    """
    modules = dict(modules_of(module))
    digests: dict[str, bytes] = {}

    def kept(node: nir.NIRNode, path: str) -> nir.NIRNode:
        mine = modules.get(path)
        written = copy.copy(node)
        tensors = {} if mine is None else tensors_of(mine)
        held = dict(_held(node, tensors, path in references, shares)) if tensors else {}
        for name, value in vars(node).items():
            vars(written)[name] = held[name] if name in held else _copied(value)
        if tensors:
            others = _digest(tensors, held)
            if others is not None:
                digests[path] = others
        return written

    return SourceGraph(_in_order(_mapped(graph, kept, modules), given), digests)


def to_nir(module: torch.nn.Module) -> nir.NIRGraph:
    """The NIR graph of a converted module, with its parameters as they are now.

    Nodes, edges, names and metadata are those of the file (or graph) that it was made from; so is
    every array that was not changed since, byte for byte.

    Raises:
        SaveError: the module of a node keeps something that is no parameter of NIR (a decay in
            place of a time constant, say), and was changed.
        ConversionError: the module was not made from a NIR graph.

    Example:
        >>> module = nir_to_torch("model.nir", {})
        >>> nir.write("tuned.nir", to_nir(module))
    """
    graph, lost, changed = _current(module)
    if lost or changed:
        raise SaveError([*lost, *changed])
    return graph


def shown_graph(module: torch.nn.Module) -> nir.NIRGraph:
    """The same for a picture: what is no parameter of NIR may have changed.

    Raises:
        SaveError: a tensor is gone. ConversionError: see `to_nir`.
    """
    graph, lost, _ = _current(module)
    if lost:
        raise SaveError(lost)
    return graph


def _current(module: torch.nn.Module) -> tuple[nir.NIRGraph, list[Finding], list[Finding]]:
    """The graph as the module has it, what the module lacks, and what it changed beside it."""
    source = getattr(module, "meta", {}).get(SOURCE)
    if not isinstance(module, ConvertedModule) or not isinstance(source, SourceGraph):
        raise ConversionError("NIR801", "it does not keep the NIR graph that it was made from")
    modules = dict(modules_of(module))
    lost: list[Finding] = []
    changed: list[Finding] = []

    def filled(node: nir.NIRNode, path: str) -> nir.NIRNode:
        written, mine = copy.copy(node), modules.get(path)
        values = vars(node)
        held = [name for name, value in values.items() if isinstance(value, Held)]
        for name, value in values.items():
            if isinstance(value, Held):
                tensor = None if mine is None else tensors_of(mine).get(name)
                if tensor is not None:
                    vars(written)[name] = value.value(tensor)
                else:
                    text = f"its module has no tensor {quoted(name)} any more"
                    lost.append(Finding("NIR508", "error", text, path))
            else:
                vars(written)[name] = _copied(value)
        if path in source.digests and (
            mine is None or _digest(tensors_of(mine), held) != source.digests[path]
        ):
            text = f"its module {type(mine).__name__} was changed, and not in NIR's parameters"
            changed.append(Finding("NIR508", "error", text, path, hint="save it as .pt or .pt2"))
        return written

    return _mapped(source.graph, filled, modules), lost, changed


def modules_of(module: ConvertedModule, prefix: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules of nodes that are no converted graphs themselves, by the nodes' NIR paths."""
    for name, nir_name in module.meta["names"].items():
        child = getattr(module, name, None)
        if isinstance(child, ConvertedModule):
            yield from modules_of(child, f"{prefix}{nir_name}/")
        elif child is not None:
            yield prefix + nir_name, child


def _mapped(
    graph: nir.NIRGraph, change: Any, modules: Collection[str], prefix: str = ""
) -> nir.NIRGraph:
    """A copy of a graph in which each node is changed, those of nested graphs too.

    A nested graph that has a module of its own is one node.
    """
    written = copy.copy(graph)
    nodes: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        path = prefix + name
        if isinstance(node, nir.NIRGraph) and path not in modules:
            nodes[name] = _mapped(node, change, modules, f"{path}/")
        else:
            nodes[name] = change(node, path)
    written.nodes, written.edges = nodes, list(graph.edges)
    written.metadata = _copied(graph.metadata)
    return written


def _in_order(graph: nir.NIRGraph, given: nir.NIRGraph) -> nir.NIRGraph:
    """The graph, with its edges in the order that they have in another."""
    there = set(graph.edges)
    first = [edge for edge in dict.fromkeys(map(tuple, given.edges)) if edge in there]
    graph.edges = list(dict.fromkeys([*first, *graph.edges]))
    for name, node in graph.nodes.items():
        other = given.nodes.get(name)
        if isinstance(node, nir.NIRGraph) and isinstance(other, nir.NIRGraph):
            _in_order(node, other)
    return graph


def _held(
    node: nir.NIRNode, tensors: Mapping[str, Tensor], is_reference: bool, shares: bool
) -> Iterator[tuple[str, Held]]:
    """The parameters of a node that tensors of its module hold, by name."""
    for name, value in vars(node).items():
        tensor = tensors.get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
            continue
        if tensor is None or tensor.shape != value.shape:
            continue
        if is_reference and value.dtype == np.float32 and tensor.dtype == torch.float32:
            yield name, Held(value.dtype)  # a copy of it
            continue
        plain = Held(value.dtype)
        if plain.value(tensor).tobytes() == value.astype(value.dtype.newbyteorder("=")).tobytes():
            yield name, plain
        elif torch.equal(_rounded(value, tensor.dtype).to(tensor.device), tensor):
            mine = value if shares and is_reference else value.copy()
            yield name, Held(value.dtype, mine, tensor.dtype)


def _copied(value: Any) -> Any:
    """A copy that shares nothing; of arrays and dicts, which most values are, in little time."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) is dict:
        return {name: _copied(inner) for name, inner in value.items()}
    return value if isinstance(value, (str, int, float, type(None))) else copy.deepcopy(value)


def _are_equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, nodes and arrays in them too, whatever the order of edges."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(
            one, other, equal_nan=one.dtype.kind == "f"
        )
    if isinstance(one, nir.NIRGraph):
        mine, theirs = ({**vars(each), "edges": sorted(each.edges)} for each in (one, other))
        return _are_equal(mine, theirs)
    if isinstance(one, nir.NIRNode):
        return _are_equal(vars(one), vars(other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_are_equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_are_equal, one, other))
    return bool(one == other)


def _rounded(array: Array, dtype: torch.dtype) -> Tensor:
    """An array as the conversion makes it a tensor: rounded once."""
    return as_tensor(array).to(dtype)


def _digest(tensors: Mapping[str, Tensor], held: Collection[str]) -> bytes | None:
    """A digest of what a module's tensors hold beside its parameters; None if that is nothing."""
    others = {name: one for name, one in tensors.items() if name not in held}
    if not others:
        return None
    found = hashlib.blake2b(digest_size=16)
    for name, one in others.items():
        value = one.detach().cpu()
        found.update(name.encode())
        found.update((value.double() if value.is_floating_point() else value).numpy().tobytes())
    return found.digest()


def tensors_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module by name, without calling methods of its class.

    Those without numbers are left out: on the meta device, or before a lazy module's first call.
    """
    return {
        f"{prefix}.{name}" if prefix else name: tensor
        for prefix, part in torch.nn.Module.named_modules(module)
        for name, tensor in (*part._parameters.items(), *part._buffers.items())
        if tensor is not None and not torch.nn.parameter.is_lazy(tensor) and not tensor.is_meta
    }
