"""A scene in the DOT language, for Graphviz and other programs.

In: a `Scene`, and the direction of its edges. Out: the text of a DOT file.

Always holds: identifiers are generated; text of the file appears only in quoted strings, in which
backslashes, quotes and ampersands are escaped. Every item and every link appears once. The page is
white. A marked item has a double outline and a line of text that says why. Cost: linear in the
scene; nothing is recursive.
"""

from __future__ import annotations

from collections.abc import Iterator

from nirtorch_cli.drawing.graphs.formats import Direction, Wrap
from nirtorch_cli.drawing.graphs.labels import DELAY_TEXT, DELAYED, FORWARD, MARKS, STYLES
from nirtorch_cli.drawing.graphs.scene import Item, Scene, Step

_HEADER = f"""\
digraph nir {{
  graph [compound=true, bgcolor=white, fontname="Helvetica", fontsize=12, labelloc=t, nodesep=0.3, \
ranksep=0.4, rankdir=RANKDIR]
  node [fontname="Helvetica", fontsize=11, margin="0.12,0.06"]
  edge [color="{FORWARD}", fontname="Helvetica", fontsize=9, arrowsize=0.7]
"""
_DELAYED = (
    f'style=dashed, color="{DELAYED}", fontcolor="{DELAYED}", label="{DELAY_TEXT}", '
    "constraint=false"
)
_BREAK = "\n"


def dot(scene: Scene, direction: Direction = "down", wrap: Wrap = "auto") -> str:
    """The scene as a DOT file."""
    header = _HEADER.replace("RANKDIR", "LR" if direction == "right" else "TB")
    lines = [f"  label={_quoted(f'{scene.title}{_BREAK}{scene.subtitle}')}"]
    lines += [_line(scene, *step) for step in scene.walk()]
    lines += _edges(scene)
    return header + "\n".join(lines) + "\n}\n"


def _line(scene: Scene, item: Item, step: Step, depth: int) -> str:
    """The line at the beginning of an item, or at the end of a box."""
    indent = "  " * (depth + 1)
    if step == "node":
        return indent + _node(item)
    if step == "end":
        return indent + "}"
    lines = [f"subgraph cluster_{item.number} {{", f"  graph [{_box(item)}]"]
    if not scene.children[item.number]:
        lines.append(f'  n{item.number} [shape=point, style=invis, label=""]')
    return "\n".join(indent + line for line in lines)


def _node(item: Item) -> str:
    style = STYLES[item.kind]
    filling = {"neuron": "filled,rounded", "missing": "filled,dashed"}.get(item.kind, "filled")
    lines = [item.name, item.detail]
    look = f'color="{style.line}"'
    if item.mark is not None:
        lines.append(item.reason)
        look = f'color="{MARKS[item.mark].colour}", penwidth=2, peripheries=2'
    return (
        f"n{item.number} [label={_quoted(_BREAK.join(lines))}, "
        f'shape={style.dot_shape}, style="{filling}", fillcolor="{style.fill}", '
        f"{look}, tooltip={_quoted(item.tooltip)}]"
    )


def _box(item: Item) -> str:
    style = STYLES[item.kind]
    label = f"{item.name}  {item.detail}"
    look = f'style="filled,rounded", fillcolor="{style.fill}", color="{style.line}"'
    if item.mark is not None:
        label = f"{label}  {item.reason}"
        colour = MARKS[item.mark].colour
        look = (
            f'style="filled", fillcolor="{style.fill}", color="{colour}", penwidth=2, peripheries=2'
        )
    return f"label={_quoted(label)}, labeljust=l, {look}, tooltip={_quoted(item.tooltip)}"


def _edges(scene: Scene) -> Iterator[str]:
    """Graphviz joins only nodes: a box's edge joins a node in it, clipped at the border."""
    first: dict[int, str] = {}
    last: dict[int, str] = {}
    for item in reversed(scene.items):
        inside = scene.children.get(item.number)
        first[item.number] = first[inside[0]] if inside else f"n{item.number}"
        last[item.number] = last[inside[-1]] if inside else f"n{item.number}"
    for link in scene.links:
        options = [f"tooltip={_quoted(link.tooltip)}"]
        if scene.items[link.source].is_box:
            options.append(f"ltail=cluster_{link.source}")
        if scene.items[link.target].is_box:
            options.append(f"lhead=cluster_{link.target}")
        if link.delayed:
            options.append(_DELAYED)
        yield f"  {last[link.source]} -> {first[link.target]} [{', '.join(options)}]"


def _quoted(text: str) -> str:
    """A quoted string that is shown as it is; Graphviz would read `&lt;` as an entity."""
    text = text.replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\n", "\\n") + '"'
