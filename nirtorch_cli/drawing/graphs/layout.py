"""A whole scene laid out: boxes in boxes, and links that may cross their borders.

In: a `Scene`. Out: a `Drawing`: a rectangle for each item and the points of each link, in
pixels, with the origin in the upper left corner.

Each box is laid out by itself, inner ones first (see `sheet`). A link between items of two boxes
crosses their borders through ports: below everything else in each box that it leaves, above
everything else in each that it enters; so it crosses no item on its way. A sheet is laid out
downwards; for a picture to the right, the sizes that it is given and the layout that comes back
have their axes exchanged, so that rows become columns.

Always holds: items of one box do not overlap, and lie within it. Cost: linear in items and
links, a link counting once for each border that it crosses; nothing is recursive.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nirtorch_cli.drawing.graphs.formats import Direction, Wrap
from nirtorch_cli.drawing.graphs.labels import columns
from nirtorch_cli.drawing.graphs.layering import ASPECT, Arc
from nirtorch_cli.drawing.graphs.rows import Point, Sheet
from nirtorch_cli.drawing.graphs.scene import ROOT, Item, Scene
from nirtorch_cli.drawing.graphs.sheet import Layout, lay_out

NAME_COLUMN = 7.9
"""Width of a character of a node's name."""
DETAIL_COLUMN = 6.7
"""Width of a character of a node's second line."""
NODE_HEIGHT = 42.0
TITLE_HEIGHT = 26.0
"""Of a box."""
PADDING = 14.0
"""The distance between a box and its content."""


_PORT_SIZE = (9.0, 0.0)
_CORNERS = {"down": 21.0, "right": 10.0}
"""The least distance of the end of an edge from a corner of an item."""
_LABELLED = {"down": 240.0, "right": 560.0}
"""The space for labels between rows, see `Sheet`; a label is wider than it is high."""


@dataclass(frozen=True)
class Rectangle:
    """Where an item is drawn."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Drawing:
    """A rectangle for each item, the points of each link to a tenth, and the size of all."""

    rectangles: list[Rectangle]
    routes: list[list[Point]]
    size: Point
    direction: Direction = "down"


def draw_scene(scene: Scene, direction: Direction = "down", wrap: Wrap = "auto") -> Drawing:
    """Lay out a scene; see `layering` for when its rows are cut into columns."""
    work = _Scenery(scene, direction, wrap)
    for link in range(len(scene.links)):
        work.split(link)
    boxes = [item.number for item in scene.items if item.is_box]
    for box in [*reversed(boxes), ROOT]:
        work.lay_out_box(box)
    return work.drawing()


@dataclass(frozen=True)
class _Piece:
    """A link's part within one box; an end without an item is a port of the box."""

    link: int
    source: int | None
    target: int | None


@dataclass
class _Box:
    """The layout of a box.

    entries, exits: for a link that crosses the border, its distance from the box's left edge, or
        from its upper edge if the picture leads to the right.
    inset: from the box's upper left corner to that of its layout.
    """

    pieces: list[_Piece] = field(default_factory=list)
    entries: dict[int, float] = field(default_factory=dict)
    exits: dict[int, float] = field(default_factory=dict)
    layout: Layout = field(default_factory=lambda: Layout([], [], (0.0, 0.0)))
    ports: int = 0
    inset: Point = (0.0, 0.0)


