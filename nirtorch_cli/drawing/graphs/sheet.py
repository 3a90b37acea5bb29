"""One box laid out: its items in rows, its arcs between them.

In: a `Sheet`: how large the items are, and arcs. Out: a `Layout`: the position of each item and the
points of each arc. Between two points that differ in x and in y an arc is a curve that begins and
ends vertically; otherwise it is a straight line.

Always holds: items do not overlap; no arc crosses an item; a layout depends only on the order of
the items and arcs. Arcs over few layers pass between the items of the layers, others take the
gutters (see `routing`), so that the work does not grow with the length of the arcs.

Libraries for layered drawing were tried and do not fit: fast-sugiyama 0.5 is fast, but knows
neither sizes of items nor boxes nor columns, and lays a chain of 300 nodes out as a strip of
300; grandalf 0.8 takes the square of the nodes (17 s for 5,000) and is under GPL or EPL.

Cost: linear in items and arcs, apart from sorting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from nirtorch_cli.drawing.graphs.routing import INFINITY, Far, Tracks, Trunk
from nirtorch_cli.drawing.graphs.rows import GAP, LOOP, Point, Rows, Sheet

TRACK = 9.0
"""The distance between parallel lines."""


@dataclass(frozen=True)
class Layout:
    """The upper left corner of each item, the points of each arc, and the total size."""

    corners: list[Point]
    routes: list[list[Point]]
    size: Point


def lay_out(sheet: Sheet) -> Layout:
    """Lay out a box."""
    if not sheet.sizes:
        return Layout([], [], (0.0, 0.0))
    work = _Ways(Rows(sheet))
    corners = [
        (work.x(item) - width / 2, work.y[item] - height / 2)
        for item, (width, height) in enumerate(sheet.sizes)
    ]
    return Layout(corners, [work.route(arc) for arc in range(len(sheet.arcs))], work.size)


class _Ways:
    """Routes the arcs between given rows; each method uses the results of those before it."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.arcs = rows.arcs
        self.reserve_channels()
        self.reserve_margins()
        self.stand()
        self.reserve_gutters()

    # ---- tracks in the channels, and y

    def reserve_channels(self) -> None:
        self.leaving: dict[tuple[int, int], Tracks[Trunk]] = {}
        self.arriving: dict[tuple[int, int], Tracks[Trunk]] = {}
        for far in self.rows.far.values():
            arc = self.arcs[far.arc]
            for side, ways in ((0, self.leaving), (1, self.arriving)):
                item = (arc.source, arc.target)[side]
                x = self.rows.end_x(item, side == 1, far.arc, side == 1)
                to_right = far.gutters[side] > far.columns[side]
                tracks = ways.setdefault((far.columns[side], far.channels[side]), Tracks())
                tracks.need(far.trunk, (x, INFINITY if to_right else -INFINITY))
        for tracks in [*self.leaving.values(), *self.arriving.values()]:
            tracks.assign()

    def tracks_in(self, column: int, channel: int) -> tuple[int, int]:
        leaving = self.leaving.get((column, channel))
        arriving = self.arriving.get((column, channel))
        return leaving.count if leaving else 0, arriving.count if arriving else 0

    def reserve_margins(self) -> None:
        self.margins: dict[str, Tracks[Trunk]] = {"top": Tracks(), "bottom": Tracks()}
        for far in self.rows.far.values():
            if far.margin is not None:
                self.margins[far.margin].need(far.trunk, far.gutters)
        for tracks in self.margins.values():
            tracks.assign()

    def stand(self) -> None:
        """The y of rows and channels."""
        rows, gaps = self.rows, self.gaps()
        self.row_ends: list[Point] = [(0.0, 0.0)] * len(rows.height)
        self.channel_top: dict[tuple[int, int], float] = {}
        self.lowest = 0.0
        for column, (start, end) in enumerate(pairwise(rows.starts)):
            y = self.margins["top"].count * TRACK
            for channel, layer in enumerate(range(start, end + 1)):
                count = sum(self.tracks_in(column, channel))
                gap = gaps[layer] if start < layer < end else TRACK if count else 0.0
                y += gap / 2
                if count:  # tracks from both sides of a gutter must not meet in it
                    y += (column % 2 * TRACK / 2 - y) % TRACK
                self.channel_top[column, channel] = y
                y += count * TRACK + gap / 2
                if layer < end:
                    self.row_ends[layer] = (y, y + rows.height[layer])
                    y += rows.height[layer]
            self.lowest = max(self.lowest, y)
        self.y = [sum(self.row_ends[layer]) / 2 for layer in rows.layer]

    def gaps(self) -> list[float]:
        """The space above each layer: more if lines are labelled, or reach far to the side."""
        rows, reach = self.rows, [0.0] * (len(self.rows.height) + 1)
        for number, chain in rows.chains.items():
            least = rows.sheet.labelled if self.arcs[number].delayed else 0.0
            for upper, lower in pairwise(chain):
                aside = max(least, abs(rows.centre[upper] - rows.centre[lower]))
                reach[rows.layer[lower]] = max(reach[rows.layer[lower]], aside)
        return [GAP + min(64.0, max(0.0, aside - 80) / 10) for aside in reach]

    def channel_y(self, far: Far, side: int) -> float:
        """The y of a far arc's track below its source (0) or above its target (1)."""
        channel = (far.columns[side], far.channels[side])
        leaving, _ = self.tracks_in(*channel)
        ways = self.leaving if side == 0 else self.arriving
        track = ways[channel].track[far.trunk] + (0 if side == 0 else leaving)
        return self.channel_top[channel] + (track + 0.5) * TRACK

    # ---- lanes in the gutters, and x

    def reserve_gutters(self) -> None:
        rows = self.rows
        self.lanes: list[Tracks[Trunk]] = [Tracks() for _ in rows.starts]
        beyond = {"top": -INFINITY, "bottom": INFINITY}
        for far in rows.far.values():
            for side in (0, 1):
                other = self.channel_y(far, 1 - side)
                end = other if far.margin is None else beyond[far.margin]
                self.lanes[far.gutters[side]].need(far.trunk, (self.channel_y(far, side), end))
        x = 0.0
        self.gutter_x: list[float] = []
        """Of the first lane in each gutter."""
        self.shift: list[float] = []
        """Of each column."""
        for number, tracks in enumerate(self.lanes):
            tracks.assign(longest_last=number > 0)  # the lane nearest to its column is the first
            is_inner = 0 < number < len(self.lanes) - 1
            self.gutter_x.append(x + (GAP / 2 if number else 0.0))
            x += GAP if is_inner or tracks.count else 0.0
            x += max(0, tracks.count - 1) * TRACK
            if number < len(rows.extents):
                left, right = rows.extents[number]
                self.shift.append(x - left)
                x += right - left
        self.size = (x, self.lowest + self.margins["bottom"].count * TRACK)

    def x(self, vertex: int) -> float:
        """The x of a vertex's centre."""
        return self.rows.centre[vertex] + self.shift[self.rows.column[self.rows.layer[vertex]]]

    # ---- the points of an arc

    def route(self, number: int) -> list[Point]:
        """The points of an arc, from its source to its target."""
        if number in self.rows.chains:
            return self.chain_points(number)
        if number in self.rows.far:
            return list(self.far_points(self.rows.far[number]))
        return self.loop_points(number)

    def side_y(self, item: int, at_top: bool) -> float:
        half = self.rows.sheet.sizes[item][1] / 2
        return self.y[item] - half if at_top else self.y[item] + half

    def chain_points(self, number: int) -> list[Point]:
        chain, back = self.rows.chains[number], self.rows.leads_back(self.arcs[number])
        shift = self.shift[self.rows.column[self.rows.layer[chain[0]]]]
        first = shift + self.rows.end_x(chain[0], False, number, back)
        last = shift + self.rows.end_x(chain[-1], True, number, not back)
        points = [
            (first, self.side_y(chain[0], False)),
            (first, self.row_ends[self.rows.layer[chain[0]]][1]),
        ]
        for bend in chain[1:-1]:
            points += [(self.x(bend), y) for y in self.row_ends[self.rows.layer[bend]]]
        points += [
            (last, self.row_ends[self.rows.layer[chain[-1]]][0]),
            (last, self.side_y(chain[-1], True)),
        ]
        return points[::-1] if back else points

    def far_points(self, far: Far) -> Iterator[Point]:
        arc = self.arcs[far.arc]
        start = self.rows.end_x(arc.source, False, far.arc, False) + self.shift[far.columns[0]]
        end = self.rows.end_x(arc.target, True, far.arc, True) + self.shift[far.columns[1]]
        y, target_y = self.channel_y(far, 0), self.channel_y(far, 1)
        x, target_x = (self.lane_x(gutter, far.trunk) for gutter in far.gutters)
        yield start, self.side_y(arc.source, False)
        yield start, y
        yield x, y
        if far.margin is not None:
            track = (self.margins[far.margin].track[far.trunk] + 0.5) * TRACK
            margin_y = track if far.margin == "top" else self.lowest + track
            yield x, margin_y
            yield target_x, margin_y
        yield target_x, target_y
        yield end, target_y
        yield end, self.side_y(arc.target, True)

    def lane_x(self, gutter: int, trunk: Trunk) -> float:
        return self.gutter_x[gutter] + self.lanes[gutter].track[trunk] * TRACK

    def loop_points(self, number: int) -> list[Point]:
        item = self.arcs[number].source
        right = self.x(item) + self.rows.sheet.sizes[item][0] / 2
        reach = right + LOOP / 3
        upper, lower = self.y[item] - LOOP / 5, self.y[item] + LOOP / 5
        return [(right, lower), (reach, lower), (reach, upper), (right, upper)]
