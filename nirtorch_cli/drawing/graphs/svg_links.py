"""Links as SVG elements: lines with round corners, curves, and the label of a delayed one.

In: a `Link`, the points of its route and the direction of the picture. Out: elements as text.

Always holds: a link is one `<path>` with a `<title>`. Between two points that differ in x and
in y it is a curve that begins and ends in the picture's direction, with both control points
half way along. Cost: linear in the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nirtorch_cli.drawing.graphs.formats import Direction
from nirtorch_cli.drawing.graphs.labelling import LABEL_SIZE
from nirtorch_cli.drawing.graphs.labels import DELAY_TEXT, NodeKind
from nirtorch_cli.drawing.graphs.layout import Rectangle
from nirtorch_cli.drawing.graphs.rows import Point
from nirtorch_cli.drawing.graphs.scene import Link
from nirtorch_cli.drawing.graphs.svg_items import recess
from nirtorch_cli.drawing.graphs.svg_text import escaped, number

_CORNER = 7.0


def edge(turn: int, link: Link, route: Sequence[Point], direction: Direction) -> str:
    """A link, the picture's `turn`th."""
    kind = "edge delayed" if link.delayed else "edge"
    return (
        f'<path id="e{turn}" class="{kind}" d="{path(route, direction)}">'
        f"<title>{escaped(link.tooltip)}</title></path>"
    )


def touching(point: Point, kind: NodeKind, place: Rectangle) -> Point:
    """An end of a link at the side of a node's rectangle, moved to the node's outline."""
    x, y = point
    inwards = recess(kind, place, y)
    if abs(x - place.x) < 0.2:
        return x + inwards, y
    return (x - inwards, y) if abs(x - place.x - place.width) < 0.2 else point


def path(route: Sequence[Point], direction: Direction) -> str:
    """Straight lines with round corners, and curves."""
    commands = [f"M{number(route[0][0])} {number(route[0][1])}"]
    for turn, ((x, y), (to_x, to_y)) in enumerate(pairwise(route), 1):
        end = f"{number(to_x)} {number(to_y)}"
        if x != to_x and y != to_y:
            half_x, half_y = number((x + to_x) / 2), number((y + to_y) / 2)
            if direction == "down":
                commands.append(f"C{number(x)} {half_y} {number(to_x)} {half_y} {end}")
            else:
                commands.append(f"C{half_x} {number(y)} {half_x} {number(to_y)} {end}")
        elif turn + 1 < len(route) and _is_corner(*route[turn - 1 : turn + 2]):
            before = _toward((to_x, to_y), (x, y))
            after = _toward((to_x, to_y), route[turn + 1])
            commands.append(
                f"L{number(before[0])} {number(before[1])}"
                f"Q{end} {number(after[0])} {number(after[1])}"
            )
        else:
            commands.append(f"L{end}")
    return "".join(commands)


def label(corner: Point, ground: str) -> str:
    """The label of a delayed link, on a background that hides what is behind it."""
    (x, y), (width, height) = corner, LABEL_SIZE
    return (
        f'<rect class="{ground}" x="{number(x)}" y="{number(y)}" width="{number(width)}" '
        f'height="{number(height)}"/>'
        f'<text class="late" x="{number(x + width / 2)}" y="{number(y + 10)}">{DELAY_TEXT}</text>'
    )


def _is_corner(before: Point, at: Point, after: Point) -> bool:
    return (before[0] == at[0] and at[1] == after[1]) or (before[1] == at[1] and at[0] == after[0])


def _toward(start: Point, end: Point) -> Point:
    """The point where a round corner at `start` ends on the line to `end`."""
    (x, y), (to_x, to_y) = start, end
    length = abs(to_x - x) + abs(to_y - y)
    share = min(_CORNER, length / 2) / length
    return x + (to_x - x) * share, y + (to_y - y) * share
