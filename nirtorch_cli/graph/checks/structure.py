"""Can this graph be executed? One small function per rule.

In: a `nir.NIRGraph` with names as text. Out: findings, those of nested graphs included.
Cost: linear in nodes and edges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import nir

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, listed, quoted
from nirtorch_cli.graph.loops import Neighbours, neighbours
from nirtorch_cli.reading.limits import MAX_NESTING


def examine(graph: nir.NIRGraph) -> list[Finding]:
    """What the rules find in a graph and in those nested in it."""
    return list(_examined(graph, "", 0))


def _examined(graph: nir.NIRGraph, path: str, depth: int) -> Iterator[Finding]:
    """`examine` for a graph nested in `depth` others; `path` holds their names and its own."""
    if depth > MAX_NESTING:
        yield Finding("NIR011", "error", f"graphs nested over {MAX_NESTING} deep", path)
        return
    found = [finding for rule in RULES for finding in rule(graph)]
    if not any(finding.severity == "error" for finding in found):
        # If anything is broken, unreachable nodes are only a consequence of it.
        found += [finding for rule in PATH_RULES for finding in rule(graph)]
    for finding in found:
        yield finding.inside(path) if path else finding
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from _examined(node, f"{path}/{name}" if path else name, depth + 1)


def dangling_edges(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR101: an edge whose source or target is not a node of the graph."""
    isolated = unconnected(graph)
    if len(isolated) == 1:
        hint = f"{quoted(isolated[0])} has no edge: is it meant?"
    elif isolated:
        hint = f"without an edge are {listed(isolated)}"
    else:
        hint = f"the graph has {listed(sorted(graph.nodes))}"
    for name, edges in sorted(dangling(graph).items()):
        source, target = edges[0]
        yield Finding(
            "NIR101",
            "error",
            f"{counted(len(edges), 'edge')} to or from {quoted(name)}, which names no node "
            f"(first {quoted(source)} -> {quoted(target)})",
            hint=hint,
        )


def unconnected(graph: nir.NIRGraph) -> list[str]:
    """The nodes without any edge."""
    connected = {name for edge in graph.edges for name in edge}
    return [name for name in graph.nodes if name not in connected]


def dangling(graph: nir.NIRGraph) -> dict[str, list[tuple[str, str]]]:
    """The edges that lead to or from a name that no node has, by that name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        for name in dict.fromkeys(edge):
            if name not in graph.nodes:
                found.setdefault(name, []).append(edge)
    return found


def ports(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR102, NIR103, NIR108: a graph needs an Input and an Output."""
    if not graph.nodes:
        yield Finding("NIR108", "error", "the graph has no nodes")
        return
    for code, kind in (("NIR102", nir.Input), ("NIR103", nir.Output)):
        if not any(isinstance(node, kind) for node in graph.nodes.values()):
            message = f"the graph has no {kind.__name__} node"
            yield Finding(code, "error", message, hint="connect one to say where data go")


