"""The items of a box in rows and columns, and the points at which its arcs begin and end.

In: a `Sheet`: how large the items are, in the order of execution, and arcs between them. Out:
`Rows`: for each item its row, and its x within its column of rows; for each arc whether it
runs past few rows, bending between the items there, or goes far, through the gutters.

Always holds: the items and bends of a row do not overlap; an arc that passes a row has a bend in
it; arcs over many rows, of items with many such arcs, or between columns go through gutters, so
that there are at most a few bends per arc. Cost: linear in items and arcs, apart from sorting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from nirtorch_cli.drawing.graphs.formats import Wrap
from nirtorch_cli.drawing.graphs.layering import (
    ASPECT,
    Arc,
    columns_of,
    execution_order,
    layers,
    ordered,
)
from nirtorch_cli.drawing.graphs.placing import Line, centres
from nirtorch_cli.drawing.graphs.routing import INFINITY, Far, Trunk, gutters, trunks

Point = tuple[float, float]

GAP = 28.0
"""Between neighbours in a row, and the least between two rows."""
LOOP = 56.0
"""The width beside an item for an arc to itself, and its label."""

_LONGEST = 5
"""The most layers that an arc spans if it passes between items."""
_BUSY = 8
"""The most arcs over several layers of an item if these pass between items."""
_SPREAD = 16.0
"""Between the ends of two arcs at one side of an item."""


@dataclass(frozen=True)
class Sheet:
    """What is to be laid out.

    sizes: width and height of each item, in the order of execution. The first `first` are
        ways into the box, at its top edge; the last `last` are ways out, at its bottom.
    ports: for an end of an arc, (arc, whether it is the target), how far right of the item's
        left edge it must be.
    corner: the least distance of an arc's end from an item's corners, which may be round.
    labelled: a labelled line needs as much space as a line with this offset.
    wrap, aspect: when rows are cut into columns, and the width by height of the page for these.
    """

    sizes: list[Point]
    arcs: list[Arc]
    first: int = 0
    last: int = 0
    ports: dict[tuple[int, bool], float] = field(default_factory=dict)
    corner: float = 21.0
    labelled: float = 240.0
    wrap: Wrap = "auto"
    aspect: float = ASPECT


class Rows:
    """The rows of a box.

    layer: of each item, and of each bend; bends are numbered after the items.
    height: of each layer.
    starts: the layer that each column begins with, and the end of the last.
    column: of each layer.
    chains: for each near arc its upper item, its bends, and its lower item.
    far: the far arcs. `loops`: those from an item to itself.
    centre: of each item and bend, within its column.
    extents: of each column, from left to right.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.arcs = sheet.arcs
        self.count = len(sheet.sizes)
        self.place = execution_order(self.count, sheet.arcs, sheet.first, sheet.last)
        self._stack()
        self._classify()
        self._arrange()
        self._attach()

    # ---- which item is in which row, and which row in which column

    def _stack(self) -> None:
        sheet = self.sheet
        self.layer = layers(self.place, self.arcs, sheet.first, sheet.last)
        self.height = [0.0] * (max(self.layer) + 1)
        width = [0.0] * len(self.height)
        for (w, h), layer in zip(sheet.sizes, self.layer, strict=True):
            self.height[layer] = max(self.height[layer], h)
            width[layer] += w + GAP
        spans = [
            (min(ends), max(ends))
            for ends in ((self.layer[a.source], self.layer[a.target]) for a in self.arcs)
        ]
        starts = columns_of(
            [height + 1.2 * GAP for height in self.height],
            [1.2 * w + 2 * GAP for w in width],
            spans,
            sheet.wrap,
            sheet.aspect,
        )
        self.starts = [*starts, len(self.height)]
        self.columns = len(starts)
        self.column = [
            column
            for column, (start, end) in enumerate(pairwise(self.starts))
            for _ in range(start, end)
        ]

    # ---- which arc takes which way

    def _classify(self) -> None:
        """Chains of vertices for near arcs, `Far` for the others. Bends are vertices too."""
        self.chains: dict[int, list[int]] = {}
        self.loops: list[int] = []
        far: dict[int, tuple[int, int, bool, bool]] = {}
        busy = self._busy()
        for number, arc in enumerate(self.arcs):
            if arc.source == arc.target:
                self.loops.append(number)
                continue
            back = self.leads_back(arc)
            upper, lower = (arc.target, arc.source) if back else (arc.source, arc.target)
            span = range(self.layer[upper] + 1, self.layer[lower])
            goes_far = len(span) >= _LONGEST or (len(span) > 0 and bool(busy & {upper, lower}))
            one_column = self.column[self.layer[upper]] == self.column[self.layer[lower]]
            if goes_far or not one_column or (back and self._has_port(number)):
                source, target = self._shared_ends(number)
                far[number] = (source, target, back, arc.delayed)
                continue
            bends = range(len(self.layer), len(self.layer) + len(span))
            self.layer.extend(span)
            self.chains[number] = [upper, *bends, lower]
        trunk = trunks(far)
        self.far = {number: self._far_arc(number, trunk[number]) for number in far}

    def _busy(self) -> set[int]:
        """The items that need a trunk, because they have many arcs over several layers."""
        count = Counter(
            end
            for arc in self.arcs
            if abs(self.layer[arc.source] - self.layer[arc.target]) > 1
            for end in (arc.source, arc.target)
        )
        return {item for item, arcs in count.items() if arcs > _BUSY}

    def leads_back(self, arc: Arc) -> bool:
        return self.place[arc.source] > self.place[arc.target]

    def _has_port(self, number: int) -> bool:
        return (number, False) in self.sheet.ports or (number, True) in self.sheet.ports

    def _shared_ends(self, number: int) -> tuple[int, int]:
        """The items that an arc joins; for an end at a port, a number that is not an item's."""
        arc, ports = self.arcs[number], self.sheet.ports
        own = -1 - number
        return (
            own if (number, False) in ports else arc.source,
            own if (number, True) in ports else arc.target,
        )

    def _far_arc(self, number: int, trunk: Trunk) -> Far:
        rows = self.layer[self.arcs[number].source], self.layer[self.arcs[number].target]
        columns = self.column[rows[0]], self.column[rows[1]]
        below = rows[0] - self.starts[columns[0]] + 1
        above = rows[1] - self.starts[columns[1]]
        return Far(number, trunk, columns, (below, above), gutters(trunk[2], columns))

    # ---- the order in the rows, and x within the columns

    def _arrange(self) -> None:
        vertices = range(len(self.layer))
        rows: list[list[int]] = [[] for _ in self.height]
        for vertex in vertices:
            rows[self.layer[vertex]].append(vertex)
        above: list[list[int]] = [[] for _ in vertices]
        below: list[list[int]] = [[] for _ in vertices]
        for upper, lower in self._neighbours():
            below[upper].append(lower)
            above[lower].append(upper)
        self.rows = ordered(rows, above, below)
        loops = {self.arcs[number].source for number in self.loops}
        self.widths = [0.0] * len(vertices)
        for item, (width, _) in enumerate(self.sheet.sizes):
            self.widths[item] = width + (2 * LOOP if item in loops else 0)
        self.centre = centres(self.rows, self.widths, GAP / 2, list(self._lines()))
        self.extents = [self._ends_of(column) for column in range(self.columns)]

    def _neighbours(self) -> Iterator[tuple[int, int]]:
        """The pairs that should be near each other in order: on a chain, and across columns."""
        for chain in self.chains.values():
            yield from pairwise(chain)
        for number in self.far:
            ends = sorted(
                (self.arcs[number].source, self.arcs[number].target), key=self.layer.__getitem__
            )
            if self.layer[ends[1]] - self.layer[ends[0]] == 1:
                yield ends[0], ends[1]

    def _lines(self) -> Iterator[Line]:
        for number, chain in self.chains.items():
            back = self.leads_back(self.arcs[number])
            for upper, lower in pairwise(chain):
                bends = (upper >= self.count) + (lower >= self.count)
                yield Line(
                    upper,
                    lower,
                    (1.0, 2.0, 8.0)[bends],
                    self._port(number, upper, back),
                    self._port(number, lower, not back),
                )

    def _port(self, number: int, vertex: int, is_target: bool) -> float:
        """How far from the centre of a vertex its end of an arc must be."""
        offset = self.sheet.ports.get((number, is_target))
        if offset is None or vertex >= self.count:
            return 0.0
        return offset - self.sheet.sizes[vertex][0] / 2

    def _ends_of(self, column: int) -> Point:
        rows = self.rows[self.starts[column] : self.starts[column + 1]]
        left = min(self.centre[row[0]] - self.widths[row[0]] / 2 for row in rows)
        right = max(self.centre[row[-1]] + self.widths[row[-1]] / 2 for row in rows)
        return left, right

    # ---- where on its item an arc begins and ends

    def _attach(self) -> None:
        """Distribute the ends of arcs over the sides of items, sorted by their other ends."""
        sides: dict[tuple[int, bool], dict[tuple[str, int], tuple[float, int]]] = {}
        for item, at_top, token, toward in self._ends():
            tokens = sides.setdefault((item, at_top), {})
            tokens.setdefault(token, (toward, len(tokens)))
        self.offset: dict[tuple[int, bool, tuple[str, int]], float] = {}
        for (item, at_top), tokens in sides.items():
            room = max(0.0, self.sheet.sizes[item][0] - 2 * self.sheet.corner)
            step = min(_SPREAD, room / max(1, len(tokens) - 1))
            for turn, token in enumerate(sorted(tokens, key=tokens.__getitem__)):
                self.offset[item, at_top, token] = (turn - (len(tokens) - 1) / 2) * step

    def _ends(self) -> Iterator[tuple[int, bool, tuple[str, int], float]]:
        """The ends of arcs at items, except at ports: where, and the x that they come from."""
        ports = self.sheet.ports
        for number, chain in sorted(
            self.chains.items(), key=lambda item: self.arcs[item[0]].delayed
        ):
            back, token = self.leads_back(self.arcs[number]), ("arc", number)
            if (number, back) not in ports:
                yield chain[0], False, token, self.centre[chain[1]]
            if (number, not back) not in ports:
                yield chain[-1], True, token, self.centre[chain[-2]]
        for number, far in self.far.items():
            arc = self.arcs[number]
            for is_target in (False, True):
                if (number, is_target) not in ports:
                    item, end = (arc.target, "target") if is_target else (arc.source, "source")
                    to_right = far.gutters[is_target] > far.columns[is_target]
                    toward = INFINITY if to_right else -INFINITY
                    yield item, is_target, self.token(far, end), toward

    def token(self, far: Far, end: str) -> tuple[str, int]:
        """What has its own point on an item: an arc, or the trunk that is shared there."""
        if far.trunk[0] != end:
            return ("arc", far.arc)
        return ("trunk", 2 * far.trunk[2] + far.trunk[3])

    def end_x(self, item: int, at_top: bool, number: int, is_target: bool) -> float:
        """The x of an arc's end, within the column."""
        if (number, is_target) in self.sheet.ports:
            return self.centre[item] + self._port(number, item, is_target)
        token = ("arc", number)
        if number in self.far:
            token = self.token(self.far[number], "target" if is_target else "source")
        return self.centre[item] + self.offset[item, at_top, token]
