"""The graph of a model as a picture: SVG, DOT or Mermaid.

In: an `Inspection`. Out: the text of a picture, with notes. Always holds: the same inspection gives
the same text, for any hash seed. Only the standard library is used. Cost: linear in nodes and
edges, apart from sorting.
"""

from __future__ import annotations

from dataclasses import dataclass

from nirtorch_cli.drawing.graphs.formats import GRAPHS, Direction, Wrap
from nirtorch_cli.drawing.graphs.mermaid import MOST_CHARACTERS, MOST_EDGES
from nirtorch_cli.drawing.graphs.scene import scene_of
from nirtorch_cli.graph.inspection import Inspection
from nirtorch_cli.reading.formats import format_named


@dataclass(frozen=True)
class Picture:
    """A picture as text, and a note about its limits."""

    text: str
    notes: tuple[str, ...] = ()


def draw(
    inspection: Inspection,
    form: str,
    *,
    direction: Direction = "down",
    wrap: Wrap = "auto",
) -> Picture:
    """Draw everything that an inspection lists: every node and every edge, once each.

    Delayed edges are dashed and labelled; nested graphs are boxes around their nodes; an end of an
    edge that is not a node of the graph is drawn as missing; a node with findings is marked, and
    its tooltip says why.

    Arguments:
        direction: of most edges.
        wrap: of SVG, when rows of nodes are cut into columns; `auto` where they would be higher
            (to the right: longer) than `layering.TALLEST`, 3,000 pixels.
    """
    scene = scene_of(inspection)
    text: str = format_named(form, GRAPHS).write()(scene, direction, wrap)
    if form == "mermaid" and (len(scene.links) > MOST_EDGES or len(text) > MOST_CHARACTERS):
        limits = f"{MOST_EDGES} edges and {MOST_CHARACTERS:,} characters"
        return Picture(text, (f"Mermaid draws at most {limits} unless it is configured; try svg",))
    return Picture(text)