def duplicate_edges(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR104: NIR's edges are a set, so an edge that appears twice is used once."""
    for (source, target), count in Counter(graph.edges).items():
        if count > 1:
            times = "twice" if count == 2 else f"{count:,} times"
            text = f"the edge {quoted(source)} -> {quoted(target)} appears {times}"
            repair = "duplicate-edges"
            yield Finding("NIR104", "warning", text, target, hint="used once", repair=repair)


def edges_into_inputs(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR105: an Input receives only what comes from outside the graph."""
    for source, target in graph.edges:
        if isinstance(graph.nodes.get(target), nir.Input):
            text = f"an Input with an edge from {quoted(source)}"
            yield Finding("NIR105", "error", text, target, hint="remove the edge")


def nodes_without_input(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR106: a node without an incoming edge; the sum of no inputs is zero."""
    fed = {target for _, target in graph.edges}
    for name, node in graph.nodes.items():
        if name not in fed and not isinstance(node, nir.Input):
            if isinstance(node, nir.Output):
                yield Finding("NIR106", "error", "no edge leads to it", name)
            else:
                text = "no edge leads to it; its input is zero"
                yield Finding("NIR106", "warning", text, name)


def nested_ports(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR107: an edge names a nested graph but not its port, so it can have only one of each."""
    for name, node in graph.nodes.items():
        if not isinstance(node, nir.NIRGraph):
            continue
        for kind in (nir.Input, nir.Output):
            count = sum(isinstance(inner, kind) for inner in node.nodes.values())
            if count > 1:
                yield Finding(
                    "NIR107",
                    "error",
                    f"a nested graph with {count} {kind.__name__} nodes",
                    name,
                    hint="an edge cannot say which one it means; move its nodes up",
                )


def self_edges(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR113: a node that receives its own output, a step later and without a weight."""
    for source, target in dict.fromkeys(graph.edges):
        if source == target and target in graph.nodes:
            text = "an edge leads from it to itself; it carries last step's value"
            yield Finding("NIR113", "warning", text, target)


_LOST = "input_"
"""How an old tracer of nirtorch begins the name of the Input that it makes for a lost edge."""


def lost_edges(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR114: an Input `input_<node>` beside another, which an exporter made for a lost edge."""
    inputs = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    for name in inputs if len(inputs) > 1 else ():
        node = name.removeprefix(_LOST)
        if name.startswith(_LOST) and (node in graph.nodes or (name, node) in graph.edges):
            text = f"an Input for {quoted(node)} beside another Input: the exporter lost the edge "
            text += "that leads there, as for a sum or a view in a traced forward"
            hint = "export again with modules only, or give this Input what the edge carried"
            yield Finding("NIR114", "warning", text, name, hint=hint)


_RECURRENT = "w_rec"


def invented_edges(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR115: recurrent weights that also feed the next layer."""
    for source, target in extra_edges(graph):
        text = f"recurrent weights that also lead to {quoted(target)}: snnTorch's exporter adds "
        text += "this edge where a recurrent layer comes first"
        hint = "put a layer before it and export again; --map snntorch leaves the edge out"
        yield Finding("NIR115", "warning", text, source, hint=hint)


def extra_edges(graph: nir.NIRGraph) -> list[tuple[str, str]]:
    """The edges from recurrent weights to another node than the neurons that they belong to."""
    edges = [edge for edge in graph.edges if edge[0] in graph.nodes and edge[1] in graph.nodes]
    following = neighbours(graph.nodes, edges)
    found = []
    for name in graph.nodes:
        if name.rpartition(".")[2] == _RECURRENT and name in following:
            own = [target for target in following[name] if name in following[target]]
            others = [target for target in following[name] if target not in own]
            found += [(name, target) for target in others if own]
    return found


RULES = (
    ports,
    dangling_edges,
    duplicate_edges,
    edges_into_inputs,
    nodes_without_input,
    nested_ports,
    self_edges,
    lost_edges,
    invented_edges,
)
"""The rules about nodes and edges one by one, in the order in which they are reported."""


def outputs_out_of_reach(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR110, NIR111: an Output that does not depend on any Input."""
    following = neighbours(graph.nodes, graph.edges)
    reached = _reached(following, _of_type(graph, nir.Input))
    outputs = _of_type(graph, nir.Output)
    dangling = [name for name in outputs if name not in reached]
    if dangling and len(dangling) == len(outputs):
        text = "no Input reaches any Output: what comes out does not depend on what goes in"
        yield Finding("NIR111", "error", text, hint="is an edge missing?")
    else:
        for name in dangling:
            yield Finding("NIR110", "warning", "no Input reaches it", name)


def nodes_out_of_reach(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR110: loops without an edge from outside."""
    fed = {target for _, target in graph.edges}
    following = neighbours(graph.nodes, graph.edges)
    reached = _reached(following, [name for name in graph.nodes if name not in fed])
    outside = [name for name in graph.nodes if name not in reached]
    outside = [name for name in outside if not isinstance(graph.nodes[name], nir.Output)]
    if outside:
        text = f"nothing leads into {listed(outside)}: no Input reaches them"
        yield Finding("NIR110", "warning", text, outside[0])


def dead_ends(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR112: nodes whose result is not used; nodes without input are reported by NIR106."""
    coming = neighbours(graph.nodes, ((target, source) for source, target in graph.edges))
    useful = _reached(coming, _of_type(graph, nir.Output))
    idle = [
        name
        for name, node in graph.nodes.items()
        if name not in useful and (coming[name] or isinstance(node, nir.Input))
    ]
    if idle:
        text = f"no Output is reached from {listed(idle)}"
        yield Finding("NIR112", "warning", text, idle[0])


PATH_RULES = (outputs_out_of_reach, nodes_out_of_reach, dead_ends)
"""The rules about paths, for graphs in which every edge joins two nodes."""


def _of_type(graph: nir.NIRGraph, kind: type[nir.NIRNode]) -> list[str]:
    return [name for name, node in graph.nodes.items() if isinstance(node, kind)]


def _reached(following: Neighbours, starts: Iterable[str]) -> set[str]:
    """The nodes that can be reached from some, these included; for membership tests only."""
    waiting = list(starts)
    seen = set(waiting)
    while waiting:
        for name in following[waiting.pop()]:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen
