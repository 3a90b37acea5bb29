"""A scene as a Mermaid flowchart, which GitHub, GitLab and notebooks draw in Markdown.

In: a `Scene`. Out: the text of a flowchart.

Always holds: identifiers are generated; text of the file stands in quoted labels only, where
every character that means something to Mermaid, Markdown or HTML is an entity code. Every
item and every link is there once. Cost: linear in the scene; nothing is recursive.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from nirtorch_cli.drawing.labels import DELAY_TEXT, DELAYED, FORWARD, STYLES
from nirtorch_cli.drawing.scene import Item, Scene, Step

MOST_EDGES = 500
MOST_CHARACTERS = 50_000
"""What Mermaid draws unless its page is configured to take more."""

_PLAIN = "[A-Za-z0-9]"
_MEANINGFUL = re.compile(rf"[^\w ,.-]|(?<!{_PLAIN})[._-]|[._-](?!{_PLAIN})")
"""All but letters and digits, and what joins them within a word."""

_TRANSFORMED = re.compile(r"\$(?=\$)|\\(?=n)|:(?=fa-)")
"""Where a formula, a line break or an icon would begin, even if it is written in codes."""


def mermaid(scene: Scene) -> str:
    """The scene as a flowchart."""
    lines = ["flowchart TB", *_lines(scene), *_edges(scene)]
    lines += _styles(scene)
    return "\n".join(lines) + "\n"


def _lines(scene: Scene) -> Iterator[str]:
    for item, step, depth in scene.walk():
        if step != "end" or scene.children[item.number]:
            yield _line(scene, item, step, depth)


def _line(scene: Scene, item: Item, step: Step, depth: int) -> str:
    """What stands where an item begins, or where a box ends; an empty box is drawn as a node."""
    indent = "  " * (depth + 1)
    is_empty = item.is_box and not scene.children[item.number]
    if step == "end":
        return f"{indent}end"
    if step == "begin" and not is_empty:
        label = f"<b>{_label(item.name)}</b> {_label(item.detail)}"
        return f'{indent}subgraph n{item.number}["{label}"]\n{indent}  direction TB'
    before, after = STYLES[item.kind].mermaid
    label = f"<b>{_label(item.name)}</b><br>{_label(item.detail)}"
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
        style = STYLES[kind]
        dash = ",stroke-dasharray:4 3" if kind == "missing" else ""
        look = f"fill:{style.fill},stroke:{style.line},color:#0f172a{dash}"
        yield f"  classDef nir_{kind} {look}"
        yield f"  class {','.join(members[kind])} nir_{kind}"
    delayed = [str(number) for number, link in enumerate(scene.links) if link.delayed]
    if scene.links:
        yield f"  linkStyle default stroke:{FORWARD}"
    if delayed:
        yield f"  linkStyle {','.join(delayed)} stroke:{DELAYED},color:{DELAYED}"


def _label(text: str) -> str:
    """Text that is shown as it is."""
    text = _TRANSFORMED.sub("\\g<0>\u200c", text)  # what follows is kept off, unseen
    return _MEANINGFUL.sub(lambda match: f"#{ord(match[0])};", text)
