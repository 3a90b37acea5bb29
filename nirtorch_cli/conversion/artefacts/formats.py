"""What a converted module can be written as, and loaded from: the registry of artefacts.

A format that comes is a line here and two functions beside `pt.save` and `pt.load`, with the same
arguments. What cannot be written is refused before any work.
"""

from __future__ import annotations

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import printable
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


def require_trust(path: str, trust: bool) -> None:
    """Refuse to load a saved module that runs code, unless its user trusts it.

    Raises:
        UsageError: it is not trusted.
    """
    if not trust:
        text = f"{printable(path)} is a pickle: loading it runs the code that it names"
        raise UsageError(text, hint="give --trust if you trust who wrote it")
