"""A scene as an SVG picture.

In: a `Scene`, the direction of its edges and how it is to be cut into columns. Out: the text of
an SVG document, in ASCII.

Always holds: every item is a `<g>` and every link a `<path>`, once each, with a `<title>` that has
its full name; text of the file is always escaped text content. The page has its own background:
white, or dark with lighter lines if the viewer prefers dark pages (`prefers-color-scheme`); viewers
that do not support this show the white one. Cost: linear in the scene.
"""

from __future__ import annotations

from collections.abc import Iterator

from nirtorch_cli.drawing.graphs.formats import Direction, Wrap
from nirtorch_cli.drawing.graphs.labelling import label_corners
from nirtorch_cli.drawing.graphs.labels import (
    DELAYED,
    DELAYED_DARK,
    DETAIL,
    DETAIL_DARK,
    FORWARD,
    FORWARD_DARK,
    MARKS,
    PAPER,
    PAPER_DARK,
    STYLES,
    TEXT,
    TEXT_DARK,
    columns,
)
from nirtorch_cli.drawing.graphs.layout import (
    DETAIL_COLUMN,
    Drawing,
    Rectangle,
    draw_scene,
)
from nirtorch_cli.drawing.graphs.rows import Point
from nirtorch_cli.drawing.graphs.scene import ROOT, Link, Scene
from nirtorch_cli.drawing.graphs.svg_items import (
    SIGN,
    box,
    heading,
    heading_place,
    node,
    outline,
    sign,
)
from nirtorch_cli.drawing.graphs.svg_links import edge, label, touching
from nirtorch_cli.drawing.graphs.svg_text import escaped, number

_BORDER = 20.0
_HEADER = 66.0

_STYLE = """\
text { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
.name { font-size: 13px; font-weight: 600; text-anchor: middle; }
.detail { font-size: 11px; }
.node .detail { text-anchor: middle; }
.title { font-size: 16px; font-weight: 600; }
.heading { font-size: 13px; font-weight: 600; }
.heading .detail { font-weight: 400; }
.late { font-size: 10px; text-anchor: middle; }
.edge { fill: none; stroke-width: 1.4; marker-end: url(#head); }
.delayed { stroke-width: 1.8; stroke-dasharray: 6 4; marker-end: url(#late-head); }
.shape { stroke-width: 1.4; }
.marked > .shape { stroke-width: 3; }
.sign .stroke { fill: none; stroke-width: 1.8; }
.sign .shape { stroke-dasharray: none; }
"""


def svg(scene: Scene, direction: Direction = "down", wrap: Wrap = "auto") -> str:
    """The scene as an SVG document."""
    drawing = draw_scene(scene, direction, wrap)
    legend = list(_legend(scene))
    width = max(drawing.size[0], _legend_width(scene), columns(scene.title) * 9.8) + 2 * _BORDER
    height = drawing.size[1] + _HEADER + 2 * _BORDER
    left = (width - drawing.size[0]) / 2
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" '
        f'height="{number(height)}" viewBox="0 0 {number(width)} {number(height)}">',
        f"<title>{escaped(scene.title)}</title>",
        f"<style>\n{_STYLE}{''.join(_colours(scene))}"
        "@media (prefers-color-scheme: dark) {\n"
        f"{''.join(_colours(scene, is_dark=True))}}}\n</style>",
        f"<defs>{_head('head')}{_head('late-head')}</defs>",
        f'<rect class="paper" width="{number(width)}" height="{number(height)}"/>',
        *legend,
        f'<g transform="translate({number(left)} {number(_HEADER + _BORDER)})">',
        *_body(scene, drawing),
        "</g>",
        "</svg>",
    ]
    text = "\n".join(lines) + "\n"
    return text.encode("ascii", "xmlcharrefreplace").decode("ascii")


def _body(scene: Scene, drawing: Drawing) -> Iterator[str]:
    """Boxes first, since later elements are drawn on top."""
    items = list(zip(scene.items, drawing.rectangles, strict=True))
    for item, place in items:
        if item.is_box:
            yield box(item, place)
    for turn, (link, route) in enumerate(zip(scene.links, drawing.routes, strict=True)):
        yield edge(turn, link, _touching_route(scene, drawing, link, route), drawing.direction)
    for item, place in items:
        if not item.is_box:
            yield node(item, place)
    for item, place in items:
        if item.is_box:
            yield heading(item, place)
    yield from _labels(scene, drawing)


