"""Nodes and boxes as SVG elements: an outline, text, and a sign if there are findings.

In: an `Item` and its rectangle. Out: elements as text.

Always holds: the outlines of kinds and the signs of marks differ not only by colour; an item is one
`<g>` with a `<title>`. Cost: linear in the text.
"""

from __future__ import annotations

from collections.abc import Sequence

from nirtorch_cli.drawing.graphs.labels import Mark, NodeKind, columns
from nirtorch_cli.drawing.graphs.layout import DETAIL_COLUMN, NAME_COLUMN, PADDING, Rectangle
from nirtorch_cli.drawing.graphs.rows import Point
from nirtorch_cli.drawing.graphs.scene import Item
from nirtorch_cli.drawing.graphs.svg_text import escaped, number

SIGN = 7.0
"""The radius of a mark's sign."""

_SLANT = 9.0


def node(item: Item, place: Rectangle) -> str:
    """A node: its outline and two lines of text."""
    middle = number(place.x + place.width / 2)
    return (
        f'<g id="n{item.number}" class="node {item.kind}{_mark_class(item)}">'
        f"<title>{escaped(item.tooltip)}</title>{outline(item.kind, place)}"
        f'<text class="name" x="{middle}" y="{number(place.y + 18)}">{escaped(item.name)}</text>'
        f'<text class="detail" x="{middle}" y="{number(place.y + 33)}">{escaped(item.detail)}'
        f"</text>{_sign_of(item, place)}</g>"
    )


def box(item: Item, place: Rectangle) -> str:
    """The box of a nested graph; its heading is drawn later, on top of the lines."""
    return (
        f'<g id="n{item.number}" class="box graph{_mark_class(item)}">'
        f"<title>{escaped(item.tooltip)}</title>{_rectangle(place, 8)}"
        f"{_sign_of(item, place)}</g>"
    )


def heading_place(item: Item, place: Rectangle) -> Rectangle:
    """The position of the heading of a box."""
    width = columns(item.name) * NAME_COLUMN + columns(item.detail) * DETAIL_COLUMN + 16
    return Rectangle(place.x + PADDING - 4, place.y + 4, width, 19)


def heading(item: Item, place: Rectangle) -> str:
    """The heading of a box, on a background that hides the lines that enter there."""
    ground = heading_place(item, place)
    return (
        f'<rect class="ground" x="{number(ground.x)}" y="{number(ground.y)}" '
        f'width="{number(ground.width)}" height="{number(ground.height)}"/>'
        f'<text class="heading" x="{number(place.x + PADDING)}" y="{number(place.y + 18)}">'
        f'{escaped(item.name)}<tspan class="detail" dx="8">{escaped(item.detail)}</tspan></text>'
    )


def outline(kind: NodeKind, place: Rectangle) -> str:
    """The outline of a node, which differs by kind."""
    x, y, width, height = place.x, place.y, place.width, place.height
    if kind == "port":
        corners = [
            (x + _SLANT, y),
            (x + width - _SLANT, y),
            (x + width, y + height / 2),
            (x + width - _SLANT, y + height),
            (x + _SLANT, y + height),
            (x, y + height / 2),
        ]
        return _polygon("shape", corners)
    if kind == "pooling":
        bottom = y + height
        corners = [(x, y), (x + width, y), (x + width - _SLANT, bottom), (x + _SLANT, bottom)]
        return _polygon("shape", corners)
    return _rectangle(place, {"neuron": height / 2, "other": 8.0}.get(kind, 0.0))


def recess(kind: NodeKind, place: Rectangle, y: float) -> float:
    """The distance, at height `y`, of an outline from the sides of its rectangle."""
    half = place.height / 2
    aside = min(abs(y - place.y - half), half)
    if kind == "port":
        return float(_SLANT * aside / half)
    if kind == "neuron":
        return float(half - (half**2 - aside**2) ** 0.5)
    if kind == "pooling":
        return float(_SLANT * (y - place.y) / place.height)
    return 0.0


def sign(mark: Mark, x: float, y: float) -> str:
    """The sign of a mark around a point: a cross, an exclamation mark or a tick on a circle."""
    ground = {
        "error": f'<circle class="shape" cx="{number(x)}" cy="{number(y)}" r="{number(SIGN)}"/>',
        "warning": _polygon(
            "shape", [(x, y - SIGN), (x + SIGN + 1, y + SIGN - 1), (x - SIGN - 1, y + SIGN - 1)]
        ),
        "repaired": _rectangle(Rectangle(x - SIGN, y - SIGN, 2 * SIGN, 2 * SIGN), 2),
    }[mark]
    signs: dict[Mark, list[list[Point]]] = {
        "error": [[(-3, -3), (3, 3)], [(-3, 3), (3, -3)]],
        "warning": [[(0, -3), (0, 1.5)], [(0, 3.4), (0, 4.2)]],
        "repaired": [[(-3.5, 0.5), (-1, 3), (3.5, -3)]],
    }
    lines = "".join(
        f"M{'L'.join(f'{number(x + right)} {number(y + down)}' for right, down in stroke)}"
        for stroke in signs[mark]
    )
    return f'<g class="sign {mark}">{ground}<path class="stroke" d="{lines}"/></g>'


def _mark_class(item: Item) -> str:
    return "" if item.mark is None else f" marked {item.mark}"


def _sign_of(item: Item, place: Rectangle) -> str:
    return "" if item.mark is None else sign(item.mark, place.x + place.width - 5, place.y + 1)


def _rectangle(place: Rectangle, radius: float) -> str:
    return (
        f'<rect class="shape" x="{number(place.x)}" y="{number(place.y)}" '
        f'width="{number(place.width)}" height="{number(place.height)}" rx="{number(radius)}"/>'
    )


def _polygon(name: str, points: Sequence[Point]) -> str:
    corners = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    return f'<polygon class="{name}" points="{corners}"/>'
