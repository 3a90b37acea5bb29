"""What a .nir file holds, as plain values, without torch.

In: a file, or a graph. Out: an `Inspection` with every node in execution order, its parameters,
every edge and whether it is delayed, and findings. A graph that cannot be scheduled is
listed as it stands in the file. Cost: linear in nodes, edges and bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import nir

from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.plain import plain
from nirtorch_cli.graph.checks.time import delays_in_steps
from nirtorch_cli.graph.described import Described, described
from nirtorch_cli.graph.inlining import inline
from nirtorch_cli.graph.origin import origin_of
from nirtorch_cli.graph.plan import plan_graph
from nirtorch_cli.graph.shapes import input_shape, output_shape
from nirtorch_cli.graph.sound import examined
from nirtorch_cli.graph.time_step import TimeStep
from nirtorch_cli.primitives.shape_rules import Shape
from nirtorch_cli.reading.graphs import ModelFile, read
from nirtorch_cli.reading.sources import Source
from nirtorch_cli.reading.unknown_nodes import UnknownNode, type_name


@dataclass(frozen=True)
class InspectedNode:
    """A node: `parameters` describes each of its parameters, `numbers` counts their values."""

    node: str
    type: str
    input_shape: Shape | None
    output_shape: Shape | None
    parameters: dict[str, Described]
    numbers: int


@dataclass(frozen=True)
class InspectedEdge:
    """An edge; a delayed one carries last step's value."""

    source: str
    target: str
    delayed: bool


