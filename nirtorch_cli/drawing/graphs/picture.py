"""The graph of a model as a picture: SVG, DOT, Mermaid, PNG or PDF.

In: an `Inspection`, or what one can be made of: a file, a graph, a converted module. Out: a
`Picture`, which notebooks show and which writes itself in any of the formats. Always holds: the
same inspection gives the same text, for any hash seed. Only PNG and PDF need a library. Cost:
linear in nodes and edges, apart from sorting.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, cast

from nirtorch_cli.conversion.artefacts.atomic import PathLike, atomic_write
from nirtorch_cli.drawing.graphs.formats import GRAPHS, Direction, Wrap
from nirtorch_cli.drawing.graphs.mermaid import MOST_CHARACTERS, MOST_EDGES
from nirtorch_cli.drawing.graphs.scene import scene_of
from nirtorch_cli.findings.errors import ConversionError
from nirtorch_cli.graph.inspection import Inspection, inspect
from nirtorch_cli.reading.formats import format_named, format_to_write

if TYPE_CHECKING:
    import nir

    from nirtorch_cli.reading.graphs import ModelFile
    from nirtorch_cli.reading.sources import Source


class Drawable(Protocol):
    """What keeps the graph that it was made from: a converted module."""

    def _nir_graph_(self) -> tuple[nir.NIRGraph, str | None, float]:
        """The graph as it is now, the name of the file, and dt."""


@dataclass(frozen=True)
class Rendered:
    """A picture in one format, and notes about its limits."""

    content: bytes
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The content of a format that is text."""
        return self.content.decode("utf8")


def rendered(
    inspection: Inspection,
    form: str,
    *,
    direction: Direction = "down",
    wrap: Wrap = "auto",
) -> Rendered:
    """Draw everything that an inspection lists: every node and every edge, once each.

    Delayed edges are dashed and labelled; nested graphs are boxes around their nodes; an end of an
    edge that is not a node of the graph is drawn as missing; a node with findings is marked, and
    its tooltip says why.

    Arguments:
        direction: of most edges.
        wrap: of SVG, PNG and PDF, when rows of nodes are cut into columns; `auto` where they would
            be higher (to the right: longer) than `layering.TALLEST`, 3,000 pixels.

    Raises:
        MissingFrameworkError: PNG or PDF, and typst is not installed.
    """
    scene = scene_of(inspection)
    made: str | bytes = format_named(form, GRAPHS).write()(scene, direction, wrap)
    if form == "mermaid" and (len(scene.links) > MOST_EDGES or len(made) > MOST_CHARACTERS):
        limits = f"{MOST_EDGES} edges and {MOST_CHARACTERS:,} characters"
        note = f"Mermaid draws at most {limits} unless it is configured; try svg"
        return Rendered(_encoded(made), (note,))
    return Rendered(_encoded(made))


def _encoded(made: str | bytes) -> bytes:
    return made.encode("utf8") if isinstance(made, str) else made


@dataclass(frozen=True)
class Picture:
    """The graph of a model, drawn: notebooks show it, `save` writes it. See `draw`.

    Arguments:
        inspection: what is drawn.
        direction, wrap: as for `draw`.
    """

    inspection: Inspection
    direction: Direction = "down"
    wrap: Wrap = "auto"

    @cached_property
    def svg(self) -> str:
        """The picture as the text of an SVG document, readable on light and dark pages."""
        return self._in("svg").text

    def save(self, path: PathLike, *, clobber: bool = True) -> None:
        """Write the picture, in the format that the name ends in.

        Those are .svg, .dot, .mmd, and with the extra `draw` .png and .pdf.

        Raises:
            UsageError: the name ends in none of them.
            MissingFrameworkError: typst, which PNG and PDF need, is not installed.
            OutputError: the file cannot be written, or exists and `clobber` is False.
        """
        form = format_to_write(os.fspath(path), GRAPHS, "a picture").name
        content = self._in(form).content
        with atomic_write(path, clobber=clobber) as file:
            file.write(content)

    def _in(self, form: str) -> Rendered:
        return rendered(self.inspection, form, direction=self.direction, wrap=self.wrap)

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        """An image with the SVG in it, so that its styles stay out of the page around it."""
        data = base64.b64encode(self.svg.encode()).decode()
        return f'<img alt="the graph of the model" src="data:image/svg+xml;base64,{data}">'


def draw(
    source: Source | ModelFile | nir.NIRGraph | Drawable | Inspection,
    *,
    dt: float | None = None,
    direction: Direction = "down",
    wrap: Wrap = "auto",
    max_bytes: int | None = None,
) -> Picture:
    """Draw the graph of a model, as `nirtorch inspect -o model.svg` does.

    Arguments:
        source: a path, the bytes of a file, a binary stream, what `read` or `inspect` returned, a
            graph, or a converted module, which is drawn as it is now.
        dt: the length of a step, in the unit of the time constants; None to infer it, or as the
            module has it.
        direction: of most edges.
        wrap: when rows of nodes are cut into columns; `auto` if the picture is longer than 3,000
            pixels.
        max_bytes: refuse a file whose data claim more; see `read`.

    Raises:
        ReadError, ShapeError: see `read`.
        ConversionError: the module was not made from a NIR graph; or see `inspect`.

    Example:
        >>> picture = draw("model.nir")     # at the end of a cell, a notebook shows it
        >>> picture.save("model.pdf")
    """
    if isinstance(source, Inspection):
        return Picture(source, direction, wrap)
    graph_of: Any = getattr(source, "_nir_graph_", None)  # see `ConvertedModule`
    if graph_of is None:
        if hasattr(source, "named_modules"):
            raise ConversionError("NIR801", "it does not keep the NIR graph that it was made from")
        shown = inspect(cast("Source | ModelFile", source), dt=dt, max_bytes=max_bytes)
        return Picture(shown, direction, wrap)
    graph, file, own_dt = graph_of()
    shown = inspect(graph, dt=own_dt if dt is None else dt)
    return Picture(replace(shown, file=file), direction, wrap)
