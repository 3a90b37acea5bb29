"""Named repairs of a graph's structure; each is made only if one outcome is sensible.

In: a `nir.NIRGraph` as it was read or built. Out: a repaired one, with names as text, nodes and
edges sorted by name and each edge once, and a finding for each repair. Damage that cannot be
repaired is left for the rules to report. The given graph is not changed. `shapes` repairs shapes,
`reading` repairs parameters that a file gives once for a layer; `rules.md` has all conditions.
Cost: linear in nodes and edges, for each flattened nest.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import nir

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import counted, quoted
from nirtorch_cli.graph.checks.structure import dangling, duplicate_edges, unconnected
from nirtorch_cli.reading.limits import MAX_NESTING

Findings = list[Finding]

_PORTS = (nir.Input, nir.Output)


def repaired(graph: nir.NIRGraph) -> tuple[nir.NIRGraph, Findings]:
    """The graph with its structure repaired, nested graphs too, and a finding for each repair."""
    return _repaired(graph, "", 0)


def _repaired(graph: nir.NIRGraph, path: str, depth: int) -> tuple[nir.NIRGraph, Findings]:
    """`repaired` for a graph nested in `depth` others; `path` holds their names and its own."""
    if depth > MAX_NESTING:
        return graph, []  # which a rule reports
    clean = copy.copy(graph)
    named = ((str(name), node) for name, node in graph.nodes.items())
    clean.nodes = dict(sorted(named, key=lambda item: item[0]))
    edges = [(str(source), str(target)) for source, target in graph.edges]
    clean.edges = sorted(edges)
    findings = list(duplicate_edges(clean))
    clean.edges = list(dict.fromkeys(clean.edges))
    for repair in REPAIRS:
        findings += repair(clean)
    clean.edges.sort()
    findings = [finding.inside(path) if path else finding for finding in findings]
    for name, node in clean.nodes.items():
        if isinstance(node, nir.NIRGraph):
            inside = f"{path}/{name}" if path else name
            clean.nodes[name], inner = _repaired(node, inside, depth + 1)
            findings += inner
    return clean, findings


def flattened_nest(graph: nir.NIRGraph) -> Findings:
    """Put nodes that were written flat, as `nest.lif`, into the nested graph that edges name.

    Edges between its nodes and the others must use its name, and its ports must be recognisable
    by their types: then the nested graph is the one that was flattened.
    """
    found: list[tuple[str, Finding]] = []
    beginnings = {
        name[:at] for name in graph.nodes for at, letter in enumerate(name) if letter == "."
    }
    # The innermost first, so that it is a node of the graph around it.
    for name in sorted(
        beginnings & dangling(graph).keys(), key=lambda name: (-name.count("."), name)
    ):
        inside = {n: n[len(name) + 1 :] for n in graph.nodes if n.startswith(f"{name}.")}
        counts = [sum(isinstance(graph.nodes[n], kind) for n in inside) for kind in _PORTS]
        crossing = any((source in inside) != (target in inside) for source, target in graph.edges)
        if counts != [1, 1] or crossing:
            continue
        edges = [(inside[s], inside[t]) for s, t in graph.edges if s in inside]
        nodes = {short: graph.nodes[n] for n, short in inside.items()}
        nest = nir.NIRGraph(nodes, edges, type_check=False)
        graph.edges = [edge for edge in graph.edges if edge[0] not in inside]
        rest = [(n, node) for n, node in graph.nodes.items() if n not in inside]
        graph.nodes = dict(sorted([*rest, (name, nest)]))
        text = f"edges name {quoted(name)}, which is not a node"
        done = f"{counted(len(inside), 'node')} '{name}.*' put into a nested graph of that name"
        finding = Finding("NIR101", "warning", text, name, hint=done, repair="flattened-nest")
        found.append((name, finding))
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])]


def missing_node(graph: nir.NIRGraph) -> Findings:
    """Connect the edges of the one missing name to the one node that has no edge."""
    missing, isolated = dangling(graph), unconnected(graph)
    if len(missing) != 1 or len(isolated) != 1:
        return []
    if not (_ports(graph, nir.Input) and _ports(graph, nir.Output)):
        return []  # the name could also be the missing port
    (name, edges), (meant,) = missing.popitem(), isolated
    node = graph.nodes[meant]
    is_source, is_target = any(s == name for s, _ in edges), any(t == name for _, t in edges)
    if (is_target and isinstance(node, nir.Input)) or (is_source and isinstance(node, nir.Output)):
        return []
    graph.edges = [
        (meant if source == name else source, meant if target == name else target)
        for source, target in graph.edges
    ]
    text = f"{counted(len(edges), 'edge')} to or from {quoted(name)}, which names no node"
    done = f"taken for {quoted(meant)}, the only node without an edge"
    return [Finding("NIR101", "warning", text, meant, hint=done, repair="missing-node")]


def missing_named_port(graph: nir.NIRGraph) -> Findings:
    """Add the port that edges name, if no other node could be meant."""
    findings: Findings = []
    if unconnected(graph):
        return findings
    for kind, end in ((nir.Input, 0), (nir.Output, 1)):
        names = {
            name
            for name, edges in dangling(graph).items()
            if all(edge[end] == name and edge[1 - end] != name for edge in edges)
        }
        if _ports(graph, kind) or len(names) != 1:
            continue
        (name,) = names
        _add_port(graph, name, kind)
        text = f"edges name {quoted(name)}, which is not a node"
        done = f"added as its {kind.__name__}, which it lacks"
        findings.append(Finding("NIR101", "warning", text, name, hint=done, repair="missing-port"))
    return findings


def missing_port(graph: nir.NIRGraph) -> Findings:
    """Add an Input or Output if only one node can be next to it."""
    findings: Findings = []
    if dangling(graph):
        return findings
    for code, kind in (("NIR102", nir.Input), ("NIR103", nir.Output)):
        beside = _open_ends(graph, kind)
        if _ports(graph, kind) or len(beside) != 1:
            continue
        name = _free_name(kind.__name__.lower(), graph.nodes)
        _add_port(graph, name, kind)
        graph.edges.append((name, beside[0]) if kind is nir.Input else (beside[0], name))
        side = "input" if kind is nir.Input else "output"
        done = f"added {quoted(name)} at {quoted(beside[0])}, the only node without an edge "
        done += f"at its {side}"
        text = f"the graph has no {kind.__name__} node"
        findings.append(Finding(code, "warning", text, None, hint=done, repair="missing-port"))
    return findings


def unconnected_port(graph: nir.NIRGraph) -> Findings:
    """Connect the only Input or Output, if it has no edge and only one node can be next to it."""
    findings: Findings = []
    if dangling(graph):
        return findings
    for kind in (nir.Input, nir.Output):
        ports, beside = _ports(graph, kind), _open_ends(graph, kind)
        if len(ports) != 1 or ports[0] not in unconnected(graph) or len(beside) != 1:
            continue
        port, other = ports[0], beside[0]
        graph.edges.append((port, other) if kind is nir.Input else (other, port))
        text = f"an {kind.__name__} without any edge"
        done = f"connected with {quoted(other)}, the only node that is open there"
        finding = Finding("NIR106", "warning", text, port, hint=done, repair="unconnected-port")
        findings.append(finding)
    return findings


REPAIRS = (flattened_nest, missing_node, missing_named_port, missing_port, unconnected_port)
"""The repairs in order; each changes the nodes and edges of the graph that it is given."""


def _open_ends(graph: nir.NIRGraph, kind: type[nir.NIRNode]) -> list[str]:
    """The nodes that could be next to an Input or Output: they have no edge on that side.

    A node without any edge could be anywhere, unless it is the only one.
    """
    end = 1 if kind is nir.Input else 0
    taken = {edge[end] for edge in graph.edges}
    names = [n for n, node in graph.nodes.items() if not isinstance(node, (nir.Input, nir.Output))]
    isolated = set(unconnected(graph)) if len(names) > 1 else set()
    return [name for name in names if name not in taken and name not in isolated]


def _ports(graph: nir.NIRGraph, kind: type[nir.NIRNode]) -> list[str]:
    return [name for name, node in graph.nodes.items() if isinstance(node, kind)]


def _add_port(graph: nir.NIRGraph, name: str, kind: type[nir.NIRNode]) -> None:
    """Add an Input or Output whose shape is not known yet."""
    graph.nodes = dict(sorted([*graph.nodes.items(), (name, kind(None))]))


def _free_name(name: str, taken: Iterable[str]) -> str:
    """`name`, or the first free one after it."""
    names, count, free = set(taken), 0, name
    while free in names:
        count += 1
        free = f"{name}_{count}"
    return free