@dataclass(frozen=True)
class Inspection:
    """What a file holds: nodes in the order in which they would be executed, edges, findings.

    file, size, version, sha256: None of a graph that is in no file. dt, dt_reason, dt_is_guess: the
    length of a step, where it is known from, and whether it is not. integrator_input: whether I and
    IF take a charge or a current; integrator_reason: what tells it, if anything does. written_by:
    the programs that may have written it, by the traces that they leave. metadata: by the path of
    the node and the name of the entry, which may have entries of its own.
    """

    file: str | None
    size: int | None
    version: str | None
    dt: float
    dt_reason: str
    nodes: list[InspectedNode] = field(default_factory=list)
    edges: list[InspectedEdge] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    metadata: dict[str, Described | dict[str, Described]] = field(default_factory=dict)
    dt_is_guess: bool = False
    integrator_input: str = "charge"
    integrator_reason: str | None = None
    written_by: list[str] = field(default_factory=list)
    sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The inspection as a JSON object: what `nirtorch inspect --json` prints, in one dict."""
        shown: dict[str, Any] = plain(asdict(self))
        return shown


def inspect(
    source: Source | ModelFile | nir.NIRGraph,
    *,
    dt: float | None = None,
    max_bytes: int | None = None,
) -> Inspection:
    """Show what a model holds, without torch: what `nirtorch inspect` shows.

    A damaged graph is shown as far as it can be understood; what is wrong with it is in `findings`.
    The given graph is not changed.

    Arguments:
        source: a path, the bytes of a file, a binary stream, what `read` returned, or a graph.
        dt: the length of a step, in the unit of the time constants; None to infer it.
        max_bytes: refuse a file whose data claim more; see `read`.

    Raises:
        ReadError, ShapeError: see `read`.
        ConversionError: a node of the graph is none, or a parameter can be no array.
        ValueError: dt is not a positive number.

    Example:
        >>> inspection = inspect("model.nir")
        >>> [(edge.source, edge.target) for edge in inspection.edges if edge.delayed]
    """
    if dt is not None and not 0 < dt < float("inf"):
        raise ValueError(f"dt {dt!r} is not a positive number")
    file: ModelFile | None = None
    if not isinstance(source, nir.NIRGraph):
        file = source if isinstance(source, ModelFile) else read(source, max_bytes=max_bytes)
    examination = examined(source if file is None else file.graph)
    name, read_findings = (None, ()) if file is None else (file.name, file.findings)
    findings = [*read_findings, *examination.findings]
    origin = origin_of(examination.graph)
    if dt is not None:
        origin = origin.at(TimeStep(dt, "given"))
    step = origin.time_step
    findings += origin.findings
    inspection = Inspection(
        file=name,
        size=os.path.getsize(name) if name is not None and os.path.isfile(name) else None,
        version=None if file is None else file.version,
        sha256=None if file is None else file.sha256,
        dt=step.dt,
        dt_reason=step.reason,
        dt_is_guess=step.is_guess,
        integrator_input=origin.integrator_input,
        integrator_reason=origin.integrator_reason,
        written_by=[family.name for family in origin.families],
        metadata=dict(_metadata(examination.graph, "")),
    )
    _Lister(inspection, step, examination.is_structured).list_graph(examination.graph, "")
    inspection.findings[:0] = [finding.of(name) for finding in findings]
    return inspection


@dataclass
class _Lister:
    """Fills an inspection with the nodes and edges of a graph and of those nested in it."""

    inspection: Inspection
    step: TimeStep
    is_sound: bool

    def list_graph(self, graph: nir.NIRGraph, path: str) -> None:
        """List a graph; the nodes of a nested graph follow its own row."""
        if not self.is_sound:
            self.list_edges([(path + s, path + t) for s, t in graph.edges], set())
            for name, node in graph.nodes.items():
                self.list_node(path + name, node)
            return
        flat = inline(graph, lambda node: False)
        plan, ambiguous = plan_graph(flat, self.inspection.dt, path)
        self.inspection.findings.extend(ambiguous)
        where = {name: path + origin for name, origin in flat.origin.items()}
        delayed = {(where[s], where[t]) for s, t in plan.delayed}
        index = {name: number for number, name in enumerate(plan.order)}
        edges = sorted(flat.edges, key=lambda edge: (index[edge[0]], index[edge[1]]))
        self.list_edges([(where[s], where[t]) for s, t in edges], delayed)
        for name in plan.order:
            self.list_node(where[name], flat.nodes[name])

    def list_node(self, path: str, node: nir.NIRNode) -> None:
        parameters = {name: described(value) for name, value in _parameters(node)}
        row = InspectedNode(
            node=path,
            type=type_name(node),
            input_shape=input_shape(node),
            output_shape=output_shape(node),
            parameters=parameters,
            numbers=sum(parameter.count for parameter in parameters.values()),
        )
        self.inspection.nodes.append(row)
        self.inspection.findings.extend(delays_in_steps({path: node}, self.step))
        if isinstance(node, nir.NIRGraph):
            self.list_graph(node, f"{path}/")

    def list_edges(self, edges: list[tuple[str, str]], delayed: set[tuple[str, str]]) -> None:
        self.inspection.edges.extend(
            InspectedEdge(source, target, (source, target) in delayed) for source, target in edges
        )


def _parameters(node: nir.NIRNode) -> Iterator[tuple[str, Any]]:
    if isinstance(node, nir.NIRGraph):
        return
    fields = node.parameters if isinstance(node, UnknownNode) else vars(node)
    for name, value in fields.items():
        if name not in ("input_type", "output_type", "metadata", "input_shape"):
            yield name, value


def _metadata(
    node: nir.NIRNode, path: str
) -> Iterator[tuple[str, Described | dict[str, Described]]]:
    """The metadata of a graph and of its nodes."""
    for key, value in (getattr(node, "metadata", None) or {}).items():
        is_nested = isinstance(value, dict)
        yield (
            f"{path}: {key}" if path else str(key),
            {str(name): described(inner) for name, inner in value.items()}
            if is_nested
            else described(value),
        )
    if isinstance(node, nir.NIRGraph):
        for name, inner in node.nodes.items():
            yield from _metadata(inner, f"{path}/{name}" if path else name)
