"""What a converted module can be written as, and loaded from: the registry of artefacts.

A format that comes is a line here and two functions beside `pt.save` and `pt.load`, with the same
arguments. What cannot be written is refused before any work.
"""

from __future__ import annotations

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.suggestions import did_you_mean
from nirtorch_cli.findings.text import printable, quoted
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
    Format(
        "safetensors",
        (".safetensors",),
        writer="nirtorch_cli.conversion.artefacts.safetensors:save",
        called="the weights of a module",
        needs="safetensors",
    ),
    Format(
        "nir",
        (".nir",),
        writer="nirtorch_cli.conversion.artefacts.written_back:save",
        called="a NIR file",
    ),
)
"""The formats of saved modules; the first is what stdout and devices get."""


def artefact_of(path: str, name: str | None = None) -> Format:
    """The format in which a module is written to a path; `-` is stdout.

    Arguments:
        name: of a format that is meant, whatever the path ends in.

    Raises:
        UsageError: there is no such format; see `format_to_write`.
    """
    if name is not None:
        known = {one.name: one for one in ARTEFACTS if one.writer is not None}
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise UsageError(f"--to {quoted(name)} is no format of modules", hint=hint)
        return known[name]
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
