"""Places the labels of delayed links beside their lines, where they cover nothing else.

In: a `Drawing`, which links have a label, and the rectangles to keep free. Out: for each such link
the upper left corner of its label.

    |            a label is tried at the middle of the longest part of its line, to the
    | 1 step     right of it, to the left, above and below, then nearer to the ends, then
    v            at the next parts

Always holds: a label covers no item and no other label unless there is no free position at all, and
no line if one of the tried positions is free; otherwise it interrupts its own line (it has a
background). The same drawing gives the same positions. Cost: linear in items and links, apart from
sorting: straight lines are kept as intervals, curves as the small cells they pass.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise

from nirtorch_cli.drawing.graphs.formats import Direction
from nirtorch_cli.drawing.graphs.layout import Drawing, Rectangle
from nirtorch_cli.drawing.graphs.rows import Point

LABEL_SIZE = (40.0, 13.0)
"""The size of a label: its text and a small margin."""

_CELL = 4.0
_BLOCK = 64.0
_SAMPLES = 48
"""The most points of a curve that are considered."""
_BESIDE = 4.0
"""The distance between a label and its line."""
_SHARES = (0.5, 0.3, 0.7)
_PARTS = 3
_MARGIN = 16.0
"""How far a label may reach out of the drawing."""


def label_corners(
    drawing: Drawing, labelled: Collection[int], taken: Sequence[Rectangle], frames: Sequence[int]
) -> dict[int, Point]:
    """The upper left corner of the label of each link in `labelled`.

    Arguments:
        taken: rectangles that labels must not cover: nodes, and the headings of boxes.
        frames: the items that are boxes, whose borders are lines.
    """
    if not labelled:
        return {}
    borders = [_border(drawing.rectangles[number]) for number in frames]
    lines = _Lines([*drawing.routes, *borders], drawing.direction)
    blocks = _Blocks(taken)
    found = {}
    for link in labelled:
        corner = _corner(drawing, drawing.routes[link], lines, blocks)
        blocks.add(Rectangle(*corner, *LABEL_SIZE))
        found[link] = corner
    return found


def _corner(drawing: Drawing, route: Sequence[Point], lines: _Lines, blocks: _Blocks) -> Point:
    """The first free position; otherwise the first one on the line itself that covers no item."""
    width, height = LABEL_SIZE
    spots = list(_spots(route, drawing.direction))
    for x, y in spots:
        for corner in (
            (x + _BESIDE, y - height / 2),
            (x - _BESIDE - width, y - height / 2),
            (x - width / 2, y - _BESIDE - height),
            (x - width / 2, y + _BESIDE),
            (x + _BESIDE, y - _BESIDE - height),
            (x + _BESIDE, y + _BESIDE),
            (x - _BESIDE - width, y - _BESIDE - height),
            (x - _BESIDE - width, y + _BESIDE),
        ):
            place = Rectangle(*corner, *LABEL_SIZE)
            if _is_on_page(place, drawing.size) and blocks.is_free(place) and lines.is_free(place):
                return corner
    inside = [(x - width / 2, y - height / 2) for x, y in spots]
    free = (corner for corner in inside if blocks.is_free(Rectangle(*corner, *LABEL_SIZE)))
    return next(free, inside[0])


def _spots(route: Sequence[Point], direction: Direction) -> Iterator[Point]:
    """Points of the longest parts of a route."""
    parts = sorted(pairwise(route), key=_length, reverse=True)[:_PARTS]
    for share in _SHARES:
        for start, end in parts:
            yield point_on(start, end, share, direction)


def _length(part: tuple[Point, Point]) -> float:
    (x, y), (to_x, to_y) = part
    return abs(to_x - x) + abs(to_y - y)


def point_on(start: Point, end: Point, share: float, direction: Direction) -> Point:
    """A point of a part of a route: of a straight line, or of a curve (see `svg_links`)."""
    (x, y), (to_x, to_y) = start, end
    if x == to_x or y == to_y:
        return x + (to_x - x) * share, y + (to_y - y) * share
    slow = 3 * share**2 - 2 * share**3
    fast = 1.5 * share * (1 - share) + share**3  # both control points are half way
    if direction == "down":
        return x + (to_x - x) * slow, y + (to_y - y) * fast
    return x + (to_x - x) * fast, y + (to_y - y) * slow


def _border(place: Rectangle) -> list[Point]:
    right, lower = place.x + place.width, place.y + place.height
    return [
        (place.x, place.y),
        (right, place.y),
        (right, lower),
        (place.x, lower),
        (place.x, place.y),
    ]


def _is_on_page(place: Rectangle, size: Point) -> bool:
    return (
        place.x >= -_MARGIN
        and place.y >= -_MARGIN
        and place.x + place.width <= size[0] + _MARGIN
        and place.y + place.height <= size[1] + _MARGIN
    )


class _Lines:
    """All lines of a drawing, to find out whether one crosses a rectangle."""

    def __init__(self, routes: Iterable[Sequence[Point]], direction: Direction) -> None:
        self.upright: dict[int, list[Point]] = {}
        self.level: dict[int, list[Point]] = {}
        self.cells: set[tuple[int, int]] = set()
        for route in routes:
            for start, end in pairwise(route):
                if start[0] == end[0]:
                    ends = sorted((start[1], end[1]))
                    self.upright.setdefault(_cell(start[0]), []).append((ends[0], ends[1]))
                elif start[1] == end[1]:
                    ends = sorted((start[0], end[0]))
                    self.level.setdefault(_cell(start[1]), []).append((ends[0], ends[1]))
                else:
                    self._add_curve(start, end, direction)
        for intervals in (self.upright, self.level):
            for key, known in intervals.items():
                intervals[key] = _united(known)

    def _add_curve(self, start: Point, end: Point, direction: Direction) -> None:
        count = min(_SAMPLES, 2 + int(_length((start, end)) / _CELL))
        for turn in range(count + 1):
            x, y = point_on(start, end, turn / count, direction)
            self.cells.add((_cell(x), _cell(y)))

    def is_free(self, place: Rectangle) -> bool:
        columns = range(_cell(place.x), _cell(place.x + place.width) + 1)
        rows = range(_cell(place.y), _cell(place.y + place.height) + 1)
        if any((column, row) in self.cells for column in columns for row in rows):
            return False
        across = (place.x, place.x + place.width)
        down = (place.y, place.y + place.height)
        return not (
            any(_is_met(self.upright.get(column), down) for column in columns)
            or any(_is_met(self.level.get(row), across) for row in rows)
        )


def _cell(value: float) -> int:
    return int(value // _CELL)


def _united(intervals: list[Point]) -> list[Point]:
    """The union of intervals, as separate intervals in order."""
    found: list[Point] = []
    for start, end in sorted(intervals):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _is_met(intervals: list[Point] | None, ends: Point) -> bool:
    """Whether an interval overlaps one of a union."""
    if not intervals:
        return False
    place = bisect_left(intervals, (ends[1], float("inf")))  # the first that begins after it
    return place > 0 and intervals[place - 1][1] >= ends[0]


class _Blocks:
    """Rectangles that do not overlap, to find out whether one overlaps another rectangle."""

    def __init__(self, rectangles: Iterable[Rectangle]) -> None:
        self.blocks: dict[tuple[int, int], list[Rectangle]] = {}
        for rectangle in rectangles:
            self.add(rectangle)

    def add(self, rectangle: Rectangle) -> None:
        for key in _block_keys(rectangle):
            self.blocks.setdefault(key, []).append(rectangle)

    def is_free(self, place: Rectangle) -> bool:
        return not any(
            place.x < other.x + other.width
            and other.x < place.x + place.width
            and place.y < other.y + other.height
            and other.y < place.y + place.height
            for key in _block_keys(place)
            for other in self.blocks.get(key, ())
        )


def _block_keys(place: Rectangle) -> Iterator[tuple[int, int]]:
    columns = range(int(place.x // _BLOCK), int((place.x + place.width) // _BLOCK) + 1)
    rows = range(int(place.y // _BLOCK), int((place.y + place.height) // _BLOCK) + 1)
    return ((column, row) for column in columns for row in rows)