def _touching_route(scene: Scene, drawing: Drawing, link: Link, route: list[Point]) -> list[Point]:
    """A route from outline to outline; a node's outline touches its rectangle only in part."""
    if drawing.direction == "down":
        return route
    ends = [(0, link.source), (-1, link.target)]
    moved = list(route)
    for turn, number_of in ends:
        kind, place = scene.items[number_of].kind, drawing.rectangles[number_of]
        moved[turn] = touching(route[turn], kind, place)
    return moved


def _labels(scene: Scene, drawing: Drawing) -> Iterator[str]:
    """The labels of delayed links, each on the background of its box."""
    items = list(zip(scene.items, drawing.rectangles, strict=True))
    taken = [heading_place(item, at) if item.is_box else at for item, at in items]
    frames = [item.number for item in scene.items if item.is_box]
    late = [turn for turn, link in enumerate(scene.links) if link.delayed]
    for turn, corner in label_corners(drawing, late, taken, frames).items():
        link = scene.links[turn]
        boxes = [*scene.around(link.source), *scene.around(link.target)]
        inside = (number_of for number_of in boxes if number_of != ROOT)
        is_in_box = any(_holds(drawing.rectangles[number_of], corner) for number_of in inside)
        yield label(corner, "ground" if is_in_box else "paper")


def _holds(place: Rectangle, point: Point) -> bool:
    x, y = point
    return place.x <= x <= place.x + place.width and place.y <= y <= place.y + place.height


# ------------------------------------------------------------------------------- colours


def _colours(scene: Scene, *, is_dark: bool = False) -> Iterator[str]:
    """The style rules for the colours in a scene, for a light or a dark page."""
    paper, text, detail, forward, delayed = (
        (PAPER_DARK, TEXT_DARK, DETAIL_DARK, FORWARD_DARK, DELAYED_DARK)
        if is_dark
        else (PAPER, TEXT, DETAIL, FORWARD, DELAYED)
    )
    yield f"text {{ fill: {text}; }}\n.detail {{ fill: {detail}; }}\n.late {{ fill: {delayed}; }}\n"
    yield f".paper {{ fill: {paper}; }}\n"
    yield f".edge {{ stroke: {forward}; }}\n.delayed {{ stroke: {delayed}; }}\n"
    yield f".head {{ fill: {forward}; }}\n.late-head {{ fill: {delayed}; }}\n"
    for kind in scene.kinds():
        style = STYLES[kind]
        fill, line = style.dark if is_dark else (style.fill, style.line)
        dash = " stroke-dasharray: 4 3;" if kind == "missing" and not is_dark else ""
        yield f".{kind} .shape {{ fill: {fill}; stroke: {line};{dash} }}\n"
        if kind == "graph":
            yield f".ground {{ fill: {fill}; }}\n"
    for mark in scene.marks():
        colour = MARKS[mark].dark if is_dark else MARKS[mark].colour
        yield f".{mark} > .shape {{ stroke: {colour}; }}\n"
        yield f".sign.{mark} .shape {{ fill: {paper}; stroke: {colour}; }}\n"
        yield f".sign.{mark} .stroke {{ stroke: {colour}; }}\n"


def _head(name: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" '
        f'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="{name}" d="M0 0.5 L8 4 L0 7.5 z"/></marker>'
    )


# ------------------------------------------------------------------------------- legend


def _entries(scene: Scene) -> Iterator[tuple[str, str, float]]:
    """The entries of the legend: the sign (an element without x), its meaning, and its width."""
    place = Rectangle(0.0, 58.0, 24.0, 15.0)
    for kind in scene.kinds():
        if kind != "graph":
            yield f'<g class="{kind}">{outline(kind, place)}</g>', STYLES[kind].meaning, 31.0
    if any(link.delayed for link in scene.links):
        yield '<path class="edge delayed" d="M0 66L34 66"/>', "delayed by one step", 42.0
    for mark in scene.marks():
        yield sign(mark, SIGN, 66.0), MARKS[mark].meaning, 22.0


def _legend_width(scene: Scene) -> float:
    entries = sum(room + len(text) * DETAIL_COLUMN + 19 for _, text, room in _entries(scene))
    return max(entries, columns(scene.subtitle) * DETAIL_COLUMN)


def _legend(scene: Scene) -> Iterator[str]:
    yield f'<text class="title" x="{number(_BORDER)}" y="30">{escaped(scene.title)}</text>'
    yield f'<text class="detail" x="{number(_BORDER)}" y="48">{escaped(scene.subtitle)}</text>'
    x = _BORDER
    for element, meaning, room in _entries(scene):
        yield f'<g transform="translate({number(x)} 0)">{element}</g>'
        yield f'<text class="detail" x="{number(x + room)}" y="70">{escaped(meaning)}</text>'
        x += room + len(meaning) * DETAIL_COLUMN + 19
