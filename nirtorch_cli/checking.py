"""Is this graph one that can be executed? One small function a rule.

In: a `nir.NIRGraph` as read or as somebody built it. Out: findings. Nothing is
repaired and nothing is raised by a rule; `checked` raises what they found, all at once.

Codes: NIR101 dangling edge, NIR102 no Input, NIR103 no Output, NIR104 duplicate edge,
NIR105 an edge into an Input, NIR106 a node without input, NIR107 a nested graph with
several ports, NIR108 no node, NIR401 and NIR402 a time step too long for a time constant.
Cost: linear in nodes and edges.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping

import nir
import numpy as np

from nirtorch_cli.errors import StructureError
from nirtorch_cli.findings import Finding, listed, quoted
from nirtorch_cli.limits import MAX_NESTING


def checked(graph: nir.NIRGraph) -> tuple[nir.NIRGraph, list[Finding]]:
    """`examine`, for graphs that are to be executed.

    Raises:
        StructureError: the graph cannot be executed; lists every reason, nested ones too.
    """
    clean, findings = examine(graph)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise StructureError(errors)
    return clean, findings


def examine(graph: nir.NIRGraph) -> tuple[nir.NIRGraph, list[Finding]]:
    """The graph with each edge once, as tuples of str, and what the rules found in it.

    The given graph is not changed.
    """
    return _examine(graph, "", 0)


def _examine(graph: nir.NIRGraph, path: str, depth: int) -> tuple[nir.NIRGraph, list[Finding]]:
    """`examine` for a graph nested in `depth` others; `path` has their names and its own."""
    if depth > MAX_NESTING:
        text = f"graphs nested over {MAX_NESTING} deep"
        return graph, [Finding("NIR011", "error", text, path)]
    clean = copy.copy(graph)
    named = ((str(name), node) for name, node in graph.nodes.items())
    clean.nodes = dict(sorted(named, key=lambda item: item[0]))
    edges = [(str(source), str(target)) for source, target in graph.edges]
    clean.edges = sorted(edges)  # for findings in an order that the file's does not decide
    found = (finding for rule in RULES for finding in rule(clean))
    findings = [finding.inside(path) if path else finding for finding in found]
    clean.edges = list(dict.fromkeys(edges))
    for name, node in clean.nodes.items():
        if isinstance(node, nir.NIRGraph):
            inside = f"{path}/{name}" if path else name
            clean.nodes[name], inner = _examine(node, inside, depth + 1)
            findings += inner
    return clean, findings


def dangling_edges(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR101: an edge whose source or target is no node of the graph."""
    connected = {name for edge in graph.edges for name in edge}
    unconnected = [name for name in graph.nodes if name not in connected]
    if len(unconnected) == 1:
        hint = f"{quoted(unconnected[0])} has no edge: is it meant?"
    elif unconnected:
        hint = f"without an edge are {listed(unconnected)}"
    else:
        hint = f"the graph has {listed(list(graph.nodes))}"
    astray: dict[str, list[tuple[str, str]]] = {}
    for edge in graph.edges:
        for name in dict.fromkeys(edge):
            if name not in graph.nodes:
                astray.setdefault(name, []).append(edge)
    for name, edges in sorted(astray.items()):
        source, target = edges[0]
        yield Finding(
            "NIR101",
            "error",
            f"{len(edges)} of this graph's edges lead to or from {quoted(name)}, which is none "
            f"of its nodes (first {quoted(source)} -> {quoted(target)})",
            hint=hint,
        )


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
    """NIR104: NIR's edges are a set, so an edge that is written twice counts once."""
    for (source, target), count in Counter(graph.edges).items():
        if count > 1:
            text = f"the edge {quoted(source)} -> {quoted(target)} stands there {count} times"
            yield Finding("NIR104", "warning", text + "; used once", target)


def edges_into_inputs(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR105: an Input hears the outside only."""
    for source, target in graph.edges:
        if isinstance(graph.nodes.get(target), nir.Input):
            text = f"an Input with an edge from {quoted(source)}"
            yield Finding("NIR105", "error", text, target, hint="remove the edge")


def nodes_without_input(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR106: a node that no edge leads to; the sum of no inputs is zero."""
    fed = {target for _, target in graph.edges}
    for name, node in graph.nodes.items():
        if name not in fed and not isinstance(node, nir.Input):
            if isinstance(node, nir.Output):
                yield Finding("NIR106", "error", "no edge leads to it", name)
            else:
                text = "no edge leads to it; its input is zero"
                yield Finding("NIR106", "warning", text, name)


def nested_ports(graph: nir.NIRGraph) -> Iterator[Finding]:
    """NIR107: an edge names a nested graph and not its port, so there can be one each."""
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


RULES = (
    ports,
    dangling_edges,
    duplicate_edges,
    edges_into_inputs,
    nodes_without_input,
    nested_ports,
)
"""The structural rules, in the order in which they are reported."""


def time_steps(nodes: Mapping[str, nir.NIRNode], dt: float) -> Iterator[Finding]:
    """NIR401, NIR402: forward Euler overshoots with dt > tau and diverges from 2 tau on."""
    for name, node in nodes.items():
        for parameter in ("tau", "tau_mem", "tau_syn"):
            tau = np.asarray(getattr(node, parameter, ()))
            if tau.dtype.kind not in "fiu":
                continue  # its mapper says what is wrong with it
            known = tau[~np.isnan(tau)]
            if known.size == 0 or dt <= (shortest := float(known.min())):
                continue
            diverges = dt >= 2 * shortest
            yield Finding(
                "NIR402" if diverges else "NIR401",
                "error" if diverges else "warning",
                f"dt {dt:g} is longer than the time constant {shortest:g}: Euler steps "
                + ("diverge" if diverges else "overshoot"),
                name,
                parameter,
                "choose a shorter --dt or --integration exact",
            )
