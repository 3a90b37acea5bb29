"""What a converted module can be written as: the one table, by what the file's name ends in.

In: the name of a file. Out: what writes it. Loads nothing before it is asked for a function, so
that what cannot be written is refused before any work. A format that comes is a line in the table
and a function beside `pt.save`, with the same arguments.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable

from nirtorch_cli.findings.errors import UsageError
from nirtorch_cli.findings.text import quoted

ARTEFACTS = {
    ".pt": "nirtorch_cli.conversion.artefacts.pt:save",
    ".pth": "nirtorch_cli.conversion.artefacts.pt:save",
}
"""By suffix, in small letters: the function that writes a module to a path or a stream."""

_UNNAMED = ".pt"
"""What stdout gets, and a device, a pipe or /dev/null, whose name says nothing."""


def artefact_of(path: str) -> str:
    """The suffix in `ARTEFACTS` that a path stands for, in whatever letters; `-` is stdout.

    Raises:
        UsageError: it ends in none.
    """
    if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
        return _UNNAMED
    suffix = os.path.splitext(path)[1].lower()
    if suffix in ARTEFACTS:
        return suffix
    text = f"a module cannot be written as {quoted(suffix)}" if suffix else "it has no suffix"
    hint = f"end it in {' or '.join(ARTEFACTS)}"
    raise UsageError(f"-o {quoted(path)}: {text}", hint=hint)


def writer_of(path: str) -> Callable[..., None]:
    """The function that writes a module to a path.

    Raises:
        UsageError: see `artefact_of`.
    """
    module, _, name = ARTEFACTS[artefact_of(path)].partition(":")
    writer: Callable[..., None] = getattr(importlib.import_module(module), name)
    return writer
