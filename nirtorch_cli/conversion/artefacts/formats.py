"""What a converted module can be written as, and loaded from: the registry of artefacts.

A format that comes is a line here and two functions beside `pt.save` and `pt.load`, with the same
arguments. What cannot be written is refused before any work.
"""

from __future__ import annotations

import os

from nirtorch_cli.reading.formats import Format, format_to_write

ARTEFACTS = (
    Format(
        "pt",
        (".pt", ".pth"),
        writer="nirtorch_cli.conversion.artefacts.pt:save",
        reader="nirtorch_cli.conversion.artefacts.pt:load",
        called="a saved module",
        needs="--trust",
    ),
)
"""The formats of saved modules; the first is what stdout gets."""


def artefact_of(path: str) -> Format:
    """The format in which a module is written to a path; `-` is stdout.

    A device or a pipe, whose name says nothing, gets what stdout gets.

    Raises:
        UsageError: see `format_to_write`.
    """
    if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        return ARTEFACTS[0]
    return format_to_write(path, ARTEFACTS, "a module")
