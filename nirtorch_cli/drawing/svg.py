"""A scene as an SVG picture.

In: a `Scene`. Out: the text of an SVG document, in ASCII.

Always holds: every item is a `<g>` and every link a `<path>`, once each, with a `<title>`
that has its name in full; text of the file is only ever text content, escaped. The page is
white whatever is behind it. Cost: linear in the scene.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from itertools import pairwise

from nirtorch_cli.drawing.labels import (
    DELAY_TEXT,
    DELAYED,
    FORWARD,
    STYLES,
    Kind,
    columns,
)
from nirtorch_cli.drawing.layout import (
    DETAIL_COLUMN,
    NAME_COLUMN,
    PADDING,
    Drawing,
    Rectangle,
    draw_scene,
)
from nirtorch_cli.drawing.rows import Point
from nirtorch_cli.drawing.scene import Item, Link, Scene

_BORDER = 20.0
_HEADER = 66.0
_CORNER = 7.0
_SLANT = 9.0

_STYLE = f"""\
text {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #0f172a; }}
.name {{ font-size: 13px; font-weight: 600; text-anchor: middle; }}
.detail {{ font-size: 11px; fill: #475569; }}
.node .detail {{ text-anchor: middle; }}
.title {{ font-size: 16px; font-weight: 600; }}
.heading {{ font-size: 13px; font-weight: 600; }}
.heading .detail {{ font-weight: 400; }}
.late {{ font-size: 10px; fill: {DELAYED}; }}
.paper {{ fill: #ffffff; }}
.edge {{ fill: none; stroke: {FORWARD}; stroke-width: 1.4; marker-end: url(#head); }}
.delayed {{ stroke: {DELAYED}; stroke-width: 1.8; stroke-dasharray: 6 4; \
marker-end: url(#late-head); }}
.shape {{ stroke-width: 1.4; }}
"""


def svg(scene: Scene) -> str:
    """The scene as an SVG document."""
    drawing = draw_scene(scene)
    legend = list(_legend(scene))
    width = max(drawing.size[0], _legend_width(scene), columns(scene.title) * 9.8) + 2 * _BORDER
    height = drawing.size[1] + _HEADER + 2 * _BORDER
    left = (width - drawing.size[0]) / 2
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(width)}" height="{_n(height)}" '
        f'viewBox="0 0 {_n(width)} {_n(height)}">',
        f"<title>{_text(scene.title)}</title>",
        f"<style>\n{_STYLE}{''.join(_kind_styles(scene))}</style>",
        f"<defs>{_head('head', FORWARD)}{_head('late-head', DELAYED)}</defs>",
        f'<rect class="paper" width="{_n(width)}" height="{_n(height)}"/>',
        *legend,
        f'<g transform="translate({_n(left)} {_n(_HEADER + _BORDER)})">',
        *_body(scene, drawing),
        "</g>",
        "</svg>",
    ]
    text = "\n".join(lines) + "\n"
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _body(scene: Scene, drawing: Drawing) -> Iterator[str]:
    """Boxes first, what is drawn later lies on top."""
    items = list(zip(scene.items, drawing.rectangles, strict=True))
    links = list(zip(scene.links, drawing.routes, strict=True))
    for item, place in items:
        if item.is_box:
            yield _box(item, place)
    for number, (link, route) in enumerate(links):
        yield _edge(number, link, route)
    for item, place in items:
        if not item.is_box:
            yield _node(item, place)
    for item, place in items:
        if item.is_box:
            yield _heading(item, place)
    for link, route in links:
        if link.delayed:
            yield _delay(route)


def _kind_styles(scene: Scene) -> Iterator[str]:
    for kind in scene.kinds():
        style = STYLES[kind]
        dash = " stroke-dasharray: 4 3;" if kind == "missing" else ""
        yield f".{kind} .shape {{ fill: {style.fill}; stroke: {style.line};{dash} }}\n"


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" '
        f'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path d="M0 0.5 L8 4 L0 7.5 z" fill="{colour}"/></marker>'
    )


# ------------------------------------------------------------------------------- items


def _node(item: Item, place: Rectangle) -> str:
    middle = place.x + place.width / 2
    return (
        f'<g id="n{item.number}" class="node {item.kind}"><title>{_text(item.tooltip)}</title>'
        f"{_shape(item.kind, place)}"
        f'<text class="name" x="{_n(middle)}" y="{_n(place.y + 18)}">{_text(item.name)}</text>'
        f'<text class="detail" x="{_n(middle)}" y="{_n(place.y + 33)}">{_text(item.detail)}</text>'
        "</g>"
    )


def _box(item: Item, place: Rectangle) -> str:
    return (
        f'<g id="n{item.number}" class="box graph"><title>{_text(item.tooltip)}</title>'
        f"{_rectangle(place, 8)}</g>"
    )


def _heading(item: Item, place: Rectangle) -> str:
    """The title of a box, on a ground that hides the lines which enter there."""
    x, y = place.x + PADDING, place.y + 18
    width = columns(item.name) * NAME_COLUMN + columns(item.detail) * DETAIL_COLUMN + 16
    return (
        f'<rect x="{_n(x - 4)}" y="{_n(place.y + 4)}" width="{_n(width)}" height="19" '
        f'fill="{STYLES["graph"].fill}"/>'
        f'<text class="heading" x="{_n(x)}" y="{_n(y)}">{_text(item.name)}'
        f'<tspan class="detail" dx="8">{_text(item.detail)}</tspan></text>'
    )


def _shape(kind: Kind, place: Rectangle) -> str:
    """The outline of a node: each kind has one of its own, colour aside."""
    x, y, width, height = place.x, place.y, place.width, place.height
    if kind == "port":
        return _polygon(
            [
                (x + _SLANT, y),
                (x + width - _SLANT, y),
                (x + width, y + height / 2),
                (x + width - _SLANT, y + height),
                (x + _SLANT, y + height),
                (x, y + height / 2),
            ]
        )
    if kind == "pooling":
        bottom = y + height
        return _polygon(
            [(x, y), (x + width, y), (x + width - _SLANT, bottom), (x + _SLANT, bottom)]
        )
    return _rectangle(place, {"neuron": height / 2, "other": 8.0}.get(kind, 0.0))


def _rectangle(place: Rectangle, radius: float) -> str:
    return (
        f'<rect class="shape" x="{_n(place.x)}" y="{_n(place.y)}" width="{_n(place.width)}" '
        f'height="{_n(place.height)}" rx="{_n(radius)}"/>'
    )


def _polygon(points: Sequence[Point]) -> str:
    corners = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polygon class="shape" points="{corners}"/>'


# ------------------------------------------------------------------------------- links


def _edge(number: int, link: Link, route: Sequence[Point]) -> str:
    kind = "edge delayed" if link.delayed else "edge"
    return (
        f'<path id="e{number}" class="{kind}" d="{_path(route)}">'
        f"<title>{_text(link.tooltip)}</title></path>"
    )


def _path(route: Sequence[Point]) -> str:
    """Straight lines with round corners, and curves that begin and end vertically."""
    commands = [f"M{_n(route[0][0])} {_n(route[0][1])}"]
    for turn, ((x, y), (to_x, to_y)) in enumerate(pairwise(route), 1):
        if x != to_x and y != to_y:
            half = _n((y + to_y) / 2)
            commands.append(f"C{_n(x)} {half} {_n(to_x)} {half} {_n(to_x)} {_n(to_y)}")
        elif turn + 1 < len(route) and _is_corner(*route[turn - 1 : turn + 2]):
            before = _toward((to_x, to_y), (x, y))
            after = _toward((to_x, to_y), route[turn + 1])
            commands.append(
                f"L{_n(before[0])} {_n(before[1])}"
                f"Q{_n(to_x)} {_n(to_y)} {_n(after[0])} {_n(after[1])}"
            )
        else:
            commands.append(f"L{_n(to_x)} {_n(to_y)}")
    return "".join(commands)


def _is_corner(before: Point, at: Point, after: Point) -> bool:
    return (before[0] == at[0] and at[1] == after[1]) or (before[1] == at[1] and at[0] == after[0])


def _toward(start: Point, end: Point) -> Point:
    """The point where a round corner at `start` ends on the line to `end`."""
    (x, y), (to_x, to_y) = start, end
    length = abs(to_x - x) + abs(to_y - y)
    share = min(_CORNER, length / 2) / length
    return x + (to_x - x) * share, y + (to_y - y) * share


def _delay(route: Sequence[Point]) -> str:
    """The label of a delayed link: right of its longest part, or above it if that is level."""
    (x, y), (to_x, to_y) = max(pairwise(route), key=_length)
    right, down = (-16.0, -9.0) if y == to_y else (5.0, 0.0)
    x, y = (x + to_x) / 2 + right, (y + to_y) / 2 + down
    return (
        f'<rect class="paper" x="{_n(x)}" y="{_n(y - 5)}" width="36" height="10" opacity="0.8"/>'
        f'<text class="late" x="{_n(x)}" y="{_n(y + 3.5)}">{DELAY_TEXT}</text>'
    )


def _length(part: tuple[Point, Point]) -> float:
    (x, y), (to_x, to_y) = part
    return abs(to_x - x) + abs(to_y - y)


# ------------------------------------------------------------------------------- legend


def _entries(scene: Scene) -> Iterator[tuple[str, str, float]]:
    """What the legend explains: a kind or a sort of edge, its meaning, and the room it needs."""
    for kind in scene.kinds():
        if kind != "graph":
            meaning = STYLES[kind].meaning
            yield kind, meaning, len(meaning) * DETAIL_COLUMN + 50
    if any(link.delayed for link in scene.links):
        meaning = "delayed by one step"
        yield "delayed", meaning, len(meaning) * DETAIL_COLUMN + 60


def _legend_width(scene: Scene) -> float:
    entries = sum(width for _, _, width in _entries(scene))
    return max(entries, columns(scene.subtitle) * DETAIL_COLUMN)


def _legend(scene: Scene) -> Iterator[str]:
    yield f'<text class="title" x="{_n(_BORDER)}" y="30">{_text(scene.title)}</text>'
    yield f'<text class="detail" x="{_n(_BORDER)}" y="48">{_text(scene.subtitle)}</text>'
    x = _BORDER
    for kind, meaning, width in _entries(scene):
        if kind == "delayed":
            yield f'<path class="edge delayed" d="M{_n(x)} 66L{_n(x + 34)} 66"/>'
            start = x + 42
        else:
            place = Rectangle(x, 58.0, 24.0, 15.0)
            named: Kind = kind  # type: ignore[assignment]
            yield f'<g class="{kind}">{_shape(named, place)}</g>'
            start = x + 31
        yield f'<text class="detail" x="{_n(start)}" y="70">{_text(meaning)}</text>'
        x += width


def _n(value: float) -> str:
    """A number in as few characters as a tenth of a pixel needs."""
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 1e5 else f"{value:.1f}"


def _text(text: str) -> str:
    return html.escape(text)