class _Scenery:
    """The boxes of a scene while they are laid out."""

    def __init__(self, scene: Scene, direction: Direction, wrap: Wrap) -> None:
        self.scene = scene
        self.direction = direction
        self.across = 1 if direction == "right" else 0
        """The axis of a row: of x and y, the number."""
        self.wrap = wrap
        self.boxes = {number: _Box() for number in scene.children}
        self.size = [size_of(item) for item in scene.items]
        self.pieces: list[list[tuple[int, int]]] = []
        """For each link, in its direction, the boxes it passes and its place among the pieces."""

    def split(self, number: int) -> None:
        """Cut a link at the borders that it crosses."""
        link = self.scene.links[number]
        leaving, entering = self.scene.around(link.source), self.scene.around(link.target)
        while len(leaving) > 1 and len(entering) > 1 and leaving[-2] == entering[-2]:
            leaving.pop()
            entering.pop()
        source, target = link.source, link.target
        before, after = [], []
        for box in leaving[:-1]:
            before.append(self.add_piece(box, _Piece(number, source, None)))
            source = box
        for box in entering[:-1]:
            after.append(self.add_piece(box, _Piece(number, None, target)))
            target = box
        if source != target or link.source == link.target:
            before.append(self.add_piece(leaving[-1], _Piece(number, source, target)))
        self.pieces.append([*before, *reversed(after)])

    def add_piece(self, box: int, piece: _Piece) -> tuple[int, int]:
        self.boxes[box].pieces.append(piece)
        return box, len(self.boxes[box].pieces) - 1

    def lay_out_box(self, number: int) -> None:
        """Lay out what is in a box, and make the box large enough."""
        box, children = self.boxes[number], self.scene.children[number]
        entering = [piece.link for piece in box.pieces if piece.source is None]
        leaving = [piece.link for piece in box.pieces if piece.target is None]
        box.layout = self.turned(lay_out(self.sheet(box, children, entering, leaving)))
        box.ports = len(entering)
        corners = box.layout.corners
        if number != ROOT:
            width, height = box.layout.size
            own = max(self.size[number][0], width + 2 * PADDING)
            room = 2 * PADDING if children else 0.0
            self.size[number] = (own, TITLE_HEIGHT + height + room)
            box.inset = ((own - width) / 2, TITLE_HEIGHT + room / 2)
        middle = box.inset[self.across] + _PORT_SIZE[0] / 2
        place = [middle + corner[self.across] for corner in corners]
        first_exit = len(corners) - len(leaving)
        box.entries = {link: place[turn] for turn, link in enumerate(entering)}
        box.exits = {link: place[turn] for turn, link in enumerate(leaving, first_exit)}

    def turned(self, layout: Layout) -> Layout:
        """A layout turned to the direction of the picture."""
        if self.direction == "down":
            return layout
        routes = [[(y, x) for x, y in route] for route in layout.routes]
        width, height = layout.size
        return Layout([(y, x) for x, y in layout.corners], routes, (height, width))

    def sheet(
        self, box: _Box, children: list[int], entering: list[int], leaving: list[int]
    ) -> Sheet:
        local = {child: len(entering) + turn for turn, child in enumerate(children)}
        entry = {link: turn for turn, link in enumerate(entering)}
        first_exit = len(entering) + len(children)
        exit_ = {link: first_exit + turn for turn, link in enumerate(leaving)}
        arcs, ports = [], {}
        for turn, piece in enumerate(box.pieces):
            link, source, target = piece.link, piece.source, piece.target
            start = entry[link] if source is None else local[source]
            end = exit_[link] if target is None else local[target]
            arcs.append(Arc(start, end, self.scene.links[link].delayed))
            if source in self.boxes and link in self.boxes[source].exits:
                ports[turn, False] = self.boxes[source].exits[link]
            if target in self.boxes and link in self.boxes[target].entries:
                ports[turn, True] = self.boxes[target].entries[link]
        sizes = [self.size[child] for child in children]
        if self.direction == "right":
            sizes = [(height, width) for width, height in sizes]
        return Sheet(
            sizes=[*[_PORT_SIZE] * len(entering), *sizes, *[_PORT_SIZE] * len(leaving)],
            arcs=arcs,
            first=len(entering),
            last=len(leaving),
            ports=ports,
            corner=_CORNERS[self.direction],
            labelled=_LABELLED[self.direction],
            wrap=self.wrap,
            aspect=1 / ASPECT if self.direction == "right" else ASPECT,
        )

    def drawing(self) -> Drawing:
        """The whole drawing, with everything moved to its box's position."""
        corner: dict[int, Point] = {ROOT: (0.0, 0.0)}
        for number in [ROOT, *(item.number for item in self.scene.items if item.is_box)]:
            box, (x, y) = self.boxes[number], self.origin(number, corner)
            for turn, child in enumerate(self.scene.children[number], box.ports):
                left, top = box.layout.corners[turn]
                corner[child] = (x + left, y + top)
        rectangles = [
            Rectangle(*corner[item.number], *self.size[item.number]) for item in self.scene.items
        ]
        routes = [self.route(number, corner) for number in range(len(self.pieces))]
        return Drawing(rectangles, routes, self.boxes[ROOT].layout.size, self.direction)

    def origin(self, number: int, corner: dict[int, Point]) -> Point:
        """Where the layout of a box begins."""
        inset = self.boxes[number].inset
        return corner[number][0] + inset[0], corner[number][1] + inset[1]

    def route(self, number: int, corner: dict[int, Point]) -> list[Point]:
        """The points of a link: those of its pieces, which meet at ports."""
        points: list[Point] = []
        for box, turn in self.pieces[number]:
            x, y = self.origin(box, corner)
            for left, top in self.boxes[box].layout.routes[turn]:
                point = (round(x + left, 1), round(y + top, 1))
                if not points or point != points[-1]:
                    points.append(point)
        return points


def size_of(item: Item) -> Point:
    """The size of an item's text; for a box, of its title."""
    name, detail = columns(item.name) * NAME_COLUMN, columns(item.detail) * DETAIL_COLUMN
    if item.is_box:
        return name + detail + 3 * PADDING, TITLE_HEIGHT
    return max(84.0, max(name, detail) + 26.0), NODE_HEIGHT
