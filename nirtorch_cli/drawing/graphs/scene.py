"""An inspection as boxes, nodes in them, and links, ready to be drawn.

In: an `Inspection`. Out: a `Scene` of numbered items; an item is a node, or a nested graph, which
is a box with items inside. An item with findings is marked by the worst of them.

Always holds: every node and every edge of the inspection is in the scene once; an item's number is
higher than its box's; the end of an edge that is not a node is an item too, of the kind `missing`.
A nested graph that a loop passes through has no row in the inspection (its nodes are executed with
those around it), but it is a box too. In a box the items are in the order of the inspection,
similar ones in natural order. Cost: linear in nodes and edges, apart from sorting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from nirtorch_cli.drawing.graphs.labels import (
    MARKS,
    STYLES,
    Mark,
    NodeKind,
    kind_of,
    shape_label,
    shortened,
)
from nirtorch_cli.findings.finding import Finding
from nirtorch_cli.findings.ordering import depths, in_natural_order
from nirtorch_cli.findings.text import counted, printable
from nirtorch_cli.graph.inspection import InspectedEdge, InspectedNode, Inspection
from nirtorch_cli.reading.limits import MAX_NESTING

Step = Literal["node", "begin", "end"]

ROOT = -1
"""The number of the box that holds the outermost items."""

_LONGEST_LINE = 1000
_MOST_FINDINGS = 12
"""The most findings of a node in its tooltip."""


@dataclass(frozen=True)
class Item:
    """A node or a box: `name` and `detail` are its two lines, `tooltip` has all in full.

    mark, reason: the severity of its worst finding, and the same with its code.
    reasons: all its findings, the worst first; the tooltip has them too.
    """

    number: int
    parent: int
    path: str
    name: str
    detail: str
    tooltip: str
    kind: NodeKind
    mark: Mark | None = None
    reason: str = ""
    reasons: tuple[str, ...] = ()

    @property
    def is_box(self) -> bool:
        """Whether it is a nested graph, drawn as a box around its items."""
        return self.kind == "graph"


@dataclass(frozen=True)
class Link:
    """An edge between items."""

    source: int
    target: int
    delayed: bool
    tooltip: str


@dataclass(frozen=True)
class Scene:
    """Everything to draw; `children` holds the items inside each box, and inside ROOT."""

    title: str
    subtitle: str
    items: list[Item] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    children: dict[int, list[int]] = field(default_factory=lambda: {ROOT: []})

    def kinds(self) -> list[NodeKind]:
        """The kinds that occur, in the order of the styles."""
        found = {item.kind for item in self.items}
        return [kind for kind in STYLES if kind in found]

    def marks(self) -> list[Mark]:
        """The marks that occur, the worst first."""
        found = {item.mark for item in self.items}
        return [mark for mark in MARKS if mark in found]

    def around(self, number: int) -> list[int]:
        """The boxes around an item, innermost first, ROOT last."""
        found = []
        while number != ROOT:
            number = self.items[number].parent
            found.append(number)
        return found

    def walk(self) -> Iterator[tuple[Item, Step, int]]:
        """Each item in order, with its depth in boxes; a box has a beginning and an end."""
        ahead: list[tuple[int, Step, int]] = [
            (number, "begin", 0) for number in self.children[ROOT]
        ]
        ahead.reverse()
        while ahead:
            number, step, depth = ahead.pop()
            item = self.items[number]
            if not item.is_box:
                yield item, "node", depth
                continue
            yield item, step, depth
            if step == "begin":
                ahead.append((number, "end", depth))
                inside = reversed(self.children[number])
                ahead += [(child, "begin", depth + 1) for child in inside]


def scene_of(inspection: Inspection) -> Scene:
    """The scene of everything that an inspection lists."""
    builder = _Builder(Scene(_title(inspection), _subtitle(inspection)))
    builder.rows = {row.node for row in inspection.nodes}
    for finding in inspection.findings:
        if finding.node is not None:
            builder.findings.setdefault(finding.node, []).append(finding)
    for row in inspection.nodes:
        builder.add_row(row)
    for edge in sorted(inspection.edges, key=_ends):  # else in the file's order
        builder.add_edge(edge)
    _put_in_order(builder.scene)
    return builder.scene


def _put_in_order(scene: Scene) -> None:
    """Put similar items of a box that are equally deep in its graph into natural order."""
    local = {child: turn for inside in scene.children.values() for turn, child in enumerate(inside)}
    arcs: dict[int, list[tuple[int, int]]] = {box: [] for box in scene.children}
    for link in scene.links:
        if not link.delayed:
            box, source, target = _common(scene, link)
            arcs[box].append((local[source], local[target]))
    for box, inside in scene.children.items():
        names = [scene.items[child].path for child in inside]
        order = in_natural_order(names, depths(len(names), arcs[box]))
        scene.children[box] = [inside[place] for place in order]


def _common(scene: Scene, link: Link) -> tuple[int, int, int]:
    """The innermost box around both ends of a link, and the items of it that hold the ends."""
    ways = [[end, *scene.around(end)] for end in (link.source, link.target)]
    while len(ways[0]) > 2 and len(ways[1]) > 2 and ways[0][-2] == ways[1][-2]:
        ways = [way[:-1] for way in ways]
    return ways[0][-1], ways[0][-2], ways[1][-2]


def _ends(edge: InspectedEdge) -> tuple[str, str]:
    return edge.source, edge.target


def _title(inspection: Inspection) -> str:
    file = inspection.file or "a graph"
    return shortened(os.path.basename(file) or file, 60)


def _subtitle(inspection: Inspection) -> str:
    delayed = sum(edge.delayed for edge in inspection.edges)
    errors = sum(finding.severity == "error" for finding in inspection.findings)
    counts = f"{counted(len(inspection.nodes), 'node')}, {counted(len(inspection.edges), 'edge')}"
    late = f", {delayed:,} of them delayed by a step" if delayed else ""
    broken = f"; {counted(errors, 'error')}" if errors else ""
    return f"{counts}{late}; dt {inspection.dt:g}{broken}"


@dataclass
class _Builder:
    """Fills a scene; `number_of` has the item of each path, `findings` the findings there."""

    scene: Scene
    rows: set[str] = field(default_factory=set)
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    number_of: dict[str, int] = field(default_factory=dict)

    def add_row(self, row: InspectedNode) -> None:
        """Add a row, and the boxes around it that have no row of their own."""
        for prefix in _prefixes(row.node):
            if prefix not in self.rows and prefix not in self.number_of:
                lines = [prefix, "NIRGraph: a loop passes through it"]
                self.add(prefix, "NIRGraph in a loop", lines, "graph")
        shapes = f"{shape_label(row.input_shape)} -> {shape_label(row.output_shape)}"
        lines = [row.node, f"{row.type}: {shapes}"]
        lines += [f"{name} {value.text}" for name, value in row.parameters.items()]
        detail = f"{row.type} {shape_label(row.output_shape)}"
        self.add(row.node, detail, lines, kind_of(row.type))

    def add(self, path: str, detail: str, lines: list[str], kind: NodeKind) -> int:
        number = len(self.scene.items)
        parent, name = self.place(path)
        found = sorted(self.findings.get(path, []), key=_badness)[:_MOST_FINDINGS]
        worst = next(((finding, mark) for finding in found if (mark := _mark(finding))), None)
        reasons = [_tooltip(_finding_line(finding)) for finding in found]
        item = Item(
            number=number,
            parent=parent,
            path=path,
            name=shortened(name),
            detail=shortened(detail),
            tooltip="\n".join([*map(_tooltip, lines), *reasons]),
            kind=kind,
            mark=None if worst is None else worst[1],
            reason="" if worst is None else f"{worst[1]} {worst[0].code}",
            reasons=tuple(reasons),
        )
        self.scene.items.append(item)
        self.scene.children[parent].append(number)
        if item.is_box:
            self.scene.children[number] = []
        self.number_of.setdefault(path, number)
        return number

    def place(self, path: str) -> tuple[int, str]:
        """The innermost box that a path names, and the rest of the path."""
        parent, name = ROOT, path
        for prefix in _prefixes(path):
            number = self.number_of.get(prefix)
            if number is not None and self.scene.items[number].is_box:
                parent, name = number, path[len(prefix) + 1 :]
        return parent, name

    def add_edge(self, edge: InspectedEdge) -> None:
        late = ", delayed by one step" if edge.delayed else ""
        text = _tooltip(f"{edge.source} -> {edge.target}{late}")
        source, target = self.end(edge.source), self.end(edge.target)
        self.scene.links.append(Link(source, target, edge.delayed, text))

    def end(self, path: str) -> int:
        """The item at the end of an edge; an item of the kind `missing` if there is none."""
        number = self.number_of.get(path)
        if number is None:
            lines = [path, "an edge names it, but the graph has no such node"]
            return self.add(path, "not in the graph", lines, "missing")
        return number


def _prefixes(path: str) -> Iterator[str]:
    """The paths of the boxes that may hold a path, outermost first."""
    place = path.find("/")
    for _ in range(MAX_NESTING + 1):
        if place < 0:
            return
        yield path[:place]
        place = path.find("/", place + 1)


def _mark(finding: Finding) -> Mark | None:
    """The mark that a finding gives its node; None for an info."""
    if finding.repair is not None:
        return "repaired"
    return None if finding.severity == "info" else finding.severity


def _badness(finding: Finding) -> int:
    """The sort key of a node's findings, the worst first."""
    mark = _mark(finding)
    return len(MARKS) if mark is None else list(MARKS).index(mark)


def _finding_line(finding: Finding) -> str:
    """A finding without its node, to be shown at the node."""
    said = _mark(finding) or finding.severity
    hint = "" if finding.hint is None else f"; {finding.hint}"
    of = "" if finding.parameter is None else f"{finding.parameter} "
    return f"{said} {finding.code}: {of}{finding.message}{hint}"


def _tooltip(line: str) -> str:
    """A printable line, cut to a readable length."""
    return printable(line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…")
