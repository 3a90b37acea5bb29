"""What the graph of a model can be written as: the registry of its pictures, and of its lists.

Loads nothing: the command line asks before anything is read.
"""

from __future__ import annotations

from typing import Literal

from nirtorch_cli.reading.formats import Format

Direction = Literal["down", "right"]
"""Where the edges of a picture lead, as a rule."""

Wrap = Literal["auto", "never", "always"]
"""When the rows of a picture are cut into columns; what is laid out elsewhere takes no notice."""

_HERE = "nirtorch_cli.drawing.graphs"

LISTS = (
    Format("text", (".txt",), writer="nirtorch_cli.cli.inspect:content"),
    Format("json", (".json",), writer="nirtorch_cli.cli.inspect:content"),
)
"""The formats that list what is in a file; `inspect` writes them as it prints them."""

GRAPHS = (
    Format("svg", (".svg",), writer=f"{_HERE}.svg:svg", takes=("wrap",)),
    Format("dot", (".dot", ".gv"), writer=f"{_HERE}.dot:dot"),
    Format("mermaid", (".mmd", ".mermaid"), writer=f"{_HERE}.mermaid:mermaid"),
    *(
        Format(
            name,
            (f".{name}",),
            writer=f"{_HERE}.typeset:{name}",
            needs="typst",
            takes=("wrap",),
            is_binary=True,
        )
        for name in ("png", "pdf")
    ),
)
"""The formats of pictures, each by a function of a scene, a direction and how to wrap."""
