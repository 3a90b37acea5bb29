"""Inlines nested graphs that a loop passes through into the graph around them.

A nested graph is executed as one unit, which gives its output only after it has all its input. If a
loop leads through it, that would need a delay at its border that is not in the equations. So such a
graph is inlined, and those in it too: its nodes become nodes of the graph around it, named
`nested.node`. All others stay nested.

In: a structurally sound graph with shapes. Out: an equivalent one (the given graph
is not changed). Cost: linear in nodes and edges, those of nested graphs included.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import nir

from nirtorch_cli.graph.loops import Edge, cyclic_components, neighbours


@dataclass(frozen=True)
class FlatGraph:
    """The nodes of a graph, with the nested graphs on loops inlined.

    inner_ports: former ports of inlined graphs, which now only pass a value on.
    origin: for each node its NIR path, as findings name it.
    """

    nodes: dict[str, nir.NIRNode]
    edges: list[Edge]
    inner_ports: frozenset[str] = frozenset()
    origin: dict[str, str] = field(default_factory=dict)

    def is_input(self, name: str) -> bool:
        """Whether a node takes what comes from outside the graph."""
        return isinstance(self.nodes[name], nir.Input) and name not in self.inner_ports

    def is_output(self, name: str) -> bool:
        """Whether a node gives what goes outside the graph."""
        return isinstance(self.nodes[name], nir.Output) and name not in self.inner_ports


def inline(graph: nir.NIRGraph, keep: Callable[[nir.NIRNode], bool]) -> FlatGraph:
    """Inline the nested graphs that lie on a cycle, unless `keep` says that they stay whole."""
    looping = set(_looping_graphs(graph, keep))
    flattening = _Flattening(keep, set(graph.nodes) - looping)
    entries, exits = {}, {}
    for name, node in sorted(graph.nodes.items()):
        if name in looping:
            entries[name], exits[name] = flattening.open(name, name, node)
        else:
            flattening.add(name, name, node)
    flattening.edges += [(exits.get(s, s), entries.get(t, t)) for s, t in graph.edges]
    return FlatGraph(
        flattening.nodes, flattening.edges, frozenset(flattening.ports), flattening.origin
    )


def _looping_graphs(graph: nir.NIRGraph, keep: Callable[[nir.NIRNode], bool]) -> Iterator[str]:
    """The nested graphs that lie on a cycle and are not to stay whole."""
    nested = {n for n, node in graph.nodes.items() if isinstance(node, nir.NIRGraph)}
    if not nested:
        return
    for component in cyclic_components(graph.nodes, neighbours(graph.nodes, graph.edges)):
        for name in component:
            if name in nested and not keep(graph.nodes[name]):
                yield name


class _Flattening:
    """Collects the nodes and edges of a graph that is being flattened."""

    def __init__(self, keep: Callable[[nir.NIRNode], bool], taken: Collection[str]) -> None:
        self.keep = keep
        self.taken = set(taken)
        self.nodes: dict[str, nir.NIRNode] = {}
        self.edges: list[Edge] = []
        self.ports: set[str] = set()
        self.origin: dict[str, str] = {}

    def add(self, name: str, path: str, node: nir.NIRNode) -> None:
        self.nodes[name] = node
        self.origin[name] = path

    def open(self, name: str, path: str, graph: nir.NIRGraph) -> tuple[str, str]:
        """Add the inside of a nested graph; returns its Input's and its Output's new name."""
        entries = {}
        exits = {}
        entry = exit_ = ""
        for inner, node in sorted(graph.nodes.items()):
            flat, inner_path = self.free(f"{name}.{inner}"), f"{path}/{inner}"
            if isinstance(node, nir.NIRGraph) and not self.keep(node):
                entries[inner], exits[inner] = self.open(flat, inner_path, node)
                continue
            entries[inner] = exits[inner] = flat
            self.add(flat, inner_path, copy.copy(node))
            if isinstance(node, nir.Input):
                entry = flat
            elif isinstance(node, nir.Output):
                exit_ = flat
        self.ports |= {entry, exit_}
        self.edges += [(exits[source], entries[target]) for source, target in graph.edges]
        return entry, exit_

    def free(self, name: str) -> str:
        """`name`, or if a node is called so already, the first free one after it."""
        while name in self.taken:
            name += "."
        self.taken.add(name)
        return name
