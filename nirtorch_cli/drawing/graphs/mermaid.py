"""A scene as a Mermaid flowchart, which GitHub, GitLab and notebooks draw in Markdown.

In: a `Scene`, and the direction of its edges. Out: the text of a flowchart.

Always holds: identifiers are generated; text of the file appears only in quoted labels, in which
every character with a meaning in Mermaid, Markdown or HTML is an entity code. Every item and every
link appears once. Nodes have a fill and a colour of text that belong together; lines, boxes and
labels keep the colours of the page's theme, or have one that shows on a dark page, too. A marked
item has a line of text that says why, a thick outline, and a tooltip. Cost: linear in the scene;
nothing is recursive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nirtorch_cli.drawing.graphs.formats import Direction, Wrap
from nirtorch_cli.drawing.graphs.labels import DELAY_TEXT, MARKS, STYLES, TEXT, NodeKind
from nirtorch_cli.drawing.graphs.scene import Item, Scene, Step

MOST_EDGES = 500
MOST_CHARACTERS = 50_000
"""The most that Mermaid draws with its default configuration."""

_PLAIN = "[A-Za-z0-9]"
_MEANINGFUL = re.compile(rf"[^\w ,.-]|(?<!{_PLAIN})[._-]|[._-](?!{_PLAIN})")
"""All characters but letters, digits, and signs within a word."""

_TRANSFORMED = re.compile(r"\$(?=\$)|\\(?=n)|:(?=fa-)")
"""Text that would begin a formula, a line break or an icon, even if written in entity codes."""


_DELAYED = "#ea580c"
"""The colour of a delayed edge, visible on white and on black."""


_ALIKE = str.maketrans('"[]{};<>', "'()(),‹›")
_NOT_IN_TOOLTIPS = re.compile(r"[^\w ,.()':/+=‹›-]")
"""Tooltips know no entity codes: characters with a meaning are replaced by similar ones."""


def mermaid(scene: Scene, direction: Direction = "down", wrap: Wrap = "auto") -> str:
    """The scene as a flowchart."""
    way = "LR" if direction == "right" else "TB"
    lines = [f"flowchart {way}", *_lines(scene, way), *_edges(scene)]
    lines += [*_styles(scene), *_tooltips(scene)]
    return "\n".join(lines) + "\n"


def _lines(scene: Scene, way: str) -> Iterator[str]:
    for item, step, depth in scene.walk():
        if step != "end" or scene.children[item.number]:
            yield _line(scene, item, step, depth, way)


def _line(scene: Scene, item: Item, step: Step, depth: int, way: str) -> str:
    """The line at the beginning of an item, or at the end of a box; an empty box becomes a node."""
    indent = "  " * (depth + 1)
    is_empty = item.is_box and not scene.children[item.number]
    if step == "end":
        return f"{indent}end"
    if step == "begin" and not is_empty:
        label = f"<b>{_label(item.name)}</b> {_label(item.detail)} {item.reason}".rstrip()
        return f'{indent}subgraph n{item.number}["{label}"]\n{indent}  direction {way}'
    before, after = STYLES[item.kind].mermaid
    label = f"<b>{_label(item.name)}</b><br>{_label(item.detail)}"
    label += f"<br>{item.reason}" if item.mark is not None else ""
    return f'{indent}n{item.number}{before}"{label}"{after}'


def _edges(scene: Scene) -> Iterator[str]:
    for link in scene.links:
        arrow = f'-.->|"{DELAY_TEXT}"|' if link.delayed else "-->"
        yield f"  n{link.source} {arrow} n{link.target}"


def _styles(scene: Scene) -> Iterator[str]:
    members: dict[str, list[str]] = {}
    for item in scene.items:
        members.setdefault(item.kind, []).append(f"n{item.number}")
    for kind in scene.kinds():
        yield f"  classDef nir_{kind} {_look(kind)}"
        yield f"  class {','.join(members[kind])} nir_{kind}"
    for mark in scene.marks():
        marked = ",".join(f"n{item.number}" for item in scene.items if item.mark == mark)
        yield f"  classDef nir_{mark} stroke:{MARKS[mark].colour},stroke-width:4px"
        yield f"  class {marked} nir_{mark}"
    delayed = [str(number) for number, link in enumerate(scene.links) if link.delayed]
    if delayed:
        yield f"  linkStyle {','.join(delayed)} stroke:{_DELAYED}"


def _look(kind: NodeKind) -> str:
    """The style of a kind; in a box, lines and names have the colours of the page."""
    style = STYLES[kind]
    if kind == "graph":
        return f"fill:none,stroke:{style.line}"
    dash = ",stroke-dasharray:4 3" if kind == "missing" else ""
    return f"fill:{style.fill},stroke:{style.line},color:{TEXT}{dash}"


def _tooltips(scene: Scene) -> Iterator[str]:
    """Tooltips with findings; Mermaid needs a click for each, which calls nothing here."""
    for item in scene.items:
        if item.mark is not None:
            text = _NOT_IN_TOOLTIPS.sub("?", " ".join(item.reasons).translate(_ALIKE))
            yield f'  click n{item.number} call nirtorch_tooltip() "{text}"'


def _label(text: str) -> str:
    """Text that is shown as it is."""
    text = _TRANSFORMED.sub("\\g<0>\u200c", text)  # an invisible character keeps the rest apart
    return _MEANINGFUL.sub(lambda match: f"#{ord(match[0])};", text)
