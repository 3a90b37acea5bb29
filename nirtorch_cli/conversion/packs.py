"""Packs: maps that calculate as a framework does, and what they say of themselves.

In: the options of a spec, as in `snntorch:reset=zero`. Out: a node map that knows its pack: how dt
is settled, which edges its exporter invents, and what it refuses.

A pack is a `Pack` that an entry point of the group `nirtorch.maps` names:

    def entries(*, reset: Literal["subtract", "zero"] = "subtract", surrogate: str = "atan"):
        return {nir.LIF: lambda node, context: Leaky(...)}

    PACK = Pack("snnTorch", entries, verified="1.0.0", equations=__doc__, nodes={"LIF": "exact"})

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import nir

from nirtorch_cli.graph.origin import origin_of
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.graph.traces import neurons_of, traces
from nirtorch_cli.primitives.table import known_primitives

Edge = tuple[str, str]


@dataclass(frozen=True)
class Context:
    """The surroundings of a node, for a mapper that asks for them: `mapper(node, context)`.

    path: the node's NIR path. predecessors: the paths of the nodes that lead to it. in_loop:
    whether it lies in a loop. dt: the length of a step, in the unit of the time constants. graph:
    the graph that holds the node.
    """

    path: str
    predecessors: tuple[str, ...]
    in_loop: bool
    dt: float
    graph: nir.NIRGraph


@dataclass(frozen=True, eq=False)
class Pack:
    """A map that calculates as a framework does.

    Arguments:
        framework: its name. entries: makes the node map; its keyword options are those of the
            spec, typed by its signature, beside those that any map may ask for (dt, surrogate,
            ...). verified: the versions of the framework that it was compared with.
        equations: what a step is, with the source. nodes: by NIR type, "exact", under which
            condition, or why it is refused. Types of neurons that are neither here nor in the
            map are refused, since another module would calculate something else.
        traces: the relations by which a file of the framework tells dt, see `graph.traces`; none
            if dt is always the same. dt: the length of a step where the file tells none; None for
            the usual guess.
        invented_edges: the edges of a graph that its exporter adds without any meaning.
        layers: where the map of its own layers is, as `package.module:ATTR`; distribution: what
            to install for them.
    """

    framework: str
    entries: Callable[..., Mapping[Any, Callable[..., Any]]]
    verified: str
    equations: str
    nodes: Mapping[str, str]
    traces: tuple[str, ...] = ()
    dt: float | None = None
    invented_edges: Callable[[nir.NIRGraph], Iterable[Edge]] = lambda graph: ()
    layers: str | None = None
    distribution: str | None = None

    def __call__(self, **options: Any) -> PackMap:
        """The node map with these options."""
        return PackMap(self, self.entries(**options))

    def time_step(self, graph: nir.NIRNode) -> TimeStep:
        """The length of a step of a file of this framework."""
        for trace in traces(neurons_of(graph)):
            if trace.name in self.traces:
                return TimeStep(trace.dt, trace.reason)
        if self.dt is None:
            return origin_of(graph).time_step
        is_fixed = not self.traces
        told = (
            "time constants count steps"
            if is_fixed
            else "a guess, its default; the file tells none"
        )
        return TimeStep(self.dt, f"as {self.framework} has it: {told}", is_guess=not is_fixed)

    def without_invented_edges(self, graph: nir.NIRGraph) -> nir.NIRGraph:
        """The same graph without edges that the exporter adds."""
        invented = set(self.invented_edges(graph))
        if not invented:
            return graph
        edges = [edge for edge in graph.edges if edge not in invented]
        return nir.NIRGraph(graph.nodes, edges, graph.metadata, type_check=False)


class PackMap(dict[Any, Callable[..., Any]]):
    """A node map that a pack made."""

    def __init__(self, pack: Pack, entries: Mapping[Any, Callable[..., Any]]) -> None:
        super().__init__(entries)
        self.pack = pack
        for known in known_primitives():
            if known.role == "neuron" and known.type not in self:
                reason = pack.nodes.get(known.name, f"{pack.framework} exports none")
                self[known.type] = Refusal(known.name, reason)


@dataclass(frozen=True)
class Refusal:
    """A mapper for a type that a pack cannot map."""

    kind: str
    reason: str
    takes_context: bool = field(default=False, repr=False)

    def __call__(self, node: nir.NIRNode) -> NoReturn:
        raise ValueError(f"{self.kind} is not mapped: {self.reason}")
