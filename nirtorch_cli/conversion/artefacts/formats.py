"""What a converted module can be written as, and loaded from: the registry of artefacts.

A format that comes is a line here and two functions beside `pt.save` and `pt.load`, with the same
arguments. What cannot be written is refused before any work.
"""

from __future__ import annotations

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
"""The formats of saved modules; the first is what stdout and devices get."""


def artefact_of(path: str) -> Format:
    """The format in which a module is written to a path; `-` is stdout.

    Raises:
        UsageError: see `format_to_write`.
    """
    if path == "-":
        return ARTEFACTS[0]
    return format_to_write(path, ARTEFACTS, "a module", unnamed=ARTEFACTS[0])
