"""Builds nodes of types that were registered after the file was read, for example by a map.

In: a file that was read. Out: the same file; its `UnknownNode`s of types that are registered now
are built as these types. Cost: linear in the nodes.
"""

from __future__ import annotations

from dataclasses import replace

import nir

from nirtorch_cli.findings.errors import ReadError
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.text import listed
from nirtorch_cli.primitives.table import primitive_named
from nirtorch_cli.reading.graphs import ModelFile, folded
from nirtorch_cli.reading.node_builder import NodeBuilder
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_meant


def with_known_types(file: ModelFile) -> ModelFile:
    """The same file, with unknown nodes built as the types that are registered now.

    A map may register the types that it maps, and is imported after the file was read.

    Raises:
        ReadError, ShapeError: a node does not hold what its type needs.
    """
    findings: list[Finding] = []
    graph = _known_graph(file.graph, findings, file.max_bytes, "")
    reported = tuple(finding.of(file.name) for finding in folded(findings))
    return replace(file, graph=graph, findings=(*file.findings, *reported)) if graph else file


def _known_graph(
    graph: nir.NIRGraph, findings: list[Finding], max_bytes: int, path: str
) -> nir.NIRGraph | None:
    """A copy of a graph with such nodes built; None if it has none."""
    made: dict[str, nir.NIRNode] = {}
    for name, node in graph.nodes.items():
        known: nir.NIRNode | None = None
        if isinstance(node, nir.NIRGraph):
            known = _known_graph(node, findings, max_bytes, f"{path}{name}/")
        elif isinstance(node, UnknownNode) and (kind := type_meant(node.type_name)) is not None:
            known = _known_node(node, kind, f"{path}{name}", findings, max_bytes)
        if known is not None:
            made[name] = known
    if not made:
        return None
    nodes = {**graph.nodes, **made}
    return nir.NIRGraph(nodes, list(graph.edges), dict(graph.metadata or {}), type_check=False)


def _known_node(
    node: UnknownNode, kind: str, where: str, findings: list[Finding], max_bytes: int
) -> nir.NIRNode:
    fields = primitive_named(kind)
    assert fields is not None
    missing = [name for name in fields.required if name not in node.parameters]
    if missing:
        raise ReadError("NIR006", f"{kind} without {listed(missing)}", where)

    def claim(size: int, name: str) -> None:
        if size > max_bytes:
            raise ReadError("NIR014", f"claims {size:,} bytes", where, name)

    values = {name: node.parameters[name] for name in fields.fields if name in node.parameters}
    return NodeBuilder(kind, where, findings.append, claim).build(values, dict(node.metadata))
